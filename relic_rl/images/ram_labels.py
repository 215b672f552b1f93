"""What the bytes of a game's memory mean: annotated variables, by game.

Source: AtariARI, Anand et al., NeurIPS 2019 (arXiv 1906.08226); `atari_ram_labels.json` beside this file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources

import numpy as np
from numpy.typing import NDArray

RAM_BYTES = 128
NUM_VALUES = 256
"""A variable is a byte."""


@functools.cache
def annotated_games() -> Mapping[str, Mapping[str, int]]:
    """Of each annotated game, without underscores in its name, the byte of every variable."""
    text = resources.files("relic_rl.images").joinpath("atari_ram_labels.json").read_text(encoding="utf-8")
    games: dict[str, dict[str, int]] = json.loads(text)["games"]
    return games


def ram_variables(game: str, ram: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """The variables of a game as labels.

    Args:
        game: ROM name, such as ``ms_pacman``.
        ram: uint8 [N, RAM_BYTES].

    Returns:
        int64 [N] by name; nothing for a game that nobody has annotated.
    """
    variables = annotated_games().get(game.replace("_", ""), {})
    return {name: ram[:, byte].astype(np.int64) for name, byte in variables.items()}
