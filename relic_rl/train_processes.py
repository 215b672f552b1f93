"""What several processes of a training run share out, agree on and save together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from agents.parallel import split_state
from envs.games import RecentGames
from envs.types import EnvStep
from relic_rl.runtime.distributed import Processes, gather_to_all
from relic_rl.runtime.errors import BadInput, join_problems
from relic_rl.train_options import CONTRASTIVE, TrainConfig

State = dict[str, Any]


def share_out(config: TrainConfig, processes: Processes) -> TrainConfig:
    """The options with this process's part of all that is split evenly: environments, batches, replay.

    Steps (``total_steps``, ``steps_per_update``, ``learning_starts``) are counted over all processes and stay.

    Raises:
        BadInput: something does not split evenly, or too little is left.
    """
    count = processes.world_size
    if count == 1:
        if config.contrast_set == "local":
            raise BadInput("--contrast-set local has no effect on one process: give gathered, or start with torchrun")
        return config
    problems, parts = [], {}
    if config.agent == "ppo" and config.overlap == "on":
        problems.append("--overlap on lets PPO learn beside acting in a single process only: give auto or off")
    for name in _split_options(config):
        total = getattr(config, name)
        parts[name] = total // count
        if total % count:
            flag = f"--{name.replace('_', '-')}"
            problems.append(f"{flag} {total} does not split over {count} processes: give a multiple of {count}")
    if "aux_batch_size" in parts and parts["aux_batch_size"] < 2:
        problems.append(f"--aux-batch-size {config.aux_batch_size}: give at least two frames for each process")
    if problems:
        raise BadInput(join_problems(problems))
    whole = config.replay_compressed_gib
    compressed = None if whole is None else whole / count
    return dataclasses.replace(config, **parts, replay_compressed_gib=compressed)


def _split_options(config: TrainConfig) -> list[str]:
    """Names of the options, integers, that each process takes its part of."""
    names = ["num_envs"]
    if config.agent == "r2d2":
        names.append("batch_size")
    if config.objective in CONTRASTIVE:
        names.append("aux_batch_size")
    if config.agent == "r2d2" or (config.objective in CONTRASTIVE and config.aux_frames == "replay"):
        names.append("replay_capacity")
    return names


class Ended(NamedTuple):
    """A game that came to its end."""

    time: int  # vector steps since the last exchange
    env: int  # over all processes
    episode_return: float
    length: int


class SharedGames:
    """Recent games of all processes; those of others are known from the last `merge` on.

    Args:
        recent: takes the games of all.
        first_env: index of this process's first environment.
        processes: this one among all.
    """

    def __init__(self, recent: RecentGames, first_env: int, processes: Processes) -> None:
        self.recent = recent
        self._first_env = first_env
        self._processes = processes
        self._time = 0
        self._ended: list[Ended] = []

    def add(self, step: EnvStep) -> None:
        """Record the games that ended with ``step``."""
        if not self._processes.are_several:
            self.recent.add(step)
            return
        self._time += 1
        for i in np.flatnonzero(step.terminated | step.truncated).tolist():
            ended = (float(step.episode_return[i]), int(step.episode_length[i]))
            self._ended.append(Ended(self._time, self._first_env + i, *ended))

    def merge(self) -> None:
        """Count in what ended anywhere, in the order of time; all processes call it together."""
        if not self._processes.are_several:
            return
        for game in sorted(game for theirs in gather_to_all(self._ended) for game in theirs):
            self.recent.record(game.env, game.episode_return, game.length)
        self._time, self._ended = 0, []


def parts_of(state: State, own: Sequence[str]) -> tuple[State, list[State]]:
    """What a checkpoint holds of the agent for all processes, and each one's own part by rank.

    Args:
        state: a checkpoint's; a single process's has its own part among the rest.
        own: entries of the agent's state that are a process's own.
    """
    common, theirs = split_state(state["agent"], own)
    if "ranks" in state:
        return common, list(state["ranks"])
    return common, [{"agent": theirs} | {name: state[name] for name in ("env", "step") if name in state}]


def continued_by_others(state: State, processes: Processes, config: TrainConfig) -> list[str]:
    """Notes for the user where a checkpoint is continued by another number of processes than made it."""
    before = len(state["ranks"]) if "ranks" in state else 1
    if before == processes.world_size:
        return []
    note = f"made by {before} process{'es' if before > 1 else ''}, continued by {processes.world_size}: networks, "
    note += "optimiser and counters go on; games in flight and streams of random numbers start anew"
    if config.agent == "r2d2" or config.aux_frames == "replay":
        note += "; so does the replay, and updates wait until it has filled"
        if config.replay_on_disk:
            note += " (what is left of the other one in the run's directory can be deleted)"
    return [note]
