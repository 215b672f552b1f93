"""R2D2 on vectorised images: acts, remembers and learns at a fixed ratio, in one process.

Source: Kapturowski et al., 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning" (R2D2).

Departures: actors are the environments of one vector, and learning keeps step with acting: so many updates
for so many agent steps. Either they alternate, and acting has the newest weights; or, ``overlap``, a round of
updates runs beside the acting until the next round is due, and acting has the weights from before it. The lag
is fixed, so the same seed gives the same numbers either way. See also the departures of `agents.r2d2_networks`,
`agents.r2d2_learner` and `agents.replay`.

Over several processes each has an equal part of the environments, of the replay and of every batch. They count the
steps of all, so updates are due at the same moment everywhere; how far the others are they ask at fixed vector steps,
as often as an update may be due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from agents.background import BackgroundRounds
from agents.networks import copy_weights
from agents.policies import EVALUATION_EPSILON, recurrent_policy
from agents.r2d2_actor import RecurrentActor
from agents.r2d2_learner import R2D2Learner
from agents.replay import Observations, SequenceBatch, SequenceReplay, to_device
from envs.types import EnvStep
from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.device_means import DeviceMeans
from relic_rl.runtime.distributed import Processes, gather_numbers
from relic_rl.runtime.guard import GradientGuard
from relic_rl.runtime.profile import section


class Draw(NamedTuple):
    """What one update learns from, on the CPU."""

    batch: SequenceBatch
    frames: Observations | None  # of the auxiliary loss, where they do not come from the batch


class Learned(NamedTuple):
    """What one update found, on the CPU (B: sequences)."""

    sequence: torch.Tensor  # int64 [B]
    priority: torch.Tensor | None  # float32 [B]; None if the update was skipped
    metrics: dict[str, torch.Tensor]  # float32 scalars


class R2D2:
    """Call ``act`` with every step the environments return, ``observe`` with what followed, then ``learn``.

    Args:
        actor: chooses actions.
        learner: improves the actor's network.
        replay: takes every step, gives batches.
        batch_size: sequences of a batch, of this process.
        steps_per_update: agent steps, summed over the environments of all processes, for each update of the learner.
        learning_starts: observations the replays of all processes must hold before updates begin, and before they go
            on after a resume that found no replay.
        sampling_seed: of the draws from the replay; update u draws from a stream of its own, (seed, u), so
            that no generator need be saved.
        life_loss_ends_return: a lost life ends the return (never the game).
        overlap: let a round of updates run beside the acting. The actor then needs a network of its own.
        learner_threads: CPU threads of learning that overlaps; None leaves torch's number.
        replayed_frames: the frames of the auxiliary loss are drawn from the whole replay, uniformly, in place
            of the sampled sequences.
        processes: this one among those that learn together.

    Raises:
        ValueError: with ``overlap``, actor and learner share one network.
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
        overlap: bool = False,
        learner_threads: int | None = None,
        replayed_frames: bool = False,
        processes: Processes = Processes(),  # noqa: B008 (immutable)
    ) -> None:
        if overlap == (actor.network is learner.network):
            raise ValueError("actor and learner need networks of their own to overlap, one network to alternate")
        self.actor = actor
        self.learner = learner
        self.replay = replay
        self.batch_size = batch_size
        self.steps_per_update = steps_per_update
        self.learning_starts = learning_starts
        self.sampling_seed = sampling_seed
        self.life_loss_ends_return = life_loss_ends_return
        self.replayed_frames = replayed_frames
        self.processes = processes
        self.steps = 0
        self.updates = 0  # whose results have been taken in
        self._background = BackgroundRounds(self._update, learner.device, learner_threads) if overlap else None
        self._unlearned = 0.0  # agent steps that no update has answered yet
        self._lives = np.zeros(replay.geometry.num_envs, dtype=np.int32)
        all_envs = replay.geometry.num_envs * processes.world_size
        self._round = max(1, int(steps_per_update / all_envs)) if processes.are_several else 1  # vector steps
        self._counts: list[tuple[int, int]] = []  # decisions, and observations kept, at each of them
        self._can_draw = False

    @property
    def encoder(self) -> Encoder:
        """The online encoder, with all the updates that have begun."""
        self._wait()
        return self.learner.network.encoder

    @property
    def guard(self) -> GradientGuard:
        """Counts updates that were skipped, of all that have begun."""
        self._wait()
        return self.learner.guard

    @property
    def at_boundary(self) -> bool:
        """Where all processes have the same count; else always: whatever is half collected is in the replay."""
        return not self._counts

    @property
    def continues_games(self) -> bool:
        """Only with the rows that led there: a replay in memory is lost when its process ends."""
        return not self.replay.awaits_first

    def act(self, step: EnvStep) -> NDArray[np.int64]:
        """Remember ``step`` and choose an action for each environment, int64 [N]."""
        decision = self.actor.act(step)
        ends_return = step.terminated
        if self.life_loss_ends_return:
            ends_return = ends_return | ((step.lives < self._lives) & ~step.invented)
        self._lives = step.lives
        with section("replay: add"):
            self.replay.add(step, decision.action_tm1, decision.state, ends_return)
        return decision.action

    def observe(self, step: EnvStep) -> None:
        """Count what followed the last actions; the next ``act`` remembers it."""
        self._counts.append((int(np.count_nonzero(~step.invented)), self.replay.num_observations))
        if len(self._counts) < self._round:
            return
        last = torch.tensor([[0, int(self.replay.can_draw)]])
        found = gather_numbers(torch.cat([torch.tensor(self._counts), last]))
        for decisions, observations in found[:, :-1].sum(0).tolist():
            self.steps += decisions
            if observations >= self.learning_starts:
                self._unlearned += decisions
        self._can_draw = bool((found[:, -1, 1] > 0).all())
        self._counts = []

    def learn(self) -> dict[str, float] | None:
        """Make the updates that are due, or begin them; mean metrics of those taken in, None where there are none."""
        due = int(self._unlearned / self.steps_per_update)
        if due == 0 or self._counts or not self._can_draw:
            return None
        self._unlearned -= due * self.steps_per_update
        if self._background is None:
            return _means([self._take_in(self._update(self._draw(self.updates))) for _ in range(due)])
        finished = [self._take_in(learned) for learned in self._background.collect()]
        copy_weights(self.learner.network, self.actor.network)
        self._background.submit([self._draw(self.updates + k) for k in range(due)])
        return _means(finished) if finished else None

    def _draw(self, update: int) -> Draw:
        """What update number ``update`` learns from."""
        shard = [self.processes.rank] if self.processes.are_several else []
        rng = np.random.default_rng((self.sampling_seed, update, *shard))
        batch = self.replay.sample(self.batch_size, rng)
        batch = batch._replace(episode=self._everywhere(batch.episode))
        auxiliary = self.learner.auxiliary
        if auxiliary is None or not self.replayed_frames or not auxiliary.due(update):
            return Draw(batch, None)
        frames = self.replay.sample_observations(auxiliary.batch_size, rng)
        return Draw(batch, frames._replace(group=self._everywhere(frames.group)))

    def _everywhere(self, episode: torch.Tensor) -> torch.Tensor:
        """Numbers of episodes, int64 [B], made unique over all processes."""
        return episode * self.processes.world_size + self.processes.rank

    @section("update")
    def _update(self, draw: Draw) -> Learned:
        """One update."""
        device = self.learner.device
        update = self.learner.update(
            to_device(draw.batch, device), None if draw.frames is None else to_device(draw.frames, device)
        )
        names = list(update.metrics)
        values = torch.stack([update.metrics[name].float() for name in names]).cpu()  # one transfer for all
        return Learned(
            sequence=draw.batch.sequence,
            priority=update.priority.cpu() if self.learner.guard.sound else None,
            metrics=dict(zip(names, values.unbind(), strict=True)),
        )

    @section("replay: priorities")
    def _take_in(self, learned: Learned) -> Learned:
        """Count an update and give the replay its priorities."""
        self.updates += 1
        if learned.priority is not None:
            self.replay.update_priorities(learned.sequence, learned.priority)
        return learned

    def _wait(self) -> list[Learned]:
        """Let the round under way come to its end; what it found is taken in when the next one is due."""
        return [] if self._background is None else self._background.wait()

    @property
    def modules(self) -> list[nn.Module]:
        """Networks, target and objective, with all the updates that have begun."""
        self._wait()
        return [*self.learner.modules, self.learner.target]

    def join(self) -> None:
        """Learn with the other processes from now on."""
        self.learner.join(self.processes, [self.actor.network] if self._background is not None else [])

    def release(self) -> None:
        """Let go of the other processes: training is over."""
        self._wait()
        self.learner.release()

    # -------------------------------------------------------------- evaluation

    evaluation_rule = f"epsilon-greedy, epsilon {EVALUATION_EPSILON}"

    def policy(self, generator: torch.Generator, num_envs: int) -> Callable[[EnvStep], NDArray[np.int64]]:
        """The policy for evaluation on N environments, with LSTM states and a stream of randomness of its own."""
        self._wait()
        return recurrent_policy(self.learner.network, generator, num_envs, self.learner.autocast_dtype)

    # ------------------------------------------------------------------- state

    own_state: tuple[str, ...] = ("actor", "lives", "waiting", "replay", "learner.generator")

    def flush(self) -> None:
        """Write a replay that is kept on disk."""
        if self.replay.directory is not None:
            self.replay.save(self.replay.directory)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the replay; of one on disk, what leads it back to this moment.

        A round under way is waited for, but not taken in before its time: saving changes nothing.
        """
        waiting = self._wait()
        state: dict[str, Any] = {
            "actor": self.actor.state_dict(),
            "learner": self.learner.state_dict(),
            "steps": self.steps,
            "updates": self.updates,
            "unlearned": self._unlearned,
            "lives": torch.from_numpy(self._lives),
        }
        if self.replay.directory is not None:
            state["replay"] = self.replay.mark()
        if self._background is not None:
            state["acting_network"] = self.actor.network.state_dict()
            state["waiting"] = waiting
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``, of an agent with the same ``overlap``.

        A replay on disk may be further, if its process was killed: it is led back. A replay in memory is lost, and with
        it the sequences whose priorities the last round found.
        """
        replay_is_lost = self.replay.position == 0
        if "replay" in state and not replay_is_lost:
            self.replay.rewind(state["replay"])
        self.actor.load_state_dict(state["actor"])
        self.learner.load_state_dict(state["learner"])
        self.steps = state["steps"]
        self.updates = state["updates"]
        self._unlearned = state["unlearned"]
        self._lives = state["lives"].cpu().numpy()
        if self._background is not None:
            self.actor.network.load_state_dict(state["acting_network"])
            waiting = [Learned(*learned) for learned in state["waiting"]]
            self._background.restore([w._replace(priority=None) if replay_is_lost else w for w in waiting])


def _means(updates: Iterable[Learned]) -> dict[str, float]:
    """Mean of each metric over the updates that have it."""
    means = DeviceMeans()
    for update in updates:
        means.add(update.metrics)
    return means.take()
