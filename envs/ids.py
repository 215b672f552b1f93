"""Environment ids: what a user typed, and which environment it means. Nothing needs to be registered."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from envs.atari_games import GAMES, atari_id
from envs.toy import TOYS

_SUFFIX = re.compile(r"(-ram)?(Deterministic|NoFrameskip)?-v\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class EnvId:
    """An environment.

    Attributes:
        kind: who provides it.
        name: ROM name (``ms_pacman``) for Atari, else the id itself.
        canonical: the id to file results under.
    """

    kind: Literal["atari", "toy", "gymnasium"]
    name: str
    canonical: str


def parse_env_id(env_id: str) -> EnvId:
    """Tell which environment an id means.

    ``ALE/Pong-v5`` and, for short, ``Pong-v5`` are Atari games under the protocol that the caller chooses;
    ``relic/...`` are the toys of this package; everything else is left to gymnasium.

    Raises:
        ValueError: the id means an Atari game or a toy and there is none of that name, or it is the name of a
            game in another form (``PongNoFrameskip-v4``), which stands for other rules elsewhere.
    """
    if env_id.startswith("relic/"):
        if env_id not in TOYS:
            raise ValueError(f"unknown environment {env_id!r}: the toys are {', '.join(TOYS)}")
        return EnvId("toy", env_id, env_id)
    for game in GAMES:
        canonical = atari_id(game)
        if env_id in (canonical, canonical.removeprefix("ALE/")):
            return EnvId("atari", game, canonical)
    bare = _key(_SUFFIX.sub("", env_id.removeprefix("ALE/")))
    for game in GAMES:
        if bare == _key(game):
            raise ValueError(f"unknown environment {env_id!r}: did you mean {atari_id(game)}?")
    if env_id.startswith("ALE/"):
        hint = nearest_games(env_id) or f"ids look like ALE/Pong-v5, and there are {len(GAMES)} games"
        raise ValueError(f"unknown Atari game in {env_id!r}: {hint}")
    return EnvId("gymnasium", env_id, env_id)


def nearest_games(env_id: str, count: int = 3) -> str | None:
    """A question that names the Atari games closest to a misspelt id; None if nothing is close."""
    by_key = {_key(game): atari_id(game) for game in GAMES}
    bare = _key(_SUFFIX.sub("", env_id.removeprefix("ALE/")))
    near = difflib.get_close_matches(bare, by_key, n=count, cutoff=0.6)
    return f"did you mean {' or '.join(by_key[key] for key in near)}?" if near else None


def _key(name: str) -> str:
    """Letters and digits only, so that MsPacman, ms_pacman and Ms-Pacman are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
