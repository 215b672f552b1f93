"""PPO on vectorised images, its encoder shared with an auxiliary representation loss.

Departures from Schulman et al., 2017 (arXiv 1707.06347): those that practice has settled (orthogonal
initialisation, advantages normalised per minibatch, value clipping, Adam with eps 1e-5, a gradient norm
limit, a linearly annealed learning rate). Steps that auto-reset invents are left out of every loss; truncated
games bootstrap from the value of their true final observation. Over several processes, each with an equal part of the
environments, see `agents.ppo_parallel`.

Collecting and learning either alternate; or, ``overlap``, a rollout is learned from while the next one is collected, by
the policy from before that. The policy that acted is then one improvement behind the one that learns, and a ratio to
it would have used up its clip range before learning begins. So ratios and clipped values are held near what the network
says when it first sees a transition, and the distance from there to the policy that acted is a fixed importance weight:
decoupled PPO (Hilton et al., 2022, arXiv 2110.00641), its proximal policy that of the first epoch's updates. The lag
is fixed, so the same seed gives the same numbers however fast each of the two is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from agents.acting import ActingEncoder
from agents.auxiliary import Augmentation, AuxiliaryLoss
from agents.background import BackgroundRounds
from agents.networks import ActorCritic, copy_weights
from agents.parallel import Averaged
from agents.policies import sample_categorical, sampling_policy
from agents.ppo_frames import AuxiliaryFrames
from agents.ppo_loss import anchored, ppo_loss
from agents.ppo_parallel import Minibatch, split_minibatches, variance
from agents.replay import Observations, SequenceReplay
from agents.rollout import ClosedRollout, PPOBatch, Rollout, take
from envs.types import EnvStep
from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.device_means import DeviceMeans
from relic_rl.runtime.distributed import Processes, gather_numbers, mean_over_processes
from relic_rl.runtime.guard import GradientGuard
from relic_rl.runtime.profile import section

Metrics = dict[str, float]


class PPO:
    """Collects rollouts and improves the policy on them.

    One iteration: T times ``act`` then ``observe``; when ``observe`` has filled the rollout, ``learn`` runs E
    epochs of minibatch updates and returns their mean metrics; before that it returns None.

    Args:
        network: encoder under policy and value heads, on its device.
        num_envs: N, of this process.
        observation_shape: (C, H, W), uint8.
        generators: "action", "minibatch" and "augmentation" streams; "minibatch" on the CPU, the others on
            the network's device. Of several processes all have the same "action" stream, and each its own others.
        total_steps: agent steps over which the learning rate falls to 0 (with ``anneal``).
        num_steps: T, steps of each environment in a rollout.
        num_epochs: E, passes over a rollout.
        num_minibatches: minibatches per pass.
        learning_rate: Adam's, at the start or, of a warm-up, at its end.
        warmup_steps: agent steps over which the learning rate rises linearly from near 0 first.
        anneal: let the learning rate fall linearly to 0.
        discount: gamma.
        gae_lambda: lambda of generalised advantage estimation.
        clip_range: epsilon of the surrogate and of the value clipping.
        clip_value: clip the value loss.
        value_coefficient: weight of the value loss.
        entropy_coefficient: weight of the entropy bonus, at the start.
        anneal_entropy: let it fall linearly to 0 with the steps.
        max_grad_norm: limit of the global norm of all optimised gradients, the auxiliary head's included.
        clip_reward: learn from the sign of the reward.
        life_loss_ends_return: a lost life ends the return (never the game).
        auxiliary: the representation loss, or None.
        auxiliary_frames: "minibatch" draws its frames from the transitions of the current minibatch,
            "rollout" from the whole rollout, "replay" from ``replay``.
        replay: takes every step, for the auxiliary loss only; needed with ``auxiliary_frames`` "replay". It is
            saved by itself (`SequenceReplay.save`).
        replay_seed: of the draws from it; update u draws from a stream of its own, (seed, u).
        separate_envs: leave frames of the anchor's own environment (with a replay: of its own episode) out of
            its contrast set.
        augmentation: applied once to the frames of the RL loss (the ``augment`` objective), or None for plain
            frames.
        autocast_dtype: torch.bfloat16 or None.
        overlap: learn from a rollout while the next one is collected; ``learn`` then returns the metrics of the
            rollout before.
        learner_threads: CPU threads of learning that overlaps; None leaves torch's number.
        processes: this one among those that learn together; ``total_steps`` counts the steps of all.

    Raises:
        ValueError: a minibatch could be empty, a replay is missing or has no use, or several processes overlap (each
            would average gradients and count steps at once, in any order).
    """

    def __init__(
        self,
        network: ActorCritic,
        *,
        num_envs: int,
        observation_shape: tuple[int, int, int],
        generators: dict[str, torch.Generator],
        total_steps: int,
        num_steps: int = 128,
        num_epochs: int = 4,
        num_minibatches: int = 4,
        learning_rate: float = 2.5e-4,
        warmup_steps: int = 0,
        anneal: bool = True,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float = 0.1,
        clip_value: bool = True,
        value_coefficient: float = 0.5,
        entropy_coefficient: float = 0.01,
        anneal_entropy: bool = False,
        max_grad_norm: float = 0.5,
        clip_reward: bool = True,
        life_loss_ends_return: bool = False,
        auxiliary: AuxiliaryLoss | None = None,
        auxiliary_frames: Literal["minibatch", "rollout", "replay"] = "minibatch",
        replay: SequenceReplay | None = None,
        replay_seed: int = 0,
        separate_envs: bool = False,
        augmentation: Augmentation | None = None,
        autocast_dtype: torch.dtype | None = None,
        overlap: bool = False,
        learner_threads: int | None = None,
        processes: Processes = Processes(),  # noqa: B008 (immutable)
    ) -> None:
        if num_envs * (num_steps // 2) < num_minibatches:  # every other step may be invented by auto-reset
            raise ValueError(
                f"{num_envs} environments x {num_steps} steps are too few for {num_minibatches} minibatches: "
                "give more steps or fewer minibatches"
            )
        if overlap and processes.are_several:
            raise ValueError("collecting and learning overlap in a single process only")
        self.network = network
        self.acting_network = copy.deepcopy(network) if overlap else network
        self.auxiliary = auxiliary
        self.replay = replay
        self.frames = AuxiliaryFrames(
            auxiliary,
            source=auxiliary_frames,
            replay=replay,
            replay_seed=replay_seed,
            separate_envs=separate_envs,
            num_envs=num_envs,
            processes=processes,
        )
        self.device = next(network.parameters()).device
        self.rollout = self._spare = Rollout(num_steps, num_envs, observation_shape, self.device, of=1 + overlap)
        if overlap:
            self._spare = Rollout(num_steps, num_envs, observation_shape, self.device)
        self._background = BackgroundRounds(self._improve, self.device, learner_threads) if overlap else None
        self.generators = generators
        self.total_steps = total_steps
        self.num_epochs = num_epochs
        self.num_minibatches = num_minibatches
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.anneal = anneal
        self.discount = discount
        self.gae_lambda = gae_lambda
        self.clip_range = clip_range
        self.clip_value = clip_value
        self.value_coefficient = value_coefficient
        self.entropy_coefficient = entropy_coefficient
        self.anneal_entropy = anneal_entropy
        self.clip_reward = clip_reward
        self.life_loss_ends_return = life_loss_ends_return
        self.augmentation = augmentation
        self.autocast_dtype = autocast_dtype
        self.processes = processes
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        if auxiliary is not None:
            self.parameters += [p for p in auxiliary.objective.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate, eps=1e-5, fused=True)
        self._averaged = Averaged(network)
        self._acting = ActingEncoder(self.acting_network.encoder, autocast_dtype)
        self._guard = GradientGuard(max_grad_norm)  # skips updates whose loss or gradient is not finite
        self.steps = 0
        self.updates = 0  # whose metrics have been returned
        self._lives = np.zeros(num_envs, dtype=np.int32)
        self._action = np.zeros(num_envs, dtype=np.int64)

    # ------------------------------------------------------------------ acting

    def autocast(self) -> torch.autocast:
        """The context of every forward pass, acting and learning alike: their probabilities are compared."""
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, enabled=self.autocast_dtype is not None)

    @section("acting")
    @torch.no_grad()
    def act(self, step: EnvStep) -> np.ndarray:
        """Sample an action for each environment, int64 [N], and remember the decision."""
        self._lives = step.lives
        if self.replay is not None:
            self.replay.add(step, self._action, None)
        images = torch.from_numpy(step.observation).to(self.device)
        if self.at_boundary:
            self._acting.refresh()
        with self.autocast(), section("encoder"):
            features = self._acting(images)
        output = self.acting_network.heads(features)
        log_probs = torch.log_softmax(output.logits, dim=-1)
        action = sample_categorical(log_probs, self.generators["action"], self.processes)
        chosen = log_probs.gather(1, action[:, None]).squeeze(1)
        self.rollout.add_decision(images, action, chosen, output.value)
        self._action = action.cpu().numpy()
        return self._action

    def observe(self, step: EnvStep) -> None:
        """Store what followed the last actions."""
        terminated = step.terminated
        if self.life_loss_ends_return:
            terminated = terminated | ((step.lives < self._lives) & ~step.invented)
        self.rollout.add_outcome(step, terminated)
        self.steps += int(np.count_nonzero(~step.invented))
        self._last_observation = step.observation

    @property
    def encoder(self) -> Encoder:
        """The online encoder, with all the updates that have begun."""
        self._wait()
        return self.network.encoder

    @property
    def modules(self) -> list[nn.Module]:
        """Network and objective, with all the updates that have begun."""
        self._wait()
        return [self.network] if self.auxiliary is None else [self.network, self.auxiliary.objective]

    @property
    def guard(self) -> GradientGuard:
        """Counts updates that were skipped, of all that have begun."""
        self._wait()
        return self._guard

    @property
    def at_boundary(self) -> bool:
        """No rollout is under way."""
        return self.rollout.position == 0

    @property
    def continues_games(self) -> bool:
        """Always without a replay; with one, only where it holds the rows that led there."""
        return self.replay is None or not self.replay.awaits_first

    # ---------------------------------------------------------------- learning

    def learn(self) -> Metrics | None:
        """Learn from the rollout when it is full, or begin to.

        Returns:
            Mean metrics over the minibatches of a rollout: this one, or with ``overlap`` the one before; else None.
        """
        if not self.rollout.full:
            return None
        if self._background is None:
            metrics = self._improve(self._close_rollout())
            self.updates += self.updates_per_rollout
            return metrics
        finished = self._background.collect()
        self.updates += len(finished) * self.updates_per_rollout
        filled = self._close_rollout()
        copy_weights(self.network, self.acting_network)
        self._background.submit([filled])
        self.rollout, self._spare = self._spare, self.rollout
        return finished[0] if finished else None

    @property
    def updates_per_rollout(self) -> int:
        """Optimiser steps on one rollout."""
        return self.num_epochs * self.num_minibatches

    @torch.no_grad()
    def _close_rollout(self) -> ClosedRollout:
        """What there is to learn from the full rollout."""
        with self.autocast():
            final_value = self.acting_network(torch.from_numpy(self._last_observation).to(self.device)).value
        batch, happened = self.rollout.finish(
            final_value, discount=self.discount, lambda_=self.gae_lambda, clip_reward=self.clip_reward
        )
        counts: list[int] = gather_numbers(torch.tensor(len(happened))).tolist()
        self.steps += sum(counts) - len(happened)
        # By the steps before this rollout: the first one is learned from at the full rate, none at 0.
        left = max(0.0, 1.0 - (self.steps - sum(counts)) / self.total_steps)
        warmed = min(1.0, self.steps / self.warmup_steps) if self.warmup_steps else 1.0  # by those after it
        rate = self.learning_rate * warmed * (left if self.anneal else 1.0)
        entropy = self.entropy_coefficient * (left if self.anneal_entropy else 1.0)
        ahead = self.frames.ahead(range(self.updates, self.updates + self.updates_per_rollout))
        return ClosedRollout(batch, happened, counts, rate, entropy, self.updates, ahead)

    def _improve(self, rollout: ClosedRollout) -> Metrics:
        """Improve the network on a rollout; mean metrics over its minibatches."""
        for group in self.optimizer.param_groups:
            group["lr"] = rollout.learning_rate
        batch, happened, counts = rollout.batch, rollout.happened, rollout.counts
        value_error = (batch.return_ - batch.value)[happened]
        update, ahead = rollout.first_update, iter(rollout.frames)
        means = DeviceMeans()
        for _ in range(self.num_epochs):
            order = torch.randperm(len(happened), generator=self.generators["minibatch"])
            order = happened[order.to(self.device)]
            for part in split_minibatches(order, batch.advantage, self.num_minibatches, counts, self.processes):
                means.add(self._update(rollout, part, update, ahead))
                update += 1
        metrics = means.take()
        spread = variance(batch.return_[happened], counts)
        if spread > 0:
            metrics["explained_variance"] = (1 - variance(value_error, counts) / spread).item()
        metrics["learning_rate"] = rollout.learning_rate
        return metrics

    def _wait(self) -> list[Metrics]:
        """Let the learning under way come to its end; its metrics are returned when the next rollout is full."""
        return [] if self._background is None else self._background.wait()

    @section("update")
    def _update(
        self, rollout: ClosedRollout, part: Minibatch, number: int, ahead: Iterator[Observations]
    ) -> dict[str, Tensor]:
        """Optimiser step number ``number`` (from 0), on the transitions of ``part``; detached scalars."""
        with section("take minibatch"):
            minibatch = take(rollout.batch, part.rows)
        frames = groups = None
        if self.auxiliary is not None and self.auxiliary.due(number):
            frames, groups = self.frames.now(rollout, part, ahead)
        loss, metrics = self._averaged(lambda: self._loss(rollout, part, number, minibatch, frames, groups))
        metrics["loss/total"] = loss.detach()

        self.optimizer.zero_grad(set_to_none=True)
        with section("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        with section("optimiser"):
            # The same number in every process, so that all skip an update or none.
            loss = mean_over_processes(loss.detach())
            metrics["gradient_norm"] = self._guard.clip(self.parameters, loss, metrics | minibatch._asdict())
            if self._guard.sound:
                self.optimizer.step()
        if self._guard.sound and self.auxiliary is not None:
            with section("auxiliary target"):
                self.auxiliary.objective.update_target(self.network.encoder)
        return metrics

    def _loss(
        self,
        rollout: ClosedRollout,
        part: Minibatch,
        number: int,
        minibatch: PPOBatch,
        aux_frames: Tensor | None,
        aux_groups: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a minibatch, with the auxiliary loss on its frames if they are given; and its terms, detached.

        Where acting lags, ``rollout`` is told in its first epoch what the network says then.
        """
        images = minibatch.observation
        if self.augmentation is not None:
            images = self.augmentation(images, self.generators["augmentation"])
        with self.autocast():
            output = self.network(images)
        if self._background is not None and number - rollout.first_update < self.num_minibatches:
            minibatch = anchored(output, minibatch)
            for name in ("log_prob", "weight", "value"):
                getattr(rollout.batch, name)[part.rows] = getattr(minibatch, name)
        rl = ppo_loss(
            output,
            minibatch,
            clip_range=self.clip_range,
            clip_value=self.clip_value,
            value_coefficient=self.value_coefficient,
            entropy_coefficient=rollout.entropy_coefficient,
            moments=part.moments,
        )
        loss = part.share * rl.total
        metrics = {
            "loss/policy": part.share * rl.policy,
            "loss/value": part.share * rl.value,
            "policy/entropy": part.share * rl.entropy,
            "policy/approximate_kl": part.share * rl.approximate_kl,
            "policy/clip_fraction": part.share * rl.clip_fraction,
        }
        if self.auxiliary is not None and aux_frames is not None:
            with self.autocast():
                aux = self.auxiliary(self.network.encoder, aux_frames, aux_groups)
            loss = loss + self.auxiliary.weight * aux.loss
            metrics |= {f"aux/{name}": value for name, value in aux.metrics.items()}
        return loss, metrics

    # -------------------------------------------------------------- evaluation

    def join(self) -> None:
        """Learn with the other processes from now on."""
        self._averaged.join(self.processes, self.device)
        if self.auxiliary is not None:
            self.auxiliary.averaged.join(self.processes, self.device)

    def release(self) -> None:
        """Let go of the other processes: training is over."""
        self._wait()
        self._averaged.release()
        if self.auxiliary is not None:
            self.auxiliary.averaged.release()

    evaluation_rule = "actions sampled from the policy"

    def policy(self, generator: torch.Generator, num_envs: int) -> Callable[[EnvStep], np.ndarray]:
        """The policy for evaluation, on a stream of randomness of its own; any number of environments."""
        self._wait()
        return sampling_policy(self.network, generator, self.autocast)

    # ------------------------------------------------------------------- state

    own_state: tuple[str, ...] = ("generators", "auxiliary_generator", "action", "replay")

    def flush(self) -> None:
        """Write a replay that is kept on disk."""
        if self.replay is not None and self.replay.directory is not None:
            self.replay.save(self.replay.directory)

    def state_dict(self) -> dict[str, Any]:
        """Everything learning continues from, between two iterations (the rollout is empty then).

        Learning under way is waited for; its metrics are kept until they are due. Saving changes nothing.
        """
        waiting = self._wait()
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": {name: g.get_state() for name, g in self.generators.items()},
            "guard": self._guard.state_dict(),
            "steps": self.steps,
            "updates": self.updates,
            "action": torch.from_numpy(self._action),
        }
        if self.replay is not None and self.replay.directory is not None:
            state["replay"] = self.replay.mark()
        if self.auxiliary is not None:
            state["objective"] = self.auxiliary.objective.state_dict()
            state["auxiliary_generator"] = self.auxiliary.generator.get_state()
        if self._background is not None:
            state["acting_network"] = self.acting_network.state_dict()
            state["waiting"] = waiting
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``, saved between two iterations; a replay on disk is led back to then.

        An agent with another ``overlap`` continues it too: it acts by the newest weights at first.
        """
        if self.replay is not None and "replay" in state and self.replay.position:
            self.replay.rewind(state["replay"])
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name].cpu())
        if self.auxiliary is not None:
            self.auxiliary.objective.load_state_dict(state["objective"])
            self.auxiliary.generator.set_state(state["auxiliary_generator"].cpu())
        self._guard.load_state_dict(state["guard"])
        self.steps = state["steps"]
        self.updates = state["updates"]
        self._action = state["action"].cpu().numpy()
        self.rollout.position = 0
        waiting = state.get("waiting", [])
        if self._background is None:
            self.updates += len(waiting) * self.updates_per_rollout
        else:
            self.acting_network.load_state_dict(state.get("acting_network", state["network"]))
            self._background.restore(waiting)
