"""Agent steps per second of PPO in the classical Atari setting: ours, stable-baselines3's, and convolution's bound.

    python benchmarks/ppo.py --peer /tmp/sb3/bin/python [--game Pong] [--turns 5] [-- OPTION OF relic_rl.train ...]

The setting is the preset `ppo-atari`: 8 environments x 128 steps, 4 epochs of 4 minibatches, Nature encoder;
precision as `auto` decides. Ours without an auxiliary objective, ours with RELIC at its defaults and the peer (made
as `peers/sb3_ppo.py` says) each train in a process of their own, six iterations in turn while the others are stopped,
so that whatever else the machine does falls on all. Ours learns from one rollout while it collects the next
(``--overlap``, off with ``-- --overlap off``): what is under way as a turn ends is stopped with the process, and a part
of the next turn. Medians over the turns; one before them, of each process alone, warms up. The bound is what the
convolutions and the linear layer behind them alone would allow: forward passes for acting, 4 passes forward and
backward for learning, one after the other, each on all threads, at the same batch sizes and precision, and nothing
else.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
ITERATIONS = 6  # of a turn


class Worker:
    """A process that trains for a while whenever it is asked to, and is stopped in between, whatever it has under way.

    It has warmed up, alone, once it is made.
    """

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.iterate()

    def iterate(self) -> float:
        """Agent steps per second of a turn.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            fields = line.split()
            if len(fields) == 2:
                self._process.send_signal(signal.SIGSTOP)
                return float(fields[1]) / float(fields[0])
        raise RuntimeError(f"{self._process.args} has ended")

    def close(self) -> None:
        """End the process, stopped or not."""
        self._process.kill()
        self._process.wait()


def take_turns(commands: dict[str, list[str]], turns: int) -> dict[str, float]:
    """Median agent steps per second of workers that train in turns."""
    workers: dict[str, Worker] = {}
    try:
        for name, command in commands.items():
            workers[name] = Worker(command)
        rates: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(turns):
            for name, worker in workers.items():
                rates[name].append(worker.iterate())
    finally:  # none is left behind, stopped
        for worker in workers.values():
            worker.close()
    return {name: statistics.median(values) for name, values in rates.items()}


def serve(game: str, objective: str, others: list[str]) -> None:
    """What our workers do."""
    from trainer import Trainer, options  # noqa: PLC0415 (torch and the engine, in the worker only)

    config = options("--env", f"ALE/{game}-v5", "--config", "ppo-atari", "--objective", objective, *others)
    trainer = Trainer(config)
    for _ in sys.stdin:
        seconds, steps = trainer.iterate(ITERATIONS * config.num_epochs * config.num_minibatches, finish=False)
        print(seconds, steps, flush=True)


def bound(turns: int) -> float:
    """Agent steps per second if there were nothing but the encoder's passes."""
    from trainer import options  # noqa: PLC0415

    from relic_rl.representation.encoders import build_encoder  # noqa: PLC0415
    from relic_rl.runtime.memory import keep_freed_memory  # noqa: PLC0415
    from relic_rl.runtime.precision import autocast, decide_precision, encoder_step  # noqa: PLC0415

    keep_freed_memory()
    config = options("--config", "ppo-atari", "--objective", "none")
    device = torch.device("cpu")
    encoder = build_encoder(config.encoder)
    minibatch = config.frames_per_update
    step = encoder_step(encoder, (4, 84, 84), device)
    dtype = decide_precision(config.precision, step, minibatch, device).autocast_dtype
    few, many = (torch.randint(256, (n, 4, 84, 84), dtype=torch.uint8) for n in (config.num_envs, minibatch))
    times = []
    for _ in range(turns + 1):
        start = time.perf_counter()
        with torch.no_grad(), autocast(device, dtype):
            for _ in range(config.num_steps):
                encoder(few)
        for _ in range(config.num_epochs * config.num_minibatches):
            with autocast(device, dtype):
                features = encoder(many)
            features.float().sum().backward()
        times.append(time.perf_counter() - start)
    return config.num_envs * config.num_steps / statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="python of the environment with stable-baselines3; left out without it")
    parser.add_argument("--game", default="Pong")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--serve", metavar="OBJECTIVE", help=argparse.SUPPRESS)
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    others = sys.argv[len(own) + 2 :]
    args = parser.parse_args(own)
    if args.serve:
        serve(args.game, args.serve, others)
        return
    mine = [sys.executable, str(HERE / "ppo.py"), "--game", args.game, "--serve"]
    arms = {"without an auxiliary objective": "none", "with RELIC": "relic"}
    commands = {name: [*mine, objective, "--", *others] for name, objective in arms.items()}
    if args.peer:
        commands["stable-baselines3"] = [args.peer, str(HERE / "peers" / "sb3_ppo.py"), args.game, str(ITERATIONS)]
    medians = take_turns(commands, args.turns)
    limit = bound(args.turns)
    print(f"{args.game}, 8 environments, {torch.get_num_threads()} threads")
    for name, rate in medians.items():
        ratio = f", {rate / medians['stable-baselines3']:.2f} times stable-baselines3" if args.peer else ""
        print(f"{name}: {rate:.0f} agent steps/s{ratio}, {rate / limit:.0%} of convolution's bound")
    print(f"convolution's bound: {limit:.0f} agent steps/s")


if __name__ == "__main__":
    main()
