"""A training run under way: its loop, its checkpoints and its records."""

from __future__ import annotations

import io
import time
from typing import Any

from agents.agent import Agent
from agents.parallel import join_state, split_state
from envs.games import RecentGames
from envs.types import EnvStep, VectorEnv
from relic_rl.runtime.checkpoint import Loaded, save_checkpoint, to_plain
from relic_rl.runtime.distributed import Processes, gather_to_writer, largest, odd_ranks
from relic_rl.runtime.errors import BadInput, RunFailed
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.runtime.metrics import MetricLogger
from relic_rl.runtime.profile import ProfileWindow, section
from relic_rl.runtime.progress import Progress
from relic_rl.runtime.rundir import RunDir
from relic_rl.train_options import TrainConfig
from relic_rl.train_processes import SharedGames, parts_of
from relic_rl.train_resume import resumable_options


class Run:
    """Steps the environments and the agent together until the budget is spent or a signal comes.

    What a checkpoint holds: the agent (networks, objective with its target, optimiser, generators,
    counters), recent games and the seconds spent. Environments that can be restored (the toys) are, where
    the agent can go on within a game; of the others the games in flight start anew, and everything else
    continues exactly. Of several processes one writes it, once what they share and of each what is its own;
    another number of processes continues what they share.

    Args:
        config: the options, those that processes split between them whole, the precision decided.
        env: training environments, not yet reset.
        agent: what learns.
        directory: the run's directory; None in all processes but the writer.
        interrupts: asked between iterations.
        loaded: the checkpoint to continue from, or None.
        processes: this one among all.

    Raises:
        BadInput: the checkpoint does not fit the agent.
    """

    def __init__(
        self,
        config: TrainConfig,
        env: VectorEnv,
        agent: Agent,
        directory: RunDir | None,
        interrupts: Interrupts,
        loaded: Loaded | None,
        processes: Processes,
    ) -> None:
        self.config = config
        self.env = env
        self.agent = agent
        self.directory = directory
        self.interrupts = interrupts
        self.processes = processes
        self.games = RecentGames(first_env=config.num_envs // 2 if config.agent == "r2d2" else 0)
        self._shared_games = SharedGames(self.games, processes.share(config.num_envs).start, processes)
        self.best_return = float("-inf")
        self._signal = 0  # that all processes have agreed to heed
        self.step = env.reset()
        seconds = 0.0
        if loaded is not None:
            try:
                seconds = self._load(loaded.state)
            except Exception as error:  # whatever a state of another make does to those who take it
                reason = f"{type(error).__name__}: {error}"[:100]
                raise BadInput(f"checkpoint {loaded.path} does not fit these options ({reason})") from error
        self.log: MetricLogger | None = None
        self.profile: ProfileWindow | None = None
        if directory is not None:
            self.log = MetricLogger(directory.path, frame_skip=env.frame_skip, step=agent.steps, seconds=seconds)
            self.profile = ProfileWindow(directory.path / "profile") if config.profile else None
        # Of several processes one speaks.
        output = None if directory is not None else io.StringIO()
        self.progress = Progress(config.total_steps, frame_skip=env.frame_skip, every=config.log_every, file=output)

    # ---------------------------------------------------------------- training

    def train(self) -> None:
        """Train until the budget is spent or a signal asks to stop; a checkpoint is written either way."""
        metrics: dict[str, float] = {}
        self.save()
        saved_at = time.monotonic()
        with self.progress:
            while not self._finished():
                action = self.agent.act(self.step)
                with section("environment"):
                    self.step = self.env.step(action)
                self.agent.observe(self.step)
                self._shared_games.add(self.step)
                learned = self.agent.learn()
                if learned is not None:
                    metrics = learned
                    if self.log is not None:
                        self.log.add(metrics)
                if self.profile is not None:
                    self._note(self.profile.after_step(learned is not None, self.agent.updates))
                if not self.agent.at_boundary:
                    continue
                row_due = self.log is not None and self.log.due(self.agent.steps)
                # What skipped updates leave may be lost already: the newest checkpoint is to be a good one.
                save_due = time.monotonic() - saved_at >= self.config.checkpoint_every and self.agent.guard.sound
                row_due, save_due = self._agree(row_due, save_due)
                if row_due:
                    self._write_row()
                if save_due:
                    self.save()
                    saved_at = time.monotonic()
                self._show(metrics)
            if self.profile is not None:  # a run may end before the window does
                self._note(self.profile.close(self.agent.updates))
            self._write_row()
            self.save(games=self.agent.at_boundary)
            self._show(metrics, final=True)
        if self.log is not None:
            self.log.close()

    def _agree(self, row_due: bool, save_due: bool) -> tuple[bool, bool]:
        """What any process wants now, all do; so too with signals."""
        if not self.processes.are_several:
            return row_due, save_due
        self._signal, row, save = largest([self.interrupts.exit_code, int(row_due), int(save_due)])
        return bool(row), bool(save)

    def _finished(self) -> bool:
        """The budget is spent or a signal came, and nothing is half collected, or there is no time to wait for that.

        Several processes only stop where all of them can.
        """
        done = self.agent.steps >= self.config.total_steps or self.exit_code != 0
        return (self.interrupts.urgent and not self.processes.are_several) or (self.agent.at_boundary and done)

    @property
    def exit_code(self) -> int:
        """0, or what a signal ends the run with."""
        return self._signal if self.processes.are_several else self.interrupts.exit_code

    def _note(self, text: str | None) -> None:
        """Show lines to the user."""
        for line in (text or "").splitlines():
            self.progress.note(line)

    @section("logging")
    def _write_row(self) -> None:
        self._shared_games.merge()
        if self.log is not None:
            self.log.write(
                self.agent.steps,
                mean_return=self.games.mean_return,
                num_games=self.games.num_games,
                updates=self.agent.updates,
            )

    @section("logging")
    def _show(self, metrics: dict[str, float], *, final: bool = False) -> None:
        if self.log is not None:
            self.progress.update(
                self.agent.steps,
                self.log.seconds,
                mean_return=self.games.mean_return,
                num_games=self.games.num_games,
                metrics=metrics,
                final=final,
            )

    # ------------------------------------------------------------- checkpoints

    @section("checkpoint")
    def save(self, *, games: bool = True) -> None:
        """Write a checkpoint; the best is the one with the highest mean return of recent games.

        All processes call it together; their parameters must be equal.

        Args:
            games: keep the games in flight, where the environment can be restored. Not in the middle of a rollout,
                which is not kept, and not after a failure of the environment.

        Raises:
            RunFailed: the processes have diverged; what was saved before is kept.
        """
        if self.processes.are_several and (odd := odd_ranks(self.agent.modules)):
            raise RunFailed(
                f"the parameters of rank {', '.join(map(str, odd))} are not those of rank 0 any more, at agent step "
                f"{self.agent.steps}: do all machines run the same versions on the same kind of hardware?"
            )
        self._shared_games.merge()
        self.agent.flush()
        agent = self.agent.state_dict()
        own: dict[str, Any] = {}
        if games and hasattr(self.env, "get_state"):
            own = {"env": self.env.get_state(), "step": self.step}
        if self.processes.are_several:
            agent, own["agent"] = split_state(agent, self.agent.own_state)
            own = {"ranks": gather_to_writer(to_plain(own))}
        if self.directory is None or self.log is None:
            return
        is_best = self.games.mean_return > self.best_return
        if is_best:
            self.best_return = self.games.mean_return
        state: dict[str, Any] = {
            "options": resumable_options(self.config),
            "agent": agent,
            "games": self.games.state_dict(),
            "best_return": self.best_return,
            "seconds": self.log.seconds,
        }
        save_checkpoint(
            self.directory.checkpoints,
            self.agent.steps,
            state | own,
            keep_last=self.config.keep_checkpoints,
            is_best=is_best,
        )

    def _load(self, state: dict[str, Any]) -> float:
        """Continue from a checkpoint's state; the seconds of training that went before."""
        common, parts = parts_of(state, self.agent.own_state)
        if len(parts) == self.processes.world_size:
            own = parts[self.processes.rank]
        else:  # another number of processes made it: what is each one's own begins anew
            own = {"agent": split_state(self.agent.state_dict(), self.agent.own_state)[1]}
        self.agent.load_state_dict(join_state(common, own["agent"]))
        self.games.load_state_dict(state["games"])
        self.best_return = state["best_return"]
        if "env" in own and hasattr(self.env, "set_state") and self.agent.continues_games:
            self.env.set_state({name: value.numpy() for name, value in own["env"].items()})
            self.step = EnvStep(*(field.numpy() for field in own["step"]))
        seconds: float = state["seconds"]
        return seconds

    def record(self) -> dict[str, Any]:
        """What was done so far, for ``result.json``; the writer's."""
        assert self.log is not None
        steps, seconds = self.agent.steps, self.log.seconds
        return {
            "env": self.config.env,
            "agent": self.config.agent,
            "objective": self.config.objective,
            "seed": self.config.seed,
            "processes": self.processes.world_size,
            "agent_steps": steps,
            "frames": steps * self.env.frame_skip,
            "updates": self.agent.updates,
            "skipped_updates": self.agent.guard.skipped,
            "seconds": self.log.seconds,
            "steps_per_second": steps / seconds,
            "training_games": self.games.num_games,
            "training_mean_return": self.games.mean_return,
        }
