"""A training run under way: its loop, its checkpoints and its records."""

from __future__ import annotations

import time
from typing import Any

from agents.agent import Agent
from envs.games import RecentGames
from envs.types import EnvStep, VectorEnv
from relic_rl.runtime.checkpoint import Loaded, save_checkpoint
from relic_rl.runtime.errors import BadInput
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.runtime.metrics import MetricLogger
from relic_rl.runtime.profile import ProfileWindow, section
from relic_rl.runtime.progress import Progress
from relic_rl.runtime.rundir import RunDir
from relic_rl.train_options import TrainConfig
from relic_rl.train_resume import resumable_options


class Run:
    """Steps the environments and the agent together until the budget is spent or a signal comes.

    What a checkpoint holds: the agent (networks, objective with its target, optimiser, generators,
    counters), recent games and the seconds spent. Environments that can be restored (the toys) are, where
    the agent can go on within a game; of the others the games in flight start anew, and everything else
    continues exactly.

    Args:
        config: the options, the precision decided.
        env: training environments, not yet reset.
        agent: what learns.
        directory: the run's directory.
        interrupts: asked between iterations.
        loaded: the checkpoint to continue from, or None.

    Raises:
        BadInput: the checkpoint does not fit the agent.
    """

    def __init__(
        self,
        config: TrainConfig,
        env: VectorEnv,
        agent: Agent,
        directory: RunDir,
        interrupts: Interrupts,
        loaded: Loaded | None,
    ) -> None:
        self.config = config
        self.env = env
        self.agent = agent
        self.directory = directory
        self.interrupts = interrupts
        self.games = RecentGames(first_env=env.num_envs // 2 if config.agent == "r2d2" else 0)
        self.best_return = float("-inf")
        self.step = env.reset()
        seconds = 0.0
        if loaded is not None:
            try:
                seconds = self._load(loaded.state)
            except Exception as error:  # whatever a state of another make does to those who take it
                reason = f"{type(error).__name__}: {error}"[:100]
                raise BadInput(f"checkpoint {loaded.path} does not fit these options ({reason})") from error
        self.log = MetricLogger(directory.path, frame_skip=env.frame_skip, step=agent.steps, seconds=seconds)
        self.profile = ProfileWindow(directory.path / "profile") if config.profile else None
        self.progress = Progress(config.total_steps, frame_skip=env.frame_skip, every=config.log_every)

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
                self.games.add(self.step)
                learned = self.agent.learn()
                if learned is not None:
                    metrics = learned
                    self.log.add(metrics)
                if self.profile is not None:
                    self._note(self.profile.after_step(learned is not None, self.agent.updates))
                if not self.agent.at_boundary:
                    continue
                if self.log.due(self.agent.steps):
                    self._write_row()
                # What skipped updates leave may be lost already: the newest checkpoint is to be a good one.
                if time.monotonic() - saved_at >= self.config.checkpoint_every and self.agent.guard.sound:
                    self.save()
                    saved_at = time.monotonic()
                self._show(metrics)
            if self.profile is not None:  # a run may end before the window does
                self._note(self.profile.close(self.agent.updates))
            self._write_row()
            self.save(games=self.agent.at_boundary)
            self._show(metrics, final=True)
        self.log.close()

    def _finished(self) -> bool:
        """The budget is spent or a signal came, and nothing is half collected, or there is no time to wait for that."""
        spent = self.agent.steps >= self.config.total_steps
        return self.interrupts.urgent or (self.agent.at_boundary and (spent or self.interrupts.requested))

    def _note(self, text: str | None) -> None:
        """Show lines to the user."""
        for line in (text or "").splitlines():
            self.progress.note(line)

    @section("logging")
    def _write_row(self) -> None:
        games = self.games
        self.log.write(
            self.agent.steps,
            mean_return=games.mean_return,
            num_games=games.num_games,
            updates=self.agent.updates,
        )

    @section("logging")
    def _show(self, metrics: dict[str, float], *, final: bool = False) -> None:
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

        Args:
            games: keep the games in flight, where the environment can be restored. Not in the middle of a rollout,
                which is not kept, and not after a failure of the environment.
        """
        is_best = self.games.mean_return > self.best_return
        if is_best:
            self.best_return = self.games.mean_return
        self.agent.flush()
        state: dict[str, Any] = {
            "options": resumable_options(self.config),
            "agent": self.agent.state_dict(),
            "games": self.games.state_dict(),
            "best_return": self.best_return,
            "seconds": self.log.seconds,
        }
        if games and hasattr(self.env, "get_state"):
            state["env"] = self.env.get_state()
            state["step"] = self.step
        save_checkpoint(
            self.directory.checkpoints,
            self.agent.steps,
            state,
            keep_last=self.config.keep_checkpoints,
            is_best=is_best,
        )

    def _load(self, state: dict[str, Any]) -> float:
        """Continue from a checkpoint's state; the seconds of training that went before."""
        self.agent.load_state_dict(state["agent"])
        self.games.load_state_dict(state["games"])
        self.best_return = state["best_return"]
        if "env" in state and hasattr(self.env, "set_state") and self.agent.continues_games:
            self.env.set_state({name: value.numpy() for name, value in state["env"].items()})
            self.step = EnvStep(*(field.numpy() for field in state["step"]))
        seconds: float = state["seconds"]
        return seconds

    def record(self) -> dict[str, Any]:
        """What was done so far, for ``result.json``."""
        steps, seconds = self.agent.steps, self.log.seconds
        return {
            "env": self.config.env,
            "agent": self.config.agent,
            "objective": self.config.objective,
            "seed": self.config.seed,
            "agent_steps": steps,
            "frames": steps * self.env.frame_skip,
            "updates": self.agent.updates,
            "skipped_updates": self.agent.guard.skipped,
            "seconds": self.log.seconds,
            "steps_per_second": steps / seconds,
            "training_games": self.games.num_games,
            "training_mean_return": self.games.mean_return,
        }
