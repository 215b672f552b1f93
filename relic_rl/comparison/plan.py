"""The runs of a comparison, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from relic_rl.comparison.arms import Arm
from relic_rl.comparison.suites import game_folder


class PlannedRun(NamedTuple):
    """One run to be made."""

    env: str
    arm: Arm
    seed: int
    folder: Path  # GAME/ARM/seedK, in the comparison's directory

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.folder.as_posix()


def plan_runs(envs: Sequence[str], arms: Sequence[Arm], seeds: Sequence[int]) -> list[PlannedRun]:
    """Every arm on every game with every seed, seed by seed: whatever is finished first compares evenly.

    Raises:
        ValueError: two games would share a folder.
    """
    folders = [game_folder(env) for env in envs]
    for folder in folders:
        if folders.count(folder) > 1:
            clash = [env for env, other in zip(envs, folders, strict=True) if other == folder]
            raise ValueError(f"{' and '.join(clash)} cannot be told apart by their folder {folder}: compare them apart")
    return [
        PlannedRun(env, arm, seed, Path(game_folder(env)) / arm.folder / f"seed{seed}")
        for seed in seeds
        for env in envs
        for arm in arms
    ]
