"""How R2D2 learns from a batch of sequences, its encoder shared with an auxiliary representation loss.

Source: Kapturowski et al., 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning",
sec. 2.3 and table 2.

Departures: the auxiliary loss. Priorities come from TD errors only, and importance weights do not touch it.
Its objective's own parameters form a second group of the one optimiser, with Adam's usual epsilon: the 1e-3 of
R2D2 is made for gradients summed over 80 steps and would all but freeze a critic whose gradients are means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agents.auxiliary import Augmentation, AuxiliaryLoss
from agents.n_step import n_step_double_q_targets, sequence_priorities
from agents.optimising import differentiate, step
from agents.parallel import Averaged
from agents.r2d2_networks import RecurrentQNetwork
from agents.replay import Observations, SequenceBatch, SequenceLayout, stack_frames
from relic_rl.runtime.distributed import Processes, least_over_processes
from relic_rl.runtime.guard import GradientGuard
from relic_rl.runtime.profile import section


class Update(NamedTuple):
    """What an update found (B: sequences)."""

    priority: Tensor  # float32 [B], new priorities; meaningless if the update was not sound
    metrics: dict[str, Tensor]  # detached scalars


class R2D2Learner:
    """Online and target network and their optimiser.

    Args:
        network: the online network, on its device.
        layout: lengths of the sequences.
        stack: S, frames of an observation.
        generator: stream of randomness on the network's device, for the choice of auxiliary frames and
            augmentation.
        discount: gamma.
        learning_rate: Adam's.
        adam_epsilon: Adam's, for the network.
        max_grad_norm: limit of the global norm of all optimised gradients, the auxiliary head's included.
        target_period: updates from one copy of the online to the target network to the next.
        eta: weight of the largest TD error in a priority, against their mean.
        auxiliary: the representation loss, or None.
        auxiliary_spacing: least number of steps between two frames of a sequence in one auxiliary loss; 1 for
            any frames, the sequence's length for one of each.
        separate_episodes: leave frames of the anchor's own episode out of its contrast set.
        augmentation: applied once to the observations of the RL loss (the ``augment`` objective), or None.
        autocast_dtype: torch.bfloat16 or None; of the encoder.

    Of several processes, each learns from as many sequences as every other; gradients are averaged.
    """

    def __init__(
        self,
        network: RecurrentQNetwork,
        layout: SequenceLayout,
        stack: int,
        generator: torch.Generator,
        *,
        discount: float = 0.997,
        learning_rate: float = 1e-4,
        adam_epsilon: float = 1e-3,
        max_grad_norm: float = 40.0,
        target_period: int = 2500,
        eta: float = 0.9,
        auxiliary: AuxiliaryLoss | None = None,
        auxiliary_spacing: int = 1,
        separate_episodes: bool = False,
        augmentation: Augmentation | None = None,
        autocast_dtype: torch.dtype | None = None,
    ) -> None:
        self.network = network
        self.target = network.copied().requires_grad_(False)
        self.layout = layout
        self.stack = stack
        self.generator = generator
        self.discount = discount
        self.target_period = target_period
        self.eta = eta
        self.auxiliary = auxiliary
        self.auxiliary_spacing = auxiliary_spacing
        self.separate_episodes = separate_episodes
        self.augmentation = augmentation
        self.autocast_dtype = autocast_dtype
        self.device = next(network.parameters()).device
        groups: list[dict[str, Any]] = [
            {"params": [p for p in network.parameters() if p.requires_grad], "eps": adam_epsilon}
        ]
        if auxiliary is not None:
            own = [p for p in auxiliary.objective.parameters() if p.requires_grad]
            groups.append({"params": own, "eps": 1e-8})
        self.parameters: list[Tensor] = [p for group in groups for p in group["params"]]
        self.optimizer = torch.optim.Adam(groups, lr=learning_rate, fused=True)  # three times faster on CPUs too
        self.modules: list[nn.Module] = [network] if auxiliary is None else [network, auxiliary.objective]
        self._averaged = Averaged(network)
        self.guard = GradientGuard(max_grad_norm)  # skips updates whose loss or gradient is not finite
        self.updates = 0

    def join(self, processes: Processes, followers: Sequence[nn.Module]) -> None:
        """Average gradients with the other processes from now on, starting with the writer's networks.

        Args:
            processes: this one among all, which call it together.
            followers: other copies of the network.
        """
        self._averaged.join(processes, self.device, [self.target, *followers])
        if self.auxiliary is not None:
            self.auxiliary.averaged.join(processes, self.device)

    def release(self) -> None:
        """Let go of the other processes."""
        self._averaged.release()
        if self.auxiliary is not None:
            self.auxiliary.averaged.release()

    def update(self, batch: SequenceBatch, frames: Observations | None = None) -> Update:
        """One optimiser step.

        Args:
            batch: on the network's device.
            frames: of the auxiliary loss, on the same device; None takes them from the batch.
        """
        loss, priority, metrics = self._averaged(lambda: self._loss(batch, frames))
        differentiate(loss, self.optimizer)
        metrics["loss/total"] = loss.detach()
        seen = metrics | batch._asdict()
        metrics["gradient_norm"] = step(
            loss.detach(), self.parameters, self.optimizer, self.guard, seen, self.auxiliary, self.network.encoder
        )
        self.updates += 1
        if self.updates % self.target_period == 0:
            self.target.load_state_dict(self.network.state_dict())
        return Update(priority, metrics)

    def _loss(self, batch: SequenceBatch, frames: Observations | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The loss of a batch, the new priorities and the loss's terms, both detached."""
        m, burn_in = self.layout.length, self.layout.burn_in
        with section("stack frames"):
            images = stack_frames(batch.frames, self.stack)
        rl_images = images
        if self.augmentation is not None:
            rl_images = self.augmentation(images.flatten(0, 1), self.generator).view(images.shape)
        with torch.no_grad():
            q_target = self._action_values(self.target, rl_images, batch)
        q_online = self._action_values(self.network, rl_images, batch)

        # Row t + 1 tells of the transition out of row t.
        transitions = slice(burn_in + 1, None)
        target = n_step_double_q_targets(
            r_t=batch.reward_t[transitions],
            discount_t=self.discount * (~batch.ends_return_t[transitions]).float(),
            boundary_t=batch.ends_episode_t[transitions],
            q_online=q_online,
            q_target=q_target,
            n=self.layout.n_step,
        )
        mask = batch.valid[burn_in + 1 : burn_in + 1 + m]
        action = batch.action_tm1[burn_in + 1 : burn_in + 1 + m].clamp(min=0)
        chosen = q_online[:m].gather(-1, action[..., None]).squeeze(-1)
        td_error = torch.where(mask, target - chosen, 0.0)
        # Summed over steps, as in the paper's code base: the gradient limit and Adam's epsilon are made for
        # that.
        td_loss = (batch.weight * 0.5 * td_error.square().sum(0)).mean()
        priority = sequence_priorities(td_error, mask, self.eta)
        steps = mask.sum().clamp(min=1)
        metrics = {
            "loss/td": td_loss.detach(),
            "td/error_abs": td_error.detach().abs().sum() / steps,
            "td/q_chosen": torch.where(mask, chosen.detach(), 0.0).sum() / steps,
            "td/target": torch.where(mask, target, 0.0).sum() / steps,
            "replay/priority": priority.mean(),
            "replay/importance_weight": batch.weight.mean(),
        }
        loss = td_loss
        if self.auxiliary is not None and self.auxiliary.due(self.updates):
            if frames is None:
                frames = self._auxiliary_frames(images, batch)
            groups = frames.group if self.separate_episodes else None
            with self._autocast():
                aux = self.auxiliary(self.network.encoder, frames.images, groups)
            loss = td_loss + self.auxiliary.weight * aux.loss
            metrics |= {f"aux/{name}": value for name, value in aux.metrics.items()}
        return loss, priority, metrics

    def _action_values(self, network: RecurrentQNetwork, images: Tensor, batch: SequenceBatch) -> Tensor:
        """Action values of the rows after the burn-in, [length + n_step, B, A].

        Only those of the trained rows have a gradient: the last n are asked for their best action alone, and so spare
        their backward pass. The burn-in's rows before ``batch.begin`` are padding: where a sequence begins, its stored
        state replaces whatever padding left. Sequences begin at multiples of the layout's spacing, so with the default
        lengths the burn-in is a single run of the LSTM.
        """
        burn_in, spacing = self.layout.burn_in, self.layout.spacing
        trained, after = slice(burn_in, burn_in + self.layout.length), slice(burn_in + self.layout.length, None)
        action, reward = batch.action_tm1, torch.where(batch.valid, batch.reward_t, 0.0)
        state = batch.state
        with torch.no_grad():
            with self._autocast():
                features = network.features(torch.cat([images[:burn_in], images[after]]))
            for row in range(0, burn_in, spacing):
                state = torch.where((batch.begin >= row)[:, None], batch.state, state)
                rows = slice(row, row + spacing)
                _, state = network.remember(features[rows], action[rows], reward[rows], state)
            state = torch.where((batch.begin == burn_in)[:, None], batch.state, state)
        with self._autocast():
            learned = network.features(images[trained])
        outputs, state = network.remember(learned, action[trained], reward[trained], state)
        with torch.no_grad():
            last, _ = network.remember(features[burn_in:], action[after], reward[after], state)
            q_last = network.action_values(last)
        return torch.cat([network.action_values(outputs), q_last])

    def _auxiliary_frames(self, images: Tensor, batch: SequenceBatch) -> Observations:
        """Observations of the trained steps, without replacement."""
        assert self.auxiliary is not None
        burn_in, length = self.layout.burn_in, self.layout.length
        eligible = batch.valid[burn_in : burn_in + length]
        if self.auxiliary_spacing > 1:  # a comb over each sequence, its first tooth anywhere
            size = (eligible.shape[1],)
            first = torch.randint(self.auxiliary_spacing, size, generator=self.generator, device=self.device)
            first = first % eligible.sum(0)  # short sequences too have a frame to give
            step = torch.arange(length, device=self.device)[:, None]
            eligible = eligible & ((step - first) % self.auxiliary_spacing == 0)
        row, sequence = eligible.nonzero(as_tuple=True)
        order = torch.randperm(len(row), generator=self.generator, device=self.device)
        # Every process gives equally many.
        chosen = order[: least_over_processes(min(len(row), self.auxiliary.batch_size), self.device)]
        return Observations(images[burn_in + row[chosen], sequence[chosen]], batch.episode[sequence[chosen]])

    def _autocast(self) -> torch.autocast:
        """The context of the encoder."""
        enabled = self.autocast_dtype is not None
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=enabled)

    def state_dict(self) -> dict[str, Any]:
        """Everything learning continues from."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "guard": self.guard.state_dict(),
            "updates": self.updates,
        }
        if self.auxiliary is not None:
            state["objective"] = self.auxiliary.objective.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.network.load_state_dict(state["network"])
        self.target.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.guard.load_state_dict(state["guard"])
        if self.auxiliary is not None:
            self.auxiliary.objective.load_state_dict(state["objective"])
        self.updates = state["updates"]
