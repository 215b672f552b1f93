"""R2D2 on vectorised images: acts, remembers and learns at a fixed ratio, in one process.

Source: Kapturowski et al., 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning" (R2D2).

Departures: actors are the environments of one vector and act with the newest weights; learning keeps step
with acting in place of running beside it. See also the departures of `agents.r2d2_networks`,
`agents.r2d2_learner` and `agents.replay`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.r2d2_actor import RecurrentActor
from agents.r2d2_learner import R2D2Learner
from agents.replay import SequenceReplay, to_device
from envs.types import EnvStep
from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.guard import GradientGuard

EVALUATION_EPSILON = 0.001


class R2D2:
    """Call ``act`` with every step the environments return, ``observe`` with what followed, then ``learn``.

    Args:
        actor: chooses actions.
        learner: improves the actor's network.
        replay: takes every step, gives batches.
        batch_size: sequences of a batch.
        steps_per_update: agent steps, summed over environments, for each update of the learner.
        learning_starts: observations the replay must hold before updates begin, and before they go on after a
            resume that found no replay.
        sampling_seed: of the draws from the replay; update u draws from a stream of its own, (seed, u), so
            that no generator need be saved.
        life_loss_ends_return: a lost life ends the return (never the game).
    """

    def __init__(
        self,
        actor: RecurrentActor,
        learner: R2D2Learner,
        replay: SequenceReplay,
        *,
        batch_size: int = 64,
        steps_per_update: float = 4.0,
        learning_starts: int = 20_000,
        sampling_seed: int = 0,
        life_loss_ends_return: bool = False,
    ) -> None:
        self.actor = actor
        self.learner = learner
        self.replay = replay
        self.batch_size = batch_size
        self.steps_per_update = steps_per_update
        self.learning_starts = learning_starts
        self.sampling_seed = sampling_seed
        self.life_loss_ends_return = life_loss_ends_return
        self.steps = 0
        self._unlearned = 0.0  # agent steps that no update has answered yet
        self._lives = np.zeros(replay.geometry.num_envs, dtype=np.int32)

    @property
    def encoder(self) -> Encoder:
        """The online encoder."""
        return self.learner.network.encoder

    @property
    def guard(self) -> GradientGuard:
        """Counts updates that were skipped."""
        return self.learner.guard

    @property
    def at_boundary(self) -> bool:
        """Always: whatever is half collected is in the replay."""
        return True

    @property
    def updates(self) -> int:
        """Updates of the learner so far."""
        return self.learner.updates

    def act(self, step: EnvStep) -> NDArray[np.int64]:
        """Remember ``step`` and choose an action for each environment, int64 [N]."""
        decision = self.actor.act(step)
        ends_return = step.terminated
        if self.life_loss_ends_return:
            ends_return = ends_return | ((step.lives < self._lives) & ~step.invented)
        self._lives = step.lives
        self.replay.add(step, decision.action_tm1, decision.state, ends_return)
        return decision.action

    def observe(self, step: EnvStep) -> None:
        """Count what followed the last actions; the next ``act`` remembers it."""
        decisions = int(np.count_nonzero(~step.invented))
        self.steps += decisions
        if self.replay.num_observations >= self.learning_starts:
            self._unlearned += decisions

    def learn(self) -> dict[str, float] | None:
        """Make the updates that are due; their mean metrics, or None where none is due."""
        due = int(self._unlearned / self.steps_per_update)
        if due == 0 or self.replay.num_sequences == 0:
            return None
        self._unlearned -= due * self.steps_per_update
        totals: dict[str, torch.Tensor] = {}
        counts: dict[str, int] = {}
        for _ in range(due):
            rng = np.random.default_rng((self.sampling_seed, self.updates))
            batch = self.replay.sample(self.batch_size, rng)
            update = self.learner.update(to_device(batch, self.learner.device))
            if self.learner.guard.sound:
                self.replay.update_priorities(batch.sequence, update.priority)
            for name, value in update.metrics.items():
                totals[name] = totals[name] + value if name in totals else value
                counts[name] = counts.get(name, 0) + 1
        return {name: (value / counts[name]).item() for name, value in totals.items()}

    # -------------------------------------------------------------- evaluation

    evaluation_rule = f"epsilon-greedy, epsilon {EVALUATION_EPSILON}"

    def policy(self, generator: torch.Generator, num_envs: int) -> Callable[[EnvStep], NDArray[np.int64]]:
        """The policy for evaluation on N environments, with LSTM states and a stream of randomness of its own."""
        epsilon = torch.full((num_envs,), EVALUATION_EPSILON)
        network, autocast_dtype = self.learner.network, self.learner.autocast_dtype
        actor = RecurrentActor(network, epsilon, generator, autocast_dtype=autocast_dtype)
        return lambda step: actor.act(step).action

    # ------------------------------------------------------------------- state

    def flush(self) -> None:
        """Write a replay that is kept on disk."""
        if self.replay.directory is not None:
            self.replay.save(self.replay.directory)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the replay; of one on disk, what leads it back to this moment."""
        state: dict[str, Any] = {
            "actor": self.actor.state_dict(),
            "learner": self.learner.state_dict(),
            "steps": self.steps,
            "unlearned": self._unlearned,
            "lives": torch.from_numpy(self._lives),
        }
        if self.replay.directory is not None:
            state["replay"] = self.replay.mark()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``; a replay on disk may be further, if its process was killed."""
        if "replay" in state and self.replay.position:
            self.replay.rewind(state["replay"])
        self.actor.load_state_dict(state["actor"])
        self.learner.load_state_dict(state["learner"])
        self.steps = state["steps"]
        self._unlearned = state["unlearned"]
        self._lives = state["lives"].cpu().numpy()
