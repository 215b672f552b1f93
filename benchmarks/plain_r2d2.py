"""An R2D2 update as one writes it down the first time: float32, one image of four frames at a time, no shared work.

The yardstick of ``benchmarks/r2d2.py``, which checks that both compute the same loss.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def rescale(x: Tensor) -> Tensor:
    return x.sign() * ((x.abs() + 1).sqrt() - 1) + 1e-3 * x


def unrescale(x: Tensor) -> Tensor:
    return x.sign() * ((((1 + 4e-3 * (x.abs() + 1 + 1e-3)).sqrt() - 1) / 2e-3).square() - 1)


class PlainNetwork(nn.Module):
    """Nature encoder, LSTM, dueling heads."""

    def __init__(self, num_actions: int, units: int) -> None:
        super().__init__()
        self.num_actions = num_actions
        self.convolutions = nn.Sequential(
            nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1), nn.ReLU()
        )
        self.linear = nn.Linear(3136, 512)
        self.lstm = nn.LSTM(512 + num_actions + 1, units)
        self.value = nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.Linear(units, 1))
        self.advantage = nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.Linear(units, num_actions))

    def forward(self, images: Tensor, action: Tensor, reward: Tensor, state: tuple[Tensor, Tensor]) -> Any:
        """Action values [T, B, A] and the last state, of images uint8 [T, B, 4, 84, 84]."""
        steps, batch = images.shape[:2]
        x = self.convolutions(images.flatten(0, 1).float() / 255)
        x = functional.relu(self.linear(x.flatten(1))).view(steps, batch, -1)
        one_hot = functional.one_hot(action.clamp(min=0), self.num_actions) * (action >= 0)[..., None]
        x, state = self.lstm(torch.cat([x, one_hot.float(), rescale(reward)[..., None]], dim=-1), state)
        advantage = self.advantage(x)
        return self.value(x) + advantage - advantage.mean(-1, keepdim=True), state


class PlainLearner:
    """Online and target network and Adam."""

    def __init__(self, network: PlainNetwork, burn_in: int, length: int, n_step: int, discount: float) -> None:
        self.network = network
        self.target = copy.deepcopy(network)
        self.burn_in, self.length, self.n_step, self.discount = burn_in, length, n_step, discount
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, eps=1e-3)

    def _values(self, network: PlainNetwork, batch: Any, images: Tensor) -> Tensor:
        state = (batch.state[:1].contiguous(), batch.state[1:].contiguous())
        reward = torch.where(batch.valid, batch.reward_t, 0.0)
        with torch.no_grad():
            if self.burn_in:
                b = slice(0, self.burn_in)
                _, state = network(images[b], batch.action_tm1[b], reward[b], state)
        b = slice(self.burn_in, None)
        return network(images[b], batch.action_tm1[b], reward[b], state)[0]

    def update(self, batch: Any) -> float:
        """One update on sequences whose burn-in lies within their episode; the loss."""
        images = torch.stack([torch.cat([batch.frames[t + k] for k in range(4)], 1) for t in range(len(batch.valid))])
        with torch.no_grad():
            target_values = self._values(self.target, batch, images)
        values = self._values(self.network, batch, images)
        total, discount = torch.zeros_like(values[: self.length, :, 0]), torch.ones_like(values[: self.length, :, 0])
        going, end = torch.ones_like(total), torch.arange(self.length)[:, None].repeat(1, total.shape[1])
        for k in range(self.n_step):
            row = slice(self.burn_in + 1 + k, self.burn_in + 1 + k + self.length)
            total += going * discount * batch.reward_t[row]
            discount = torch.where(going > 0, discount * self.discount * (~batch.ends_return_t[row]), discount)
            end += going.long()
            going = going * (~batch.ends_episode_t[row])
        best = target_values.gather(-1, values.argmax(-1, keepdim=True)).squeeze(-1)
        targets = rescale(total + discount * unrescale(best).gather(0, end))
        rows = slice(self.burn_in + 1, self.burn_in + 1 + self.length)
        chosen = values[: self.length].gather(-1, batch.action_tm1[rows].clamp(min=0)[..., None]).squeeze(-1)
        error = torch.where(batch.valid[rows], targets.detach() - chosen, 0.0)
        loss = (batch.weight * 0.5 * error.square().sum(0)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        filters = [self.network.linear.weight, *(p for p in self.network.convolutions.parameters() if p.ndim == 4)]
        for weight in filters:
            weight.grad -= weight.grad.flatten(1).mean(1).view(-1, *[1] * (weight.ndim - 1))
        nn.utils.clip_grad_norm_(self.network.parameters(), 40.0)
        self.optimizer.step()
        with torch.no_grad():
            for weight in filters:
                weight -= weight.flatten(1).mean(1).view(-1, *[1] * (weight.ndim - 1))  # noqa: PLW2901 (in place)
        return float(loss.detach())
