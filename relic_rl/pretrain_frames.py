"""Collects the frames of Atari games that ``--data atari`` means, or recalls them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from envs.atari_games import atari_id
from envs.ids import parse_env_id
from envs.make import make_vector_env, validate_env_id
from relic_rl.data_options import DataOptions
from relic_rl.images.atari_frames import (
    GameFrames,
    collect_frames,
    label_frames,
    parse_games,
    random_policy,
)
from relic_rl.images.cache import cache_folder
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.store import stored_or_made
from relic_rl.runtime.checkpoint import list_checkpoints
from relic_rl.runtime.seeding import Streams
from relic_rl.saved_agent import open_agent, run_options

NUM_ENVS = 16
Split = Literal["train", "test"]


def atari_splits(
    config: DataOptions, device: torch.device, note: Callable[[str], None]
) -> tuple[LabelledImages, LabelledImages]:
    """Training and test frames of the games.

    Args:
        config: the options.
        device: where trained policies compute.
        note: told what is being collected.

    Raises:
        ValueError: an unknown game, an engine that is missing, or a policy that cannot be used.
    """
    games = parse_games(config.games)
    policies = trained_runs(config.policies, games)
    for game in games:
        validate_env_id(atari_id(game), config.engine, config.protocol)

    def split(name: Split, count: int) -> LabelledImages:
        share = -(-count // len(games))
        about = {
            "version": 2,  # 2: with episodes
            "games": games,
            "policies": {game: _fingerprint(run) for game, run in policies.items()},
            "protocol": config.protocol,
            "engine": config.engine,
            "frames_per_game": share,
            "seed": config.data_seed,
            "split": name,
        }
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

        def make() -> LabelledImages:
            note(f"collecting {share:,} {name} frames of each of {', '.join(games)}")
            parts = [_play(config, game, name, share, policies.get(game), device) for game in games]
            return label_frames(parts, Streams(config.data_seed).numpy(f"{name} order"))

        return stored_or_made(cache_folder() / "frames" / key, make)

    return split("train", config.num_images), split("test", config.num_test_images)


def trained_runs(runs: tuple[str, ...], games: list[str]) -> dict[str, Path]:
    """Which run's agent plays which game.

    Raises:
        ValueError: no run of `train` on one of the games, or two for one game.
    """
    found: dict[str, Path] = {}
    for run in map(Path, runs):
        if not (run / "config.yaml").is_file() or not list_checkpoints(run / "checkpoints"):
            raise ValueError(f"--policies {run}: no run directory of train with checkpoints")
        env = parse_env_id(run_options(run).env)
        if env.kind != "atari" or env.name not in games or env.name in found:
            raise ValueError(f"--policies {run}: it plays {env.canonical}, which is not one of --games, or twice")
        found[env.name] = run
    return found


def _play(
    config: DataOptions, game: str, split: Split, count: int, run: Path | None, device: torch.device
) -> GameFrames:
    """Frames of one game, in episodes of this split alone."""
    streams = Streams(config.data_seed)
    name = f"{split} {game}"
    agent = None if run is None else open_agent(run, flag="--policies")
    env = make_vector_env(
        atari_id(game),
        NUM_ENVS if agent is None else agent.options.num_envs,
        engine=config.engine,
        protocol=config.protocol,
        seed=streams.seed_sequence(f"{name} env"),
        num_threads=torch.get_num_threads(),
    )
    try:
        if agent is None:
            policy = random_policy(env.num_actions, streams.seed_sequence(f"{name} actions"))
        else:
            policy = agent.policy(env, streams.torch(f"{name} actions", device), device)
        return collect_frames(game, env, policy, count)
    finally:
        env.close()


def _fingerprint(run: Path) -> str:
    newest = list_checkpoints(run / "checkpoints")[0]
    return hashlib.sha256(newest.read_bytes()).hexdigest()
