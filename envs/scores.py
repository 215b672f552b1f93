"""Human-normalised Atari scores, and scores that cannot be.

The scores of a random and of a professional human player are those in common use for the 57 games, from games
that start with up to 30 no-ops; they ship as ``atari57_scores.csv``. Source: Wang et al., 2016
(https://arxiv.org/abs/1511.06581), appendix.
"""

from __future__ import annotations

import csv
import math
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from envs.ids import parse_env_id
from envs.toy import TOYS


class Reference(NamedTuple):
    """Scores of whole games: mean of a random and of a human player."""

    random: float
    human: float


# Games whose rules bound the score: a value outside means that a counter wrapped or went wrong.
SCORE_RANGES = MappingProxyType(
    {
        "bowling": (0.0, 300.0),
        "boxing": (-100.0, 100.0),
        "breakout": (0.0, 864.0),
        "fishing_derby": (-99.0, 99.0),
        "pong": (-21.0, 21.0),
        "skiing": (-math.inf, 0.0),
        "surround": (-10.0, 10.0),
    }
)


def game_key(env_id: str) -> str:
    """The game of an Atari id: ``ALE/MsPacman-v5`` is ``ms_pacman``.

    Raises:
        ValueError: the id is no Atari game's.
    """
    parsed = parse_env_id(env_id)
    if parsed.kind != "atari":
        raise ValueError(f"{env_id!r} is not an Atari game: ids look like ALE/Pong-v5")
    return parsed.name


@cache
def reference_scores() -> MappingProxyType[str, Reference]:
    """Scores of a random and of a human player by game (``ms_pacman``), for the 57 games that have them."""
    with files("envs").joinpath("atari57_scores.csv").open(encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return MappingProxyType({row["game"]: Reference(float(row["random"]), float(row["human"])) for row in rows})


def random_score(env_id: str) -> float | None:
    """Mean score of random play; None where it is not known.

    Of Atari's 57 games that of the published table, under either protocol; of a toy what its rules give.
    """
    parsed = parse_env_id(env_id)
    if parsed.kind == "toy":
        return TOYS[parsed.name].random_return
    reference = reference_scores().get(parsed.name)
    return None if reference is None else reference.random


def human_normalized(game: str, score: float) -> float:
    """(score - random) / (human - random): 0 plays like chance, 1 like a human.

    Args:
        game: ROM name in snake case, such as ``ms_pacman``.
        score: raw score of whole games.

    Raises:
        ValueError: the game is not among the 57 that have reference scores.
    """
    reference = reference_scores().get(game)
    if reference is None:
        raise ValueError(f"no human score is known for {game!r}: it is not one of the 57 Atari games")
    return (score - reference.random) / (reference.human - reference.random)


def impossible_score(game: str, score: float) -> bool:
    """Whether the rules of ``game`` rule the score out; False where no bound is known."""
    low, high = SCORE_RANGES.get(game, (-math.inf, math.inf))
    return not low <= score <= high
