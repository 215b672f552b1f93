"""Frames of Atari games as an image data set, collected by playing.

An image is what an agent observes: a stack of grey frames, uint8 [stack, 84, 84]. Labels are the game (a sanity
check only: random features tell games apart) and the annotated variables of each game's memory, where the
engine shows it.

Test frames come from games of their own, played from other seeds: never from an episode that training saw. Frames of
one episode are near copies of each other: each frame's episode is kept, so that a part of the training frames can be
held out by whole episodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.atari_games import GAMES
from envs.ids import nearest_games
from envs.types import EnvStep, VectorEnv
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.ram_labels import NUM_VALUES, ram_variables

STRETCHES = 5
"""Parts that one long episode is cut into where there is no other."""

Policy = Callable[[EnvStep], NDArray[np.int64]]
"""Maps a vector step to actions, int64 [N]."""


class GameFrames(NamedTuple):
    """Frames of one game.

    Attributes:
        game: ROM name.
        images: uint8 [M, stack, H, W].
        episode: int64 [M], from 0: which game that was played it is of. Where all frames are of a single one, it is
            cut into `STRETCHES` parts of equal length, one after the other, that count as episodes.
        ram: uint8 [M, 128], the memory at the moment of the newest frame; None where the engine hides it.
    """

    game: str
    images: NDArray[np.uint8]
    episode: NDArray[np.int64]
    ram: NDArray[np.uint8] | None


def parse_games(names: Sequence[str]) -> list[str]:
    """ROM names of games as users write them: ``Pong``, ``pong``, ``ALE/MsPacman-v5``, with commas or apart.

    Raises:
        ValueError: no such game, or a game twice.
    """
    known = {game.replace("_", ""): game for game in GAMES}
    found = []
    for name in (part.strip() for text in names for part in text.split(",") if part.strip()):
        bare = re.sub(r"[^a-z0-9]", "", name.removeprefix("ALE/").removesuffix("-v5").lower())
        if bare not in known:
            raise ValueError(f"unknown Atari game {name!r}: {nearest_games(name) or 'names look like MsPacman'}")
        found.append(known[bare])
    if len(set(found)) < len(found):
        raise ValueError(f"games {', '.join(found)}: name each once")
    return found


def random_policy(num_actions: int, seed: np.random.SeedSequence) -> Policy:
    """Actions drawn evenly."""
    generator = np.random.default_rng(seed)
    return lambda step: generator.integers(num_actions, size=len(step.reward))


def collect_frames(game: str, env: VectorEnv, policy: Policy, count: int, *, every: int = 4) -> GameFrames:
    """Play until enough frames are kept.

    Args:
        game: its ROM name, for the record.
        env: a fresh environment; it is reset here and not closed.
        policy: chooses the actions.
        count: M.
        every: agent steps from one kept frame of an environment to its next: neighbouring frames are all but
            equal. Environment i keeps its first one at step ``i % every``, so that not all keep the same moment
            of the game's start.
    """
    step = env.reset()
    kept: list[NDArray[np.uint8]] = []
    memory: list[NDArray[np.uint8]] = []
    episodes: list[NDArray[np.int64]] = []
    playing, begun = np.arange(env.num_envs, dtype=np.int64), env.num_envs
    phase = np.arange(env.num_envs) % every
    number, total = 0, 0
    while total < count:
        chosen = np.flatnonzero(phase == number % every)[: count - total]
        kept.append(step.observation[chosen].copy())
        episodes.append(playing[chosen])
        ram = getattr(env, "ram", None)
        if ram is not None:
            memory.append(ram[chosen].copy())
        total += len(chosen)
        number += 1
        if total < count:
            step = env.step(policy(step))
            new = np.flatnonzero(step.invented)
            playing[new] = begun + np.arange(len(new))
            begun += len(new)
    episode = np.unique(np.concatenate(episodes), return_inverse=True)[1].astype(np.int64)
    if not episode.any():  # all of one
        episode = np.arange(count, dtype=np.int64) * STRETCHES // count
    return GameFrames(game, np.concatenate(kept), episode, np.concatenate(memory) if memory else None)


def label_frames(parts: Sequence[GameFrames], generator: np.random.Generator) -> LabelledImages:
    """All games' frames in one set, in random order.

    Args:
        parts: at least one; a game's number is its place among them.
        generator: draws the order.

    Returns:
        Labels `game` (the primary one) and GAME.VARIABLE for every annotated variable, -1 in frames of other
        games; episodes are the groups.
    """
    counts = [len(part.images) for part in parts]
    order = generator.permutation(sum(counts))
    images = np.concatenate([part.images for part in parts])[order]
    firsts = np.cumsum([0, *(int(part.episode.max()) + 1 for part in parts[:-1])])
    groups = np.concatenate([part.episode + first for part, first in zip(parts, firsts, strict=True)])[order]
    labels = {"game": np.repeat(np.arange(len(parts), dtype=np.int64), counts)}
    num_classes = {"game": len(parts)}
    for part, start in zip(parts, np.cumsum([0, *counts[:-1]]), strict=True):
        variables = {} if part.ram is None else ram_variables(part.game, part.ram)
        for name, values in variables.items():
            label = np.full(sum(counts), -1, dtype=np.int64)
            label[start : start + len(values)] = values
            labels[f"{part.game}.{name}"] = label
            num_classes[f"{part.game}.{name}"] = NUM_VALUES
    return LabelledImages(images, {name: values[order] for name, values in labels.items()}, "game", num_classes, groups)
