"""Evaluation of an agent by whole games."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.scores import game_key, human_normalized, impossible_score
from envs.types import EnvStep, VectorEnv

Policy = Callable[[EnvStep], np.ndarray]
"""Maps a vector step to actions, int64 [N]. A recurrent policy clears its state where ``step.invented``."""


class Games(NamedTuple):
    """What was played (G games)."""

    returns: list[float]  # raw scores
    lengths: list[int]  # agent steps
    frames: np.ndarray | None  # uint8 [T, H, W] or RGB [T, H, W, 3]: the first game, `newest_frame` of each observation


def newest_frame(observation: NDArray[np.uint8], stack: int) -> NDArray[np.uint8]:
    """The newest frame of an observation as a picture.

    Args:
        observation: uint8 [C, H, W], ``stack`` frames of C / ``stack`` channels each, oldest first.
        stack: number of frames.

    Returns:
        uint8 [H, W], or [H, W, 3] where a frame has three channels or more: its first three, taken for RGB.
    """
    channels = len(observation) // stack
    frame: NDArray[np.uint8] = observation[-1]
    if channels >= 3:
        frame = observation[-channels:][:3].transpose(1, 2, 0)
    return frame.copy()


def play_games(
    env: VectorEnv,
    policy: Policy,
    num_games: int,
    *,
    record: bool = False,
    max_recorded_steps: int = 4_500,
    should_stop: Callable[[], bool] = lambda: False,
    on_game: Callable[[int], None] = lambda finished: None,
) -> Games:
    """Play whole games from the start and report their raw scores.

    Each environment plays a share fixed beforehand, so that short games are not counted more often than long
    ones: taking the first ``num_games`` to finish would favour them.

    Args:
        env: a fresh vector environment; it is reset here.
        policy: chooses the actions.
        num_games: G; environment i plays ``G // N`` games, the first ``G % N`` environments one more.
        record: keep the newest frame of every observation of environment 0's first game, the last included.
        max_recorded_steps: length limit of the recording, observations.
        should_stop: asked after every step; when it says yes the games finished so far are returned.
        on_game: told, whenever one of the games ends, how many have.

    Returns:
        The games ordered by environment, then by time.
    """
    share = np.full(env.num_envs, num_games // env.num_envs)
    share[: num_games % env.num_envs] += 1
    returns: list[list[float]] = [[] for _ in range(env.num_envs)]
    lengths: list[list[int]] = [[] for _ in range(env.num_envs)]
    frames: list[np.ndarray] = []
    step = env.reset()
    if record:
        frames.append(newest_frame(step.observation[0], env.stack))
    while any(len(r) < s for r, s in zip(returns, share, strict=True)) and not should_stop():
        step = env.step(policy(step))
        if record and not returns[0] and len(frames) < max_recorded_steps:
            frames.append(newest_frame(step.observation[0], env.stack))
        for i in np.flatnonzero(step.terminated | step.truncated):
            if len(returns[i]) < share[i]:
                returns[i].append(float(step.episode_return[i]))
                lengths[i].append(int(step.episode_length[i]))
                on_game(sum(map(len, returns)))
    return Games(
        returns=[score for of_env in returns for score in of_env],
        lengths=[length for of_env in lengths for length in of_env],
        frames=np.stack(frames) if frames else None,
    )


def summarize(games: Games, env_id: str) -> dict[str, Any]:
    """Scores of games as ``result.json`` holds them.

    Args:
        games: at least one.
        env_id: for Atari's 57 games the human-normalised mean is given too, and scores that the game's rules
            make impossible are counted.

    Returns:
        Plain Python values: number of games, mean, median, standard deviation (of the sample), extremes,
        every score.
    """
    scores = np.asarray(games.returns)
    summary: dict[str, Any] = {
        "num_games": len(scores),
        "mean_return": float(scores.mean()),
        "median_return": float(np.median(scores)),
        "std_return": float(scores.std(ddof=1)) if len(scores) > 1 else None,
        "min_return": float(scores.min()),
        "max_return": float(scores.max()),
        "returns": games.returns,
        "lengths": games.lengths,
    }
    try:
        game = game_key(env_id)
        summary["human_normalized"] = human_normalized(game, float(scores.mean()))
    except ValueError:  # not Atari, or a game nobody has measured a human on
        return summary
    summary["impossible_scores"] = sum(impossible_score(game, score) for score in games.returns)
    return summary


def describe(summary: dict[str, Any]) -> str:
    """One line for the user."""
    line = f"mean score {summary['mean_return']:.4g} over {summary['num_games']} games"
    if "human_normalized" in summary:
        line += f", {summary['human_normalized']:.0%} of the way from random to human play"
    return line
