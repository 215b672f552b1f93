"""How R2D2 acts: epsilon-greedily, with an LSTM state per environment.

Source: Horgan et al., 2018 (arXiv 1803.00933), sec. 4.1, for the ladder of epsilons.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agents.r2d2_networks import RecurrentQNetwork
from envs.types import EnvStep
from relic_rl.runtime.distributed import Processes
from relic_rl.runtime.profile import section


def epsilon_ladder(num_envs: int, base: float = 0.4, alpha: float = 7.0) -> Tensor:
    """Exploration of each environment, float32 [N]: eps_i = base^(1 + alpha i / (N - 1)); base^(1 + alpha /
    2) for N = 1.

    The first explores most.
    """
    if num_envs == 1:
        return torch.tensor([base ** (1 + alpha / 2)])
    return base ** (1 + alpha * torch.arange(num_envs) / (num_envs - 1))


class Decision(NamedTuple):
    """What was decided at a step, and from what (N: environments, D: units of the LSTM)."""

    action: NDArray[np.int64]  # [N]
    action_tm1: NDArray[np.int64]  # [N], the actions before: they led to this step
    state: Tensor  # float32 [2, N, D], (h, c) with which the network read the step


class RecurrentActor:
    """Steps the network along N environments.

    Where a step is invented (the first observation of an episode) the LSTM starts from zeros, without
    previous action and reward.

    Args:
        network: the online network; it is read at every step, so it acts with its newest weights.
        epsilon: float [N], probability of a random action.
        generator: stream of randomness on the network's device.
        autocast_dtype: of the encoder, or None.
        processes: this one among those that act together. All have the same stream of randomness and draw for the
            environments of all: they explore as a single process with all environments would.
    """

    def __init__(
        self,
        network: RecurrentQNetwork,
        epsilon: Tensor,
        generator: torch.Generator,
        *,
        autocast_dtype: torch.dtype | None = None,
        processes: Processes = Processes(),  # noqa: B008 (immutable)
    ) -> None:
        self.network = network
        self.device = next(network.parameters()).device
        self.epsilon = epsilon.to(self.device)
        self.generator = generator
        self.autocast_dtype = autocast_dtype
        self.processes = processes
        self._state = network.initial_state(len(epsilon))
        self._action = np.full(len(epsilon), -1, dtype=np.int64)

    @section("acting")
    @torch.no_grad()
    def act(self, step: EnvStep) -> Decision:
        """Choose an action for each environment."""
        action_tm1 = np.where(step.invented, -1, self._action)
        reward = torch.from_numpy(np.where(step.invented, 0, step.reward).astype(np.float32)).to(self.device)
        first = torch.from_numpy(step.invented).to(self.device)
        state = torch.where(first[:, None], 0.0, self._state)
        images = torch.from_numpy(step.observation).to(self.device)
        with torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None):
            features = self.network.features(images[None])
        output, self._state = self.network.remember(
            features, torch.from_numpy(action_tm1).to(self.device)[None], reward[None], state
        )
        greedy = self.network.action_values(output[0]).argmax(-1)
        n = len(greedy) * self.processes.world_size
        own = self.processes.share(n)
        drawn = torch.randint(self.network.num_actions, (n,), generator=self.generator, device=self.device)[own]
        explore = torch.rand(n, generator=self.generator, device=self.device)[own] < self.epsilon
        self._action = torch.where(explore, drawn, greedy).cpu().numpy()
        return Decision(self._action, action_tm1, state)

    def state_dict(self) -> dict[str, Tensor]:
        """LSTM states, last actions and the stream of randomness."""
        return {
            "state": self._state,
            "action": torch.from_numpy(self._action),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from ``state_dict()``."""
        self._state = state["state"].to(self.device)
        self._action = state["action"].cpu().numpy()
        self.generator.set_state(state["generator"].cpu())
