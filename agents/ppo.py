"""PPO on vectorised images: collects rollouts and has them learned from.

Departures from Schulman et al., 2017 (arXiv 1707.06347): those that practice has settled (orthogonal initialisation, a
linearly annealed learning rate), and those of `agents.ppo_learner`. Truncated games bootstrap from the value of their
true final observation. Over several processes, each with an equal part of the environments, see `agents.ppo_parallel`.

Collecting and learning alternate; or, where the learner has a thread of its own, a rollout that is passed over few
times is learned from while the next one is collected, by the policy from before that. The lag is fixed, so the same
seed gives the same numbers however fast each of the two is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from agents.acting import ActingEncoder
from agents.background import BackgroundRounds
from agents.networks import copy_weights
from agents.policies import sample_categorical, sampling_policy
from agents.ppo_learner import Metrics, PPOLearner
from agents.ppo_schedule import Schedule
from agents.rollout import ClosedRollout, Rollout
from envs.types import EnvStep
from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.distributed import Processes, gather_numbers
from relic_rl.runtime.guard import GradientGuard
from relic_rl.runtime.profile import section


class PPO:
    """Collects rollouts and improves the policy on them.

    One iteration: T times ``act`` then ``observe``; when ``observe`` has filled the rollout, ``learn`` runs
    epochs of minibatch updates and returns their mean metrics; before that it returns None.

    Args:
        learner: improves its network; where it does so beside acting, while the next rollout is collected, and
            ``learn`` then returns the metrics of the rollout before.
        generator: the actions' stream of randomness, on the network's device; the same in all processes.
        schedule: of learning rate, entropy bonus and number of epochs, by the steps of all processes.
        num_envs: N, of this process.
        observation_shape: (C, H, W), uint8.
        num_steps: T, steps of each environment in a rollout.
        discount: gamma.
        gae_lambda: lambda of generalised advantage estimation.
        clip_reward: learn from the sign of the reward.
        life_loss_ends_return: a lost life ends the return (never the game).
        most_passes_beside: most passes over a rollout that go beside acting; with more, learning and acting take turns,
            since acting would lag by all of them.

    The replay that the learner's auxiliary frames may come from takes every step. It is saved by itself
    (`SequenceReplay.save`).

    Raises:
        ValueError: a minibatch could be empty, or several processes overlap (each would average gradients and count
            steps at once, in any order).
    """

    def __init__(
        self,
        learner: PPOLearner,
        generator: torch.Generator,
        schedule: Schedule,
        *,
        num_envs: int,
        observation_shape: tuple[int, int, int],
        num_steps: int = 128,
        discount: float = 0.99,
        gae_lambda: float = 0.95,
        clip_reward: bool = True,
        life_loss_ends_return: bool = False,
        most_passes_beside: int = 1,
    ) -> None:
        if num_envs * (num_steps // 2) < learner.num_minibatches:  # every other step may be invented by auto-reset
            raise ValueError(
                f"{num_envs} environments x {num_steps} steps are too few for {learner.num_minibatches} minibatches: "
                "give more steps or fewer minibatches"
            )
        overlap = learner.beside_acting
        if overlap and learner.processes.are_several:
            raise ValueError("collecting and learning overlap in a single process only")
        self.learner = learner
        self.device = learner.device
        self.processes: Processes = learner.processes
        self.acting_network = copy.deepcopy(learner.network) if overlap else learner.network
        self.replay = None if learner.frames is None else learner.frames.replay
        self.rollout = self._spare = Rollout(num_steps, num_envs, observation_shape, self.device, of=1 + overlap)
        if overlap:
            self._spare = Rollout(num_steps, num_envs, observation_shape, self.device)
        self._background = (
            BackgroundRounds(learner.improve, self.device, learner.threads, learner.shared) if overlap else None
        )
        self.generators = {"action": generator, **learner.generators}
        self.schedule = schedule
        self.discount = discount
        self.gae_lambda = gae_lambda
        self.clip_reward = clip_reward
        self.life_loss_ends_return = life_loss_ends_return
        self.most_passes_beside = most_passes_beside
        self._acting = ActingEncoder(self.acting_network.encoder, learner.autocast_dtype)
        self.steps = 0
        self.updates = 0  # those under way included
        self._acting_lags = False  # in the rollout that is being collected
        self._lives = np.zeros(num_envs, dtype=np.int32)
        self._action = np.zeros(num_envs, dtype=np.int64)

    # ------------------------------------------------------------------ acting

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
        with self.learner.autocast(), section("encoder"):
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
        return self.learner.network.encoder

    @property
    def modules(self) -> list[nn.Module]:
        """Network and objective, with all the updates that have begun."""
        self._wait()
        return self.learner.modules

    @property
    def guard(self) -> GradientGuard:
        """Counts updates that were skipped, of all that have begun."""
        self._wait()
        return self.learner.guard

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
            Mean metrics over the minibatches of a rollout: this one, or the one before where this one is learned from
            beside acting; None while there are none to tell. Where the two begin to take turns those of the rollout
            before are passed over.
        """
        if not self.rollout.full:
            return None
        if self._background is None:
            return self.learner.improve(self._close_rollout())
        finished = self._background.collect()
        filled = self._close_rollout()
        self._acting_lags = len(filled.updates) <= self.most_passes_beside * self.learner.num_minibatches
        if self._acting_lags:
            copy_weights(self.learner.network, self.acting_network)
            self._background.submit([filled])
            self.rollout, self._spare = self._spare, self.rollout
        else:
            self._background.submit([filled])
            finished = self._background.collect()
            copy_weights(self.learner.network, self.acting_network)
        return finished[0] if finished else None

    @torch.no_grad()
    def _close_rollout(self) -> ClosedRollout:
        """What there is to learn from the full rollout."""
        with self.learner.autocast():
            final_value = self.acting_network(torch.from_numpy(self._last_observation).to(self.device)).value
        batch, happened = self.rollout.finish(
            final_value, discount=self.discount, lambda_=self.gae_lambda, clip_reward=self.clip_reward
        )
        counts: list[int] = gather_numbers(torch.tensor(len(happened))).tolist()
        self.steps += sum(counts) - len(happened)
        rate, entropy_coefficient, num_epochs = self.schedule.at(self.steps - sum(counts), self.steps)
        updates = range(self.updates, self.updates + num_epochs * self.learner.num_minibatches)
        self.updates = updates.stop
        ahead = [] if self.learner.frames is None else self.learner.frames.ahead(updates)
        return ClosedRollout(batch, happened, counts, rate, entropy_coefficient, updates, ahead, self._acting_lags)

    def _wait(self) -> list[Metrics]:
        """Let the learning under way come to its end; its metrics are returned when the next rollout is full."""
        return [] if self._background is None else self._background.wait()

    # -------------------------------------------------------------- evaluation

    def join(self) -> None:
        """Learn with the other processes from now on."""
        self.learner.join()

    def release(self) -> None:
        """Let go of the other processes: training is over."""
        self._wait()
        self.learner.release()

    evaluation_rule = "actions sampled from the policy"

    def policy(self, generator: torch.Generator, num_envs: int) -> Callable[[EnvStep], np.ndarray]:
        """The policy for evaluation, on a stream of randomness of its own; any number of environments."""
        self._wait()
        return sampling_policy(self.learner.network, generator, self.learner.autocast)

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
            **self.learner.state_dict(),
            "generators": {name: g.get_state() for name, g in self.generators.items()},
            "steps": self.steps,
            "updates": self.updates,
            "action": torch.from_numpy(self._action),
        }
        if self.replay is not None and self.replay.directory is not None:
            state["replay"] = self.replay.mark()
        if self._acting_lags:
            state["acting_network"] = self.acting_network.state_dict()
            state["waiting"] = waiting
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``, saved between two iterations; a replay on disk is led back to then.

        An agent that overlaps or does not, unlike this one, continues it too: it acts by the newest weights at first.
        """
        if self.replay is not None and "replay" in state and self.replay.position:
            self.replay.rewind(state["replay"])
        self.learner.load_state_dict(state)
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name].cpu())
        self.steps = state["steps"]
        self.updates = state["updates"]
        self._action = state["action"].cpu().numpy()
        self.rollout.position = 0
        if self._background is not None:
            self._acting_lags = "acting_network" in state
            self.acting_network.load_state_dict(state.get("acting_network", state["network"]))
            self._background.restore(state.get("waiting", []))
