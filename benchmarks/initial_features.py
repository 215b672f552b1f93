"""How alike are the features of a game's frames before training, with and without a mean in the encoder's filters?

    python benchmarks/initial_features.py [--games Pong,Breakout,...] [--seeds 5]

Printed is the mean cosine between the features of two frames of random play (256 frames, 16 apart, of 16 games at a
time), of Nature encoders as they start and of the same with orthogonal filters that keep their means; over seeds, mean
and standard deviation. At 1 no linear head and no similarity can tell frames apart. Nothing depends on timing.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from envs.make import make_vector_env
from relic_rl.representation.encoders import NatureEncoder

NUM_ENVS = 16
APART = 16  # steps


def play(game: str) -> Tensor:
    """Frames of random play, uint8 [256, 4, 84, 84]."""
    env = make_vector_env(f"ALE/{game}-v5", NUM_ENVS, seed=0)
    rng = np.random.default_rng(0)
    step, images = env.reset(), []
    for t in range(1, 16 * APART + 1):
        step = env.step(rng.integers(env.num_actions, size=NUM_ENVS))
        if t % APART == 0:
            images.append(torch.from_numpy(step.observation.copy()))
    env.close()
    return torch.cat(images)


def keep_means(encoder: NatureEncoder) -> None:
    """Start again with filters as `torch.nn.init.orthogonal_` gives them."""
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight, math.sqrt(2))


@torch.no_grad()
def likeness(encoder: NatureEncoder, frames: Tensor) -> float:
    """Mean cosine of the features of two different frames."""
    features = functional.normalize(encoder(frames), dim=1)
    n = len(frames)
    return float((features @ features.T).sum() - n) / (n * (n - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", default="Pong,Breakout,SpaceInvaders,Qbert,MsPacman,Seaquest")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    print("| game | filters of mean zero | with their means |\n|---|---|---|")
    for game in args.games.split(","):
        frames = play(game)
        rows: list[list[float]] = []
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            encoder = NatureEncoder()
            rows.append([likeness(encoder, frames)])
            keep_means(encoder)
            rows[-1].append(likeness(encoder, frames))
        cells = [f"{np.mean(column):.4f} ({np.std(column):.4f})" for column in zip(*rows, strict=True)]
        print(f"| {game} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
