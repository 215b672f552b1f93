"""How many filters of an agent's encoder still answer to anything, and what its policy scores?

    python benchmarks/dead_filters.py RUN [RUN ...] [--steps 1500]

For each run of `relic_rl.train` (its newest checkpoint): the share of each feature map's channels, and of the
features, that are 0 everywhere in 320 frames of its own play, the effective rank of its features of them, and the
points it wins. The points are those of the policy as it is, while the mean of the last training games tells of
policies since those games began, some 100,000 agent steps ago with 32 environments. Nothing depends on timing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from envs.make import make_vector_env
from relic_rl.evaluation.geometry import effective_rank
from relic_rl.representation.encoders import Encoder, build_encoder
from relic_rl.saved_agent import SavedAgent, open_agent

NUM_ENVS = 16
NUM_PICTURES = 20  # moments of play, of all environments


def load_encoder(agent: SavedAgent, channels: int, size: tuple[int, int]) -> Encoder:
    """The encoder of a saved agent."""
    encoder = build_encoder(agent.options.encoder, in_channels=channels, image_size=size)
    prefix = "encoder."
    encoder.load_state_dict({n.removeprefix(prefix): w for n, w in agent.weights.items() if n.startswith(prefix)})
    return encoder.eval()


@torch.no_grad()
def measure(run: Path, steps: int) -> str:
    """A row of the table."""
    agent = open_agent(run)
    options = agent.options
    env = make_vector_env(options.env, NUM_ENVS, engine=options.engine, protocol=options.protocol, seed=0)
    policy = agent.policy(env, torch.Generator().manual_seed(0), torch.device("cpu"))
    step, pictures, won, lost = env.reset(), [], 0, 0
    for number in range(1, steps + 1):
        step = env.step(policy(step))
        won += int(np.count_nonzero(step.reward > 0))
        lost += int(np.count_nonzero(step.reward < 0))
        if number % (steps // NUM_PICTURES) == 0:
            pictures.append(torch.from_numpy(step.observation.copy()))
    env.close()
    images = torch.cat(pictures[:NUM_PICTURES])
    encoder = load_encoder(agent, images.shape[1], (images.shape[2], images.shape[3]))
    maps = [silent(of_layer) for of_layer in encoder.feature_maps(images)]
    features = encoder(images)
    dead = " / ".join(f"{share:.2f}" for share in [*maps, silent(features)])
    share = f"{won / (won + lost):.2f}" if won + lost else "n/a"
    return f"| {run.name} | {agent.steps:,} | {dead} | {effective_rank(features):.0f} | {share} of {won + lost} |"


def silent(values: Tensor) -> float:
    """Share of channels, the second dimension, that are 0 or less everywhere."""
    return float((values.transpose(0, 1).flatten(1).amax(1) <= 0).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--steps", type=int, default=1500, help="of play in each of 16 environments")
    args = parser.parse_args()
    print("| run | agent steps | feature maps, fine to coarse / features | effective rank | points won |")
    print("|---|---|---|---|---|")
    for run in args.runs:
        print(measure(run, max(args.steps, NUM_PICTURES)), flush=True)


if __name__ == "__main__":
    main()
