"""Suites of Atari games by name, and what ``--games`` means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType

from envs.atari_games import GAMES, atari_id
from envs.ids import nearest_games, parse_env_id
from envs.scores import reference_scores

ATARI_5 = ("battle_zone", "double_dunk", "name_this_game", "phoenix", "qbert")
"""Five games whose scores predict the median over all 57. Source: Aitchison et al., 2022, arXiv 2210.02019."""

ATARI_10 = (*ATARI_5, "amidar", "bowling", "frostbite", "kung_fu_master", "riverraid")
"""Atari-5 and five more. Source: Aitchison et al., 2022, arXiv 2210.02019."""

ATARI_26 = (
    *("alien", "amidar", "assault", "asterix", "bank_heist", "battle_zone", "boxing", "breakout", "chopper_command"),
    *("crazy_climber", "demon_attack", "freeway", "frostbite", "gopher", "hero", "jamesbond", "kangaroo", "krull"),
    *("kung_fu_master", "ms_pacman", "pong", "private_eye", "qbert", "road_runner", "seaquest", "up_n_down"),
)
"""The games of the Atari-100k benchmark. Source: Kaiser et al., 2020, arXiv 1903.00374."""

SUITES = MappingProxyType(
    {"atari-5": ATARI_5, "atari-10": ATARI_10, "atari-26": ATARI_26, "atari-57": tuple(reference_scores())}
)
"""ROM names by suite. Atari-57: Bellemare et al., 2013, with the two games that DQN's papers added."""


def expand_games(names: Iterable[str]) -> list[str]:
    """The environment ids that names of games, suites and ids stand for, in their order, each once.

    Args:
        names: ``Pong`` or ``ms_pacman`` (Atari games in any spelling), ``atari-5``, ``ALE/Pong-v5``, or any
            other environment id. Several in one, separated by commas, are allowed.

    Raises:
        ValueError: none at all, or one that means nothing.
    """
    ids: list[str] = []
    for name in (part.strip() for text in names for part in text.split(",")):
        if name.lower() in SUITES:
            ids += [atari_id(game) for game in SUITES[name.lower()]]
        elif name:
            ids.append(_env_id(name))
    if not ids:
        raise ValueError(f"no game is named: give games (Pong, Breakout), ids (relic/Catch-v0) or {', '.join(SUITES)}")
    return list(dict.fromkeys(ids))


def game_label(env_id: str) -> str:
    """An environment's short name, as tables show it: ``Pong`` for ``ALE/Pong-v5``."""
    return re.sub(r"^ALE/(\w+)-v5$", r"\1", env_id)


def game_folder(env_id: str) -> str:
    """An environment's name as a folder: `game_label`, its other characters as dashes."""
    return re.sub(r"[^\w.+-]+", "-", game_label(env_id)).strip("-.") or "game"


def _env_id(name: str) -> str:
    key = re.sub(r"[^a-z0-9]", "", name.lower())
    for game in GAMES:
        if key == game.replace("_", ""):
            return atari_id(game)
    if re.fullmatch(r"[\w -]+", name) and not re.search(r"-v\d+$", name):
        suites = f"the suites are {', '.join(SUITES)}"
        hint = suites if name.lower().startswith("atari") else nearest_games(name) or suites
        raise ValueError(f"unknown game {name!r}: {hint}")
    return parse_env_id(name).canonical
