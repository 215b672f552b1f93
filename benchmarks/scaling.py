"""How speed scales: agent steps per second against environments, batch and threads; the loss against its batch.

    python benchmarks/scaling.py [--out results/scaling] [--seconds 6]

Writes scaling.csv and scaling.png. PPO and R2D2 on Pong, default presets but for the one setting that varies; every
point is trained for the given seconds in a process of its own, updates included. The loss: value and gradient of
two-view RELIC, D = 128, dense and blockwise. One machine, so only the shapes of the curves carry over to another.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure


class Point(NamedTuple):
    """A measurement."""

    curve: str
    setting: str  # what varies
    value: int
    result: float  # agent steps per second, or seconds


def points() -> list[tuple[str, str, int, list[str]]]:
    """Curve, what varies, its value, and the options of ``relic_rl.train``."""
    found = []
    for threads in range(1, (os.cpu_count() or 1) + 1):
        for agent in ("ppo", "r2d2"):
            for objective in ("none", "relic"):
                options = ["--agent", agent, "--objective", objective, "--threads", str(threads)]
                found.append((f"{agent}, {objective}", "threads", threads, options))
    for num_envs in (4, 8, 16, 32, 64):
        options = ["--agent", "ppo", "--objective", "none", "--num-envs", str(num_envs)]
        found.append(("ppo, none", "environments", num_envs, options))
        options = ["--agent", "r2d2", "--objective", "none", "--num-envs", str(num_envs)]
        found.append(("r2d2, none", "environments", num_envs, options))
    for minibatches in (32, 16, 8, 4, 2):
        options = ["--agent", "ppo", "--objective", "none", "--num-minibatches", str(minibatches)]
        found.append(("ppo, none", "frames per update", 2048 // minibatches, options))
    for batch in (2, 4, 8, 16, 32):  # at the same replay ratio
        options = ["--agent", "r2d2", "--objective", "none", "--batch-size", str(batch)]
        options += ["--steps-per-update", str(5 * batch)]
        found.append(("r2d2, none", "frames per update", 40 * batch, options))
    return found


def train(options: list[str], seconds: float) -> float:
    """Agent steps per second, updates included."""
    import trainer as t  # noqa: PLC0415

    trainer = t.Trainer(t.options("--env", "ALE/Pong-v5", "--precision", "bf16", *options))
    trainer.iterate(2)
    spent = steps = 0.0
    while spent < seconds:
        more, made = trainer.iterate()
        spent, steps = spent + more, steps + made
    return steps / spent


def loss(rows: int, block_size: int | None) -> float:
    """Seconds of the loss and its gradient, the fastest of three."""
    import torch  # noqa: PLC0415

    from relic_rl.losses import relic_loss  # noqa: PLC0415

    views = [torch.randn(rows, 128, requires_grad=True) for _ in range(2)]
    targets = [torch.randn(rows, 128) for _ in range(2)]
    times = []
    for _ in range(4):
        start = time.perf_counter()
        relic_loss(views, targets, block_size=block_size).total.backward()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def in_process(what: str, *arguments: object) -> float:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--measure", json.dumps([what, *arguments])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def draw(measured: list[Point], path: Path) -> None:
    """One panel for each setting that varies."""
    settings = list(dict.fromkeys(point.setting for point in measured))
    figure = Figure(figsize=(4 * len(settings), 3.6), layout="constrained")
    for panel, setting in zip(figure.subplots(1, len(settings)), settings, strict=True):
        here = [point for point in measured if point.setting == setting]
        for curve in dict.fromkeys(point.curve for point in here):
            values, results = zip(*((p.value, p.result) for p in here if p.curve == curve), strict=True)
            panel.plot(values, results, marker="o", label=curve)
        panel.set_xlabel(setting)
        panel.set_ylabel("seconds" if setting == "rows N" else "agent steps/s")
        panel.set_xscale("log", base=2)
        if setting == "rows N":
            panel.set_yscale("log")
        else:
            panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend(fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/scaling"))
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        what, *arguments = json.loads(args.measure)
        print((train if what == "train" else loss)(*arguments))
        return
    measured = []
    for curve, setting, value, options in points():
        measured.append(Point(curve, setting, value, in_process("train", options, args.seconds)))
        print(*measured[-1], sep=", ", flush=True)
    for rows in (256, 1024, 4096, 8192):
        for curve, block in (("dense", None), ("blockwise, 512 rows", 512)):
            measured.append(Point(curve, "rows N", rows, in_process("loss", rows, block)))
            print(*measured[-1], sep=", ", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "scaling.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([Point._fields, *measured])
    draw(measured, args.out / "scaling.png")


if __name__ == "__main__":
    main()
