"""How PPO learns from a rollout, its encoder shared with an auxiliary representation loss.

Departures from Schulman et al., 2017 (arXiv 1707.06347): those that practice has settled (advantages normalised per
minibatch, value clipping, Adam with eps 1e-5, a gradient norm limit). Steps that auto-reset invents are left out of
every loss.

Where acting lagged, the policy that acted is one improvement behind the one that learns, and a ratio to it would have
used up its clip range before learning begins. So ratios and clipped values are held near what the network says when it
first sees a transition, in plain frames as acting does, and the distance from there to the policy that acted is a fixed
importance weight: decoupled PPO (Hilton et al., 2022, arXiv 2110.00641), its proximal policy that of the first epoch's
updates. Of a single epoch every ratio to that would be 1 and nothing be clipped: there ratios and values stay near
those of the policy that acted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from agents.auxiliary import Augmentation, AuxiliaryLoss
from agents.networks import ActorCritic
from agents.optimising import differentiate, step
from agents.parallel import Averaged
from agents.ppo_frames import AuxiliaryFrames
from agents.ppo_loss import anchored, ppo_loss
from agents.ppo_parallel import Minibatch, divide, split_minibatches, variance
from agents.replay import Observations
from agents.rollout import ClosedRollout, PPOBatch, take
from agents.shared_work import SharedWork
from agents.terms import Term, add_gradients, add_terms, differentiate_term
from relic_rl.runtime.device_means import DeviceMeans
from relic_rl.runtime.distributed import Processes
from relic_rl.runtime.guard import GradientGuard
from relic_rl.runtime.profile import section

Metrics = dict[str, float]

ROWS_OF_A_FRAME = 2.5
"""An auxiliary frame takes about as long as so many transitions: two views of it pass through the encoder and, for some
objectives, through a target's, forward only. How a minibatch is divided between two threads goes by it, no more."""


