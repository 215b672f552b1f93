"""Whole games of a run's agent in several styles, as ``evaluate play --style`` leaves them in its directory."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple

from envs.style_shares import PLAIN, Style
from relic_rl.comparison.runs import Run
from relic_rl.runtime.errors import BadInput

SCORES = "scores.csv"


class StyledScores(NamedTuple):
    """Raw scores of an agent's whole games in a style, and of its games on the screen as it is, from one evaluation."""

    shifted: list[float]
    plain: list[float]


def styled_scores(run: Run) -> dict[Style, StyledScores]:
    """What was played in any folder inside of a run's directory.

    Only games of the final weights count, under the protocol that the run was trained under. Each evaluation's styles
    are held against its own plain games, which began alike; of a style that was played in several, the one with the
    most games counts.

    Raises:
        BadInput: a file lacks the columns, or is damaged.
    """
    found: dict[Style, StyledScores] = {}
    for path in sorted(run.path.glob(f"[!.]*/{SCORES}")):  # a hidden folder is of a report that was never finished
        games = _games(path, run)
        plain = games.pop(PLAIN, None)
        for style, scores in games.items():
            if plain and (style not in found or len(scores) > len(found[style].shifted)):
                found[style] = StyledScores(scores, plain)
    return found


def _games(path: Path, run: Run) -> dict[Style, list[float]]:
    """Scores by style."""
    steps = (run.result or {}).get("agent_steps")
    games: dict[Style, list[float]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if (row["protocol"] and row["protocol"] != run.config.get("protocol")) or int(row["steps"]) != steps:
                    continue
                score = float(row["score"])
                if not math.isfinite(score):
                    raise ValueError
                games.setdefault(Style(row["style"], int(row["severity"])), []).append(score)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except (KeyError, ValueError, TypeError, csv.Error):
        raise BadInput(f"{path} is damaged or not of `evaluate play`: remove it") from None
    return games
