"""Where an R2D2 update's time goes, and how it compares with a plain float32 implementation of the same update.

    python benchmarks/r2d2.py [--env ALE/Pong-v5] [--updates 30] [--repeats 9] [OPTIONS OF relic_rl.train ...]

The agent is the default preset's without an auxiliary objective (`benchmarks/auxiliary.py` measures that), precision
as `auto` decides. First a table of its sections, acting and environment included, per update, from torch's profiler.
Then its update and `plain_r2d2`'s on the same batches from the same weights, in turns, medians; both losses are
printed. What bounds it: convolutions, forward and backward, then the LSTM.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from plain_r2d2 import PlainLearner, PlainNetwork
from trainer import Trainer, options

from agents.r2d2 import R2D2
from agents.replay import to_device
from relic_rl.runtime.profile import Profile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="ALE/Pong-v5")
    parser.add_argument("--updates", type=int, default=30, help="updates that are profiled")
    parser.add_argument("--repeats", type=int, default=9, help="timed updates of each implementation")
    args, others = parser.parse_known_args()
    config = options("--env", args.env, "--agent", "r2d2", "--objective", "none", "--overlap", "off", *others)
    trainer = Trainer(config)
    agent = trainer.agent
    assert isinstance(agent, R2D2)
    print(
        f"{args.env}, {config.num_envs} environments, {config.batch_size} sequences of {config.burn_in} + "
        f"{config.sequence_length} + {config.n_step} steps, LSTM of {config.lstm_size}, an update every "
        f"{config.steps_per_update:g} agent steps, {trainer.precision}, {torch.get_num_threads()} threads"
    )
    trainer.iterate(5)
    with Profile() as profile:
        trainer.iterate(args.updates)
    print(profile.table(args.updates, "update"))
    replay = sum(row.milliseconds for row in profile.rows if row.path.startswith("replay: draw"))
    replay += sum(row.milliseconds for row in profile.rows if row.path == "replay: assemble")
    update = sum(row.milliseconds for row in profile.rows if row.path.startswith("update"))
    print(f"drawing and assembling: {replay / (update + replay):.1%} of drawing, assembling and updating\n")
    compare(agent, config, args.repeats)


def compare(agent: R2D2, config: Any, repeats: int) -> None:
    """Time both updates on the same batches."""
    learner = agent.learner
    plain_network = PlainNetwork(learner.network.num_actions, config.lstm_size).to(learner.device)
    # The same parameters in the same order, made by other modules.
    ours = [p.detach().clone() for p in learner.network.parameters()]
    with torch.no_grad():
        for mine, theirs in zip(plain_network.parameters(), ours, strict=True):
            mine.copy_(theirs)
    plain = PlainLearner(plain_network, config.burn_in, config.sequence_length, config.n_step, config.discount)
    learner.target.load_state_dict(learner.network.state_dict())
    times: tuple[list[float], list[float]] = ([], [])
    for k in range(repeats + 1):
        batch = to_device(agent._draw(k).batch, learner.device)
        losses = []
        for i, update in enumerate((lambda b: learner.update(b).metrics["loss/td"].item(), plain.update)):
            start = time.perf_counter()
            losses.append(update(batch))
            if k:  # the first one warms up
                times[i].append(time.perf_counter() - start)
        if k == 0:
            print(f"loss of the first batch: {losses[0]:.5f} here, {losses[1]:.5f} plain")
    mine, theirs = map(statistics.median, times)
    frames = config.batch_size * config.sequence_length
    print(
        f"update: {mine * 1e3:.0f} ms, {frames / mine:,.0f} frames trained per second; plain float32: "
        f"{theirs * 1e3:.0f} ms, {frames / theirs:,.0f}; {theirs / mine:.2f} times"
    )


if __name__ == "__main__":
    main()
