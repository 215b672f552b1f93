"""Runs as they lie on the disk: options, results, learning curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envs.scores import game_key, human_normalized, impossible_score, reference_scores
from relic_rl.comparison.arms import arm_label
from relic_rl.comparison.suites import game_label
from relic_rl.runtime.config_file import read_yaml
from relic_rl.runtime.errors import BadInput
from relic_rl.runtime.metrics import Row, read_progress

CONFIG, RESULT = "config.yaml", "result.json"


@dataclass(frozen=True)
class Run:
    """A run that was begun.

    Attributes:
        path: its directory.
        arm: the label of its arm.
        config: its options, as config.yaml holds them.
        result: its result.json; None if it is not finished.
    """

    path: Path
    arm: str
    config: Mapping[str, Any]
    result: Mapping[str, Any] | None

    @property
    def env(self) -> str:
        """Environment id."""
        return str(self.config["env"])

    @property
    def game(self) -> str:
        """The environment's short name."""
        return game_label(self.env)

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.config["seed"])

    @property
    def scores(self) -> list[float]:
        """Raw scores of the final evaluation's whole games; empty if there was none."""
        evaluation = (self.result or {}).get("evaluation") or {}
        return [float(score) for score in evaluation.get("returns", [])]

    @property
    def score(self) -> float:
        """Mean raw score of the final evaluation; nan if there was none."""
        scores = self.scores
        return sum(scores) / len(scores) if scores else math.nan

    @property
    def impossible_scores(self) -> int:
        """Number of scores of the evaluation that the game's rules exclude: a counter wrapped or went wrong."""
        rom = rom_name(self.env)
        return 0 if rom is None else sum(impossible_score(rom, score) for score in self.scores)

    def progress(self) -> list[Row]:
        """Rows of its progress.csv; none if there is no such file."""
        try:
            return read_progress(self.path / "progress.csv")
        except OSError:
            return []

    def commit(self) -> str | None:
        """The commit that made it, as versions.json has it."""
        try:
            return str(json.loads((self.path / "versions.json").read_text(encoding="utf-8"))["commit"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def rom_name(env_id: str) -> str | None:
    """The game's ROM name; None for what is no Atari game."""
    try:
        return game_key(env_id)
    except ValueError:
        return None


def normalizer(env_id: str) -> str | None:
    """The ROM name where random and human scores are known, else None."""
    rom = rom_name(env_id)
    return rom if rom in reference_scores() else None


def normalized(env_id: str, score: float) -> float:
    """Human-normalised score; nan where no human's score is known."""
    rom = normalizer(env_id)
    return math.nan if rom is None else human_normalized(rom, score)


def read_run(path: Path, arm: str | None = None) -> Run:
    """The run in a directory.

    Args:
        path: holds config.yaml, and result.json once the run is finished.
        arm: label of its arm; by default its objective.

    Raises:
        BadInput: it is no run, or its files are damaged.
    """
    config = read_yaml(path / CONFIG)
    if missing := [name for name in ("env", "seed", "agent", "objective") if name not in config]:
        raise BadInput(f"{path / CONFIG} is not of a training run: it has no {missing[0]}")
    return Run(path, arm or str(config["objective"]), config, read_result(path))


def read_result(path: Path) -> dict[str, Any] | None:
    """The result.json of a run directory; None if there is none.

    Raises:
        BadInput: it is damaged.
    """
    file = path / RESULT
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(result, dict):
            raise ValueError
        [float(score) for score in (result.get("evaluation") or {}).get("returns", [])]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except (ValueError, AttributeError, TypeError):
        raise BadInput(f"{file} is damaged: remove it, and start that run again to write it anew") from None
    return result


def find_runs(folders: Iterable[Path]) -> list[Run]:
    """Every training run below some directories, in the order of its path.

    Raises:
        BadInput: a directory is missing or holds no run.
    """
    runs: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise BadInput(f"--from {folder}: no such directory")
        found = sorted(path.parent for path in folder.rglob(CONFIG) if (path.parent / "versions.json").is_file())
        for path in found:
            if "env" in read_yaml(path / CONFIG):
                runs[path.resolve()] = read_run(path)
        if not found:
            raise BadInput(f"--from {folder}: no run below it (a run has {CONFIG} and versions.json)")
    if not runs:
        raise BadInput("--from: no training run below these directories")
    return list(runs.values())


def label_arms(runs: Sequence[Run], arm_options: Iterable[str]) -> list[Run]:
    """The runs, each with its arm's label: its objective, and whichever options set it apart from others of that
    objective.

    Args:
        runs: with any labels.
        arm_options: options that arms may differ in.
    """
    names = list(arm_options)
    labelled = []
    for run in runs:
        same = [other for other in runs if other.config["objective"] == run.config["objective"]]
        apart = [name for name in names if len({repr(other.config.get(name)) for other in same}) > 1]
        own = {name: run.config[name] for name in apart if name in run.config}
        labelled.append(replace(run, arm=arm_label(str(run.config["objective"]), own)))
    return labelled