class PPOLearner:
    """The network that learns and its optimiser.

    Where another thread acts, on a CPU, the gradient of a minibatch is computed in parts, and that thread computes some
    of them whenever it has filled a rollout and waits (`SharedWork`).

    Args:
        network: encoder under policy and value heads, on its device.
        generators: "minibatch" and "augmentation" streams; the first on the CPU, the other on the network's device.
            Of several processes each has its own.
        num_minibatches: minibatches per pass.
        clip_range: epsilon of the surrogate and of the value clipping.
        clip_value: clip the value loss.
        value_coefficient: weight of the value loss.
        max_grad_norm: limit of the global norm of all optimised gradients, the auxiliary head's included.
        frames: of the auxiliary loss, which it names; None for none.
        augmentation: applied once to the frames of the RL loss (the ``augment`` objective), or None for plain
            frames.
        autocast_dtype: torch.bfloat16 or None.
        beside_acting: another thread acts.
        threads: CPU threads of learning beside acting, for each part; None leaves torch's number.
        processes: this one among those that learn together.
    """

    def __init__(
        self,
        network: ActorCritic,
        generators: dict[str, torch.Generator],
        *,
        num_minibatches: int = 4,
        clip_range: float = 0.1,
        clip_value: bool = True,
        value_coefficient: float = 0.5,
        max_grad_norm: float = 0.5,
        frames: AuxiliaryFrames | None = None,
        augmentation: Augmentation | None = None,
        autocast_dtype: torch.dtype | None = None,
        beside_acting: bool = False,
        threads: int | None = None,
        processes: Processes = Processes(),  # noqa: B008 (immutable)
    ) -> None:
        self.network = network
        self.generators = generators
        self.num_minibatches = num_minibatches
        self.clip_range = clip_range
        self.clip_value = clip_value
        self.value_coefficient = value_coefficient
        self.frames = frames
        self.auxiliary: AuxiliaryLoss | None = None if frames is None else frames.auxiliary
        self.augmentation = augmentation
        self.autocast_dtype = autocast_dtype
        self.beside_acting = beside_acting
        self.processes = processes
        self.device = next(network.parameters()).device
        self.threads = threads
        self.shared = SharedWork(threads) if beside_acting and self.device.type == "cpu" else None
        self.modules: list[nn.Module] = [network]
        if self.auxiliary is not None:
            self.modules.append(self.auxiliary.objective)
        self.parameters = [p for module in self.modules for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, eps=1e-5, fused=True)  # at each rollout's own rate
        self.guard = GradientGuard(max_grad_norm)  # skips updates whose loss or gradient is not finite
        self._averaged = Averaged(network)

    def autocast(self) -> torch.autocast:
        """The context of every forward pass, acting and learning alike: their probabilities are compared."""
        enabled = self.autocast_dtype is not None
        # The cache of rounded weights is one for all threads: any that leaves autocast would empty it for the others.
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=enabled, cache_enabled=False)

    def join(self) -> None:
        """Average gradients with the other processes from now on; all call it together."""
        self._averaged.join(self.processes, self.device)
        if self.auxiliary is not None:
            self.auxiliary.averaged.join(self.processes, self.device)

    def release(self) -> None:
        """Let go of the other processes."""
        self._averaged.release()
        if self.auxiliary is not None:
            self.auxiliary.averaged.release()

    def improve(self, rollout: ClosedRollout) -> Metrics:
        """Improve the network on a rollout; mean metrics over its minibatches."""
        for group in self.optimizer.param_groups:
            group["lr"] = rollout.learning_rate
        batch, happened, counts = rollout.batch, rollout.happened, rollout.counts
        value_error = (batch.return_ - batch.value)[happened]
        ahead = iter(rollout.frames)
        means = DeviceMeans()
        for first in rollout.updates[:: self.num_minibatches]:
            order = torch.randperm(len(happened), generator=self.generators["minibatch"])
            order = happened[order.to(self.device)]
            parts = split_minibatches(order, batch.advantage, self.num_minibatches, counts, self.processes)
            for number, part in enumerate(parts, first):
                means.add(self._update(rollout, part, number, ahead))
        metrics = means.take()
        spread = variance(batch.return_[happened], counts)
        if spread > 0:
            metrics["explained_variance"] = (1 - variance(value_error, counts) / spread).item()
        metrics["learning_rate"] = rollout.learning_rate
        return metrics

    @section("update")
    def _update(
        self, rollout: ClosedRollout, part: Minibatch, number: int, ahead: Iterator[Observations]
    ) -> dict[str, Tensor]:
        """Optimiser step number ``number`` (from 0), on the transitions of ``part``; detached scalars."""
        with section("take minibatch"):
            minibatch = take(rollout.batch, part.rows)
        if self.augmentation is not None:
            images = self.augmentation(minibatch.observation, self.generators["augmentation"])
            minibatch = minibatch._replace(observation=images)
        terms = self._terms(rollout, part, number, minibatch, ahead)
        if self.shared is not None:
            computed = self.shared.results([partial(differentiate_term, term, self.parameters) for term in terms])
            loss, metrics = add_terms([term for term, _ in computed])
            for parameter, *gradients in zip(self.parameters, *(of_term for _, of_term in computed), strict=True):
                parameter.grad = add_gradients(parameter, gradients)
        else:
            loss, metrics = self._averaged(lambda: add_terms([term() for term in terms]))
            differentiate(loss, self.optimizer)
        metrics["loss/total"] = loss.detach()
        seen = metrics | minibatch._asdict()
        metrics["gradient_norm"] = step(
            loss.detach(), self.parameters, self.optimizer, self.guard, seen, self.auxiliary, self.network.encoder
        )
        return metrics

    def _terms(
        self, rollout: ClosedRollout, part: Minibatch, number: int, minibatch: PPOBatch, ahead: Iterator[Observations]
    ) -> list[Callable[[], Term]]:
        """What to add up: the loss of the minibatch, in two parts where two threads share the work, and the auxiliary
        loss where it is due. One thread computes the first part, and the other all else, in about the same time.
        """
        size = first = len(part.rows)
        auxiliary: list[Callable[[], Term]] = []
        if self.frames is not None and self.frames.auxiliary.due(number):
            frames, groups = self.frames.now(rollout, part, ahead)
            auxiliary.append(partial(self._auxiliary_loss, frames, groups))
            first += round(ROWS_OF_A_FRAME * len(frames))
        if self.shared is not None:
            first = (first + 1) // 2
        parts = divide(part, minibatch, min(first, size))
        rl: list[Callable[[], Term]] = [partial(self._rl_loss, rollout, rows, number, batch) for rows, batch in parts]
        return [rl[0], *auxiliary, *rl[1:]]

    def _rl_loss(self, rollout: ClosedRollout, part: Minibatch, number: int, transitions: PPOBatch) -> Term:
        """The loss of some transitions, those of ``part``.

        Where acting lagged and there are more epochs, ``rollout`` is told in its first what the network says then.
        """
        with self.autocast():
            output = self.network(transitions.observation)
        first_epoch = rollout.updates[: self.num_minibatches]
        if rollout.acting_lagged and number in first_epoch and len(rollout.updates) > len(first_epoch):
            held = output
            if self.augmentation is not None:  # what acting would say, which sees plain frames
                with torch.no_grad(), self.autocast():
                    held = self.network(take(rollout.batch, part.rows).observation)
            transitions = anchored(held, transitions)
            for name in ("log_prob", "weight", "value"):
                getattr(rollout.batch, name)[part.rows] = getattr(transitions, name)
        rl = ppo_loss(
            output,
            transitions,
            clip_range=self.clip_range,
            clip_value=self.clip_value,
            value_coefficient=self.value_coefficient,
            entropy_coefficient=rollout.entropy_coefficient,
            moments=part.moments,
        )
        metrics = {
            "loss/policy": part.share * rl.policy,
            "loss/value": part.share * rl.value,
            "policy/entropy": part.share * rl.entropy,
            "policy/approximate_kl": part.share * rl.approximate_kl,
            "policy/clip_fraction": part.share * rl.clip_fraction,
        }
        return Term(part.share * rl.total, metrics)

    def _auxiliary_loss(self, frames: Tensor, groups: Tensor | None) -> Term:
        """The auxiliary loss on some frames, weighted."""
        assert self.auxiliary is not None
        with self.autocast():
            output = self.auxiliary(self.network.encoder, frames, groups)
        metrics = {f"aux/{name}": value for name, value in output.metrics.items()}
        return Term(self.auxiliary.weight * output.loss, metrics)

    def state_dict(self) -> dict[str, Any]:
        """Everything learning continues from, but for the streams of randomness of minibatches and augmentation."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "guard": self.guard.state_dict(),
        }
        if self.auxiliary is not None:
            state["objective"] = self.auxiliary.objective.state_dict()
            state["auxiliary_generator"] = self.auxiliary.generator.get_state()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.guard.load_state_dict(state["guard"])
        if self.auxiliary is not None:
            self.auxiliary.objective.load_state_dict(state["objective"])
            self.auxiliary.generator.set_state(state["auxiliary_generator"].cpu())
