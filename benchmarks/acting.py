"""What PPO saves around the encoder's passes: rounded weights kept while it acts, minibatches copied image by image.

    python benchmarks/acting.py [--repeats 60]

Both sides of a ratio take turns in one process; medians. The encoder is Nature under bf16 autocast, with its weights
cast at every call and with weights cast before; the minibatch is 256 of 1,024 observations, taken by indexing and as
`agents.rollout.take` does.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch

from agents.acting import ActingEncoder
from agents.rollout import PPOBatch, take
from relic_rl.representation.encoders import build_encoder
from relic_rl.runtime.memory import keep_freed_memory


@torch.no_grad()
def features(encoder: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """A pass as acting makes it."""
    with torch.autocast("cpu", torch.bfloat16):
        return encoder(images)


def milliseconds(sides: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median time of each side; the first five are left out."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats + 5):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values[5:]) for name, values in times.items()}


def show(what: str, found: dict[str, float]) -> None:
    """Both times and their ratio."""
    (before, slow), (after, fast) = found.items()
    print(f"{what}: {before} {slow:.2f} ms, {after} {fast:.2f} ms, {slow / fast:.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=60)
    args = parser.parse_args()
    keep_freed_memory()
    encoder = build_encoder("nature")
    acting = ActingEncoder(encoder, torch.bfloat16)
    for count in (8, 32):
        images = torch.randint(256, (count, 4, 84, 84), dtype=torch.uint8)
        sides = {
            "cast at every call": functools.partial(features, encoder, images),
            "cast before": functools.partial(features, acting, images),
        }
        show(f"encoder, {count} images", milliseconds(sides, args.repeats))
    observation = torch.randint(256, (1024, 4, 84, 84), dtype=torch.uint8)
    numbers = torch.zeros(1024)
    batch = PPOBatch(observation, *[numbers] * 6)
    index = torch.randperm(1024)[:256]
    sides = {
        "indexing": lambda: PPOBatch(*(field[index] for field in batch)),
        "take": functools.partial(take, batch, index),
    }
    show("minibatch of 256 observations", milliseconds(sides, args.repeats))


if __name__ == "__main__":
    main()
