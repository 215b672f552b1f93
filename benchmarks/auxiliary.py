"""What an auxiliary objective adds to PPO's wall-clock, by frames per evaluation and by how often it is evaluated.

    python benchmarks/auxiliary.py [--env ALE/Pong-v5] [--iterations 6] [--objectives relic,infonce,...]

For each setting a whole training iteration (collecting a rollout and learning from it) is timed next to one without an
auxiliary objective, in turns and in one process, so that whatever else the machine does falls on both. Printed is the
share added: (median with - median without) / median without. The small preset is used, precision as `auto` decides.
"""

import argparse
import statistics
import time
from dataclasses import replace

from agents.ppo import PPO
from envs.types import EnvStep, VectorEnv
from relic_rl import train_build as build
from relic_rl.runtime.config import parse_config
from relic_rl.runtime.device import resolve_device, set_threads
from relic_rl.runtime.precision import decide_precision, encoder_step
from relic_rl.runtime.seeding import Streams
from relic_rl.train_options import TrainConfig

SETTINGS = ((32, 4), (64, 8), (64, 4), (64, 2), (64, 1), (128, 4), (256, 4), (256, 1))


class Trainer:
    """An agent with its environments, advanced by whole iterations."""

    def __init__(self, config: TrainConfig) -> None:
        device = resolve_device(config.device)
        threads = set_threads(config.threads)
        streams = Streams(config.seed)
        self.env: VectorEnv = build.build_env(config, "train_env", config.num_envs, streams, threads)
        networks = build.build_networks(config, self.env, streams, device)
        step = encoder_step(networks.network.encoder, self.env.observation_shape, device)
        precision = decide_precision(config.precision, step, config.frames_per_update, device)
        self.precision = precision.precision
        self.agent: PPO = build.build_ppo(config, self.env, networks, streams, device, precision.autocast_dtype)
        self.last: EnvStep = self.env.reset()

    def iterate(self) -> float:
        """Seconds of one iteration."""
        start = time.perf_counter()
        while True:
            self.last = self.env.step(self.agent.act(self.last))
            self.agent.observe(self.last)
            if self.agent.learn() is not None:
                return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="ALE/Pong-v5")
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--objectives", default="relic")
    arguments = parser.parse_args()

    plain = parse_config(TrainConfig, ["--env", arguments.env, "--objective", "none"], kind="train",
                         default_preset=lambda _: "ppo-small")  # fmt: skip
    without = Trainer(plain)
    print(f"{arguments.env}, {plain.num_envs} environments, precision {without.precision}")
    print("| objective | frames | every | steps/s without | steps/s with | share added |")
    print("|---|---|---|---|---|---|")
    for objective in arguments.objectives.split(","):
        for frames, every in SETTINGS:
            config = replace(
                plain, objective=objective, aux_batch_size=frames, aux_every=every, precision=without.precision
            )
            added = Trainer(config)
            times: tuple[list[float], list[float]] = ([], [])
            for trainer in (without, added):
                trainer.iterate()  # warm up
            for _ in range(arguments.iterations):
                times[0].append(without.iterate())
                times[1].append(added.iterate())
            base, extended = map(statistics.median, times)
            steps = plain.num_envs * plain.num_steps
            print(
                f"| {objective} | {frames} | {every} | {steps / base:.0f} | {steps / extended:.0f} "
                f"| {extended / base - 1:.1%} |",
                flush=True,
            )
            added.env.close()


if __name__ == "__main__":
    main()
