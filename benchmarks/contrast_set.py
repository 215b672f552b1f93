"""Which frames should form the contrast set, and which may be negatives of which? The choice behind the defaults.

    python benchmarks/contrast_set.py [--updates 600] [--seeds 3] [--frames 64] [--sources sequences,replay,rollout]

A fresh Nature encoder is trained by RELIC alone on frames of Pong, then frozen. The frames are chosen as the agents
would: from sampled sequences, any or at a distance (R2D2's `minibatch`), from all that was played (`replay`), or from
64 consecutive steps of every environment (PPO's `minibatch` and `rollout`: both draw uniformly from that). Judged is
what it knows of the state: R^2 of a linear regression of the annotated memory variables (ball x and y, both paddles'
y) on its features, on frames of other games from other seeds; mean over the variables, mean and standard deviation
over seeds. Play is random. Nothing here depends on timing.
"""

from __future__ import annotations

import argparse
import itertools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.auxiliary import AuxiliaryLoss
from agents.r2d2_learner import R2D2Learner
from agents.r2d2_networks import RecurrentQNetwork
from agents.replay import ReplayGeometry, SequenceLayout, SequenceReplay, stack_frames
from agents.replay.reader import read_observations
from envs.make import make_vector_env
from relic_rl.representation.augmentation import parse_augmentation
from relic_rl.representation.encoders import Encoder, build_encoder
from relic_rl.representation.objectives import build_objective
from relic_rl.runtime.memory import keep_freed_memory

VARIABLES = {"ball x": 49, "ball y": 54, "player y": 51, "enemy y": 50}  # AtariARI, addresses in the 128-byte RAM
LAYOUT = SequenceLayout(length=40, overlap=20, burn_in=10, n_step=5)
NUM_ENVS = 16
SEQUENCES = 8
ROLLOUT = 64  # steps


class Frames(NamedTuple):
    """Frames of play and what the memory says of them."""

    images: Tensor  # uint8 [N, 4, 84, 84]
    state: NDArray[np.float64]  # [N, variables]


def play(seed: int, steps: int) -> tuple[SequenceReplay, Frames]:
    """A replay of random play, and every fourth observation of it with its state."""
    env = make_vector_env("ALE/Pong-v5", NUM_ENVS, seed=seed)
    geometry = ReplayGeometry(NUM_ENVS, env.observation_shape, steps * NUM_ENVS, 4, 0, LAYOUT)
    replay = SequenceReplay(geometry)
    rng = np.random.default_rng(seed)
    step, action = env.reset(), np.zeros(NUM_ENVS, dtype=np.int64)
    images, state = [], []
    for t in range(steps):
        replay.add(step, action, None)
        if t % 4 == 0:
            images.append(torch.from_numpy(step.observation))
            state.append(env.ram[:, list(VARIABLES.values())].astype(np.float64))  # type: ignore[attr-defined]
        action = rng.integers(0, env.num_actions, NUM_ENVS)
        step = env.step(action)
    env.close()
    return replay, Frames(torch.cat(images), np.concatenate(state))


def train(encoder: Encoder, replay: SequenceReplay, seed: int, args: argparse.Namespace, setting: Setting) -> None:
    """Train the encoder by the auxiliary loss alone."""
    objective = build_objective("relic", encoder)
    assert objective is not None
    generator = torch.Generator().manual_seed(seed)
    auxiliary = AuxiliaryLoss(
        objective, parse_augmentation("shift,intensity"), generator, weight=1.0, batch_size=args.frames, every=1
    )
    network = RecurrentQNetwork(encoder, 6, state_size=8, hidden_size=8)
    learner = R2D2Learner(
        network, LAYOUT, 4, generator, auxiliary=auxiliary, auxiliary_spacing=setting.spacing
    )  # for its choice of frames only
    optimizer = torch.optim.Adam([*encoder.parameters(), *objective.parameters()], lr=3e-4)
    for update in range(args.updates):
        rng = np.random.default_rng((seed, update))
        if setting.source == "replay":
            frames = replay.sample_observations(args.frames, rng)
        elif setting.source == "rollout":
            place = rng.permutation(ROLLOUT * NUM_ENVS)[: args.frames]
            begin = rng.integers(replay.position - ROLLOUT)
            env, row = place % NUM_ENVS, begin + place // NUM_ENVS
            frames = read_observations(replay._storage, replay.geometry, row, env)
        else:
            batch = replay.sample(SEQUENCES, rng)
            frames = learner._auxiliary_frames(stack_frames(batch.frames, 4), batch)
        with torch.autocast("cpu", torch.bfloat16):
            output = auxiliary(encoder, frames.images, frames.group if setting.separate else None)
        optimizer.zero_grad(set_to_none=True)
        output.loss.backward()  # type: ignore[no-untyped-call]
        encoder.centre_gradients()
        optimizer.step()
        encoder.centre_weights()
        objective.update_target(encoder)


class Setting(NamedTuple):
    """A choice of frames and negatives."""

    source: str
    spacing: int
    separate: bool

    def __str__(self) -> str:
        frames = f"sequences, spacing {self.spacing}" if self.source == "sequences" else self.source
        return f"{frames} | {'other-episodes' if self.separate else 'all'}"


@torch.no_grad()
def features(encoder: Encoder, images: Tensor) -> NDArray[np.float64]:
    """float64 [N, D + 1], a column of ones included."""
    found = torch.cat([encoder(part) for part in images.split(512)]).double().numpy()
    return np.concatenate([found, np.ones((len(found), 1))], axis=1)


def judge(encoder: Encoder, training: Frames, test: Frames) -> float:
    """Mean R^2 over the variables."""
    x, y = features(encoder, training.images), training.state
    ridge = 1e-3 * np.trace(x.T @ x) / x.shape[1] * np.eye(x.shape[1])
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    residual = features(encoder, test.images) @ weights - test.state
    return float((1 - residual.var(axis=0) / test.state.var(axis=0)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--sources", default="sequences,replay,rollout")
    parser.add_argument("--steps", type=int, default=3000, help="of each of 16 environments")
    args = parser.parse_args()
    replay, training = play(1, args.steps)
    _, test = play(2, args.steps // 3)
    keep_freed_memory()
    widest = SEQUENCES * LAYOUT.length // args.frames
    known = [("sequences", 1), ("sequences", widest), ("replay", 1), ("rollout", 1)]
    places = [(source, spacing) for source, spacing in known if source in args.sources.split(",")]
    print(
        f"RELIC, {args.updates} updates on {args.frames} frames of Pong; R^2 of linear probes of "
        f"{len(VARIABLES)} variables"
    )
    print("| frames | negatives | mean R^2 | standard deviation |\n|---|---|---|---|")
    untrained = []
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        untrained.append(judge(build_encoder("nature"), training, test))
    print(f"| untrained | | {np.mean(untrained):.3f} | {np.std(untrained, ddof=1):.3f} |", flush=True)
    for (source, spacing), separate in itertools.product(places, (False, True)):
        setting = Setting(source, spacing, separate)
        found = []
        for seed in range(args.seeds):
            torch.manual_seed(seed)
            encoder = build_encoder("nature")
            train(encoder, replay, seed, args, setting)
            found.append(judge(encoder, training, test))
        print(f"| {setting} | {np.mean(found):.3f} | {np.std(found, ddof=1):.3f} |", flush=True)


if __name__ == "__main__":
    main()
