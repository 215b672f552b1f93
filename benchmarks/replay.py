"""Prioritised sequence replay: memory per transition, time to add a step, to assemble a batch and to update priorities.

    python benchmarks/replay.py --capacity 200000 --num-envs 16 --batch-size 64 [--compressed] [--directory DIR]

Prints one line per quantity, and the time of an R2D2 update on the same machine as the ratio's denominator. The
replay's part of an update is single-threaded copying: its bottleneck is the memory's bandwidth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from agents.r2d2_learner import R2D2Learner
from agents.r2d2_networks import RecurrentQNetwork
from agents.replay import ReplayGeometry, SequenceReplay, to_device
from envs.types import EnvStep
from relic_rl.representation.encoders import build_encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capacity", type=int, default=50_000, help="observations")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--compressed", action="store_true", help="compress frames into a fifth of their bytes")
    parser.add_argument("--directory", type=Path, help="keep the replay on disk, here")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--update", action="store_true", help="time an R2D2 update too")
    args = parser.parse_args()

    device = torch.device(args.device)
    budget = args.capacity * 84 * 84 // 5 if args.compressed else None
    geometry = ReplayGeometry(args.num_envs, (4, 84, 84), args.capacity, 4, 512, compressed_bytes=budget)
    memory = geometry.memory(args.directory)
    print(memory)
    print(
        f"per observation: {memory.frames / memory.rows:,.0f} bytes of frames, "
        f"{(memory.total - memory.frames) / memory.rows:,.0f} bytes of everything else"
    )
    replay = SequenceReplay(geometry, directory=args.directory, pin_memory=device.type == "cuda")
    per_step = fill(replay)
    print(f"add: {per_step * 1e6:,.0f} us per vector step, {per_step / args.num_envs * 1e6:,.1f} us per environment")
    print(f"kept: {replay.num_observations:,} observations, {replay.num_sequences:,} sequences")

    rng = np.random.default_rng(0)
    assemble = median_time(lambda: replay.sample(args.batch_size, rng), args.repeats)
    draw = median_time(lambda: replay._sampler.draw(args.batch_size, rng), args.repeats)
    batch = replay.sample(args.batch_size, rng)
    priority = torch.rand(args.batch_size)
    update = median_time(lambda: replay.update_priorities(batch.sequence, priority), args.repeats)
    size = batch.frames.numel()
    print(
        f"sample: {assemble * 1e3:.2f} ms for {args.batch_size} sequences of {geometry.layout.rows} observations "
        f"({size / assemble / 1e9:.1f} GB/s), of which {draw * 1e6:.0f} us in the sum tree"
    )
    print(f"update priorities: {update * 1e6:.0f} us")
    if args.update:
        network = RecurrentQNetwork(build_encoder("nature"), 6).to(device)
        learner = R2D2Learner(network, geometry.layout, 4, torch.Generator(device).manual_seed(0))
        on_device = to_device(batch, device)

        def learn() -> None:
            learner.update(on_device).priority.cpu()

        seconds = median_time(learn, max(2, args.repeats // 4))
        share = (assemble + update) / seconds
        print(f"R2D2 update on {device}: {seconds * 1e3:,.1f} ms; replay's share {share:.1%}")


def fill(replay: SequenceReplay) -> float:
    """Fill the replay twice over with moving patterns in games of 800 steps; seconds per vector step.

    Only the second time counts: the first is the operating system's, which hands out the memory.
    """
    n, rows = replay.geometry.num_envs, replay.geometry.rows
    rng = np.random.default_rng(0)
    # Like an Atari screen: a still picture in few shades with something small that moves.
    picture = rng.integers(0, 6, (n, 12, 12), dtype=np.uint8).repeat(7, axis=1).repeat(7, axis=2) * 40
    frame = picture.copy()
    stack = np.zeros((n, 4, 84, 84), dtype=np.uint8)
    state = torch.zeros(2, n, replay.geometry.state_size)
    no = np.zeros(n, dtype=bool)
    spent = 0.0
    for t in range(2 * rows):
        frame[:] = picture
        frame[:, t % 80 : t % 80 + 4, (3 * t) % 80 : (3 * t) % 80 + 4] = 255
        invented = no if t % 801 else ~no
        stack = np.concatenate([stack[:, 1:], frame[:, None]], axis=1)
        if invented[0]:
            stack[:] = frame[:, None]
        step = EnvStep(
            observation=stack,
            reward=np.zeros(n, dtype=np.float32),
            terminated=no if t % 801 != 800 else ~no,
            truncated=no,
            lives=np.zeros(n, dtype=np.int32),
            invented=invented,
            episode_return=np.zeros(n, dtype=np.float32),
            episode_length=np.zeros(n, dtype=np.int64),
        )
        begin = time.perf_counter()
        replay.add(step, np.zeros(n, dtype=np.int64), state)
        spent += (time.perf_counter() - begin) * (t >= rows)
    return spent / rows


def median_time(function: Callable[[], object], repeats: int) -> float:
    """Median seconds of a call, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


if __name__ == "__main__":
    main()
