"""Small R2D2 parts, and the network run one step at a time with its equations written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from naive_replay import Stream
from torch import Tensor, nn

from agents.auxiliary import AuxiliaryLoss
from agents.r2d2_learner import R2D2Learner
from agents.r2d2_networks import RecurrentQNetwork
from agents.replay import ReplayGeometry, SequenceLayout, SequenceReplay
from relic_rl.representation.encoders import Encoder
from relic_rl.representation.objectives import ObjectiveOutput

LAYOUTS = {
    "paper's proportions": SequenceLayout(length=8, overlap=4, burn_in=4, n_step=3),
    "burn-in in pieces": SequenceLayout(length=6, overlap=4, burn_in=6, n_step=2),
    "no burn-in": SequenceLayout(length=5, overlap=0, burn_in=0, n_step=5),
}
ACTIONS = 5
STATE = 6


def make_geometry(layout: SequenceLayout) -> ReplayGeometry:
    return ReplayGeometry(3, (2, 8, 8), 3 * 200, 2, STATE, layout)


class TinyEncoder(Encoder):
    """One convolution that covers the image, and a smooth nonlinearity."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_dim = 7
        self.convolution = nn.Conv2d(2, self.feature_dim, kernel_size=8)
        self.head = nn.Flatten()

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.convolution(images / 255).tanh(),)


def make_network(seed: int = 0) -> RecurrentQNetwork:
    torch.manual_seed(seed)
    return RecurrentQNetwork(TinyEncoder(), ACTIONS, state_size=STATE, hidden_size=9)


def make_replay(layout: SequenceLayout, *, steps: int = 150, mean_length: float = 20) -> SequenceReplay:
    """Episodes of all lengths, with lives lost and rewards of all sizes."""
    replay = SequenceReplay(make_geometry(layout))
    stream = Stream(replay.geometry, seed=0, mean_length=mean_length)
    for _ in range(steps):
        step, action, state = stream.step()
        life_lost = ~step.invented & (stream.rng.random(3) < 0.05)
        step = step._replace(reward=step.reward * 3)
        replay.add(step, action, torch.from_numpy(0.5 * state), step.terminated | life_lost)
    return replay


def make_learner(network: RecurrentQNetwork, layout: SequenceLayout, **options: Any) -> R2D2Learner:
    return R2D2Learner(network, layout, 2, torch.Generator().manual_seed(0), **options)


class LinearObjective(nn.Module):
    """Pulls a linear map of the features of both views to 1."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.critic = nn.Linear(feature_dim, 1)
        self.target_updates = 0
        self.seen: list[tuple[Tensor, Tensor | None]] = []

    def forward(self, encoder: nn.Module, views: list[Tensor], groups: Tensor | None = None) -> ObjectiveOutput:
        self.seen.append((views[0], groups))
        loss = torch.stack([(self.critic(encoder(view)) - 1).square().mean() for view in views]).mean()
        return ObjectiveOutput(loss, {"loss": loss.detach()})

    def update_target(self, encoder: nn.Module) -> None:
        self.target_updates += 1


def make_auxiliary(network: RecurrentQNetwork, **options: Any) -> AuxiliaryLoss:
    torch.manual_seed(5)
    objective = LinearObjective(network.encoder.feature_dim)
    options = {"weight": 1.0, "batch_size": 11, "every": 1} | options
    return AuxiliaryLoss(objective, lambda images, generator: images, torch.Generator(), **options)  # type: ignore[arg-type]


def slow_step(
    network: RecurrentQNetwork, image: Tensor, action: int, reward: float, h: Tensor, c: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Action values [A] of one observation [C, H, W], and the next (h, c), [D] each, from the equations."""
    rescaled = math.copysign(math.sqrt(abs(reward) + 1) - 1, reward) + 1e-3 * reward
    one_hot = torch.zeros(ACTIONS)
    if action >= 0:
        one_hot[action] = 1
    x = torch.cat([network.encoder(image[None])[0], one_hot, torch.tensor([rescaled])])
    p = dict(network.lstm.named_parameters())
    gates = p["weight_ih_l0"] @ x + p["bias_ih_l0"] + p["weight_hh_l0"] @ h + p["bias_hh_l0"]
    i, f, g, o = gates.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    advantage = network.advantage(h)
    return network.value(h) + advantage - advantage.sum() / ACTIONS, h, c


def sample(replay: SequenceReplay, batch_size: int = 16, seed: int = 0) -> Any:
    return replay.sample(batch_size, np.random.default_rng(seed))
