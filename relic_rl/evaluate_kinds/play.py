"""``relic_rl.evaluate play``: whole games of a run's agent, on its own screen and in styles it never trained on."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from envs.ids import parse_env_id
from envs.make import make_vector_env, validate_env_id
from envs.screen_styles import SCREEN_STYLES
from envs.style_shares import PLAIN, UNSEEN, Style
from envs.styled import StyledEnv
from envs.toy import UNSEEN_STYLES
from envs.types import EnvStep, VectorEnv
from relic_rl.evaluate_kinds.play_options import Options
from relic_rl.evaluate_kinds.play_writing import Played, write_played
from relic_rl.evaluation.play import Games, Policy, newest_frame, play_games
from relic_rl.evaluation.report import ReportFolder
from relic_rl.evaluation.style_shift import parse_styles
from relic_rl.runtime.device import device_name, resolve_device, set_threads
from relic_rl.runtime.errors import BadInput, RunFailed, memory_errors, user_errors
from relic_rl.runtime.precision import set_fp32_products
from relic_rl.runtime.seeding import Streams
from relic_rl.runtime.terminal import TerminalScreen
from relic_rl.runtime.video import write_video
from relic_rl.saved_agent import open_agent
from relic_rl.train_faults import watched
from relic_rl.train_options import TrainConfig
from relic_rl.training import VIDEO_FPS, VIDEO_SCALE

MOST_ENVS = 20  # played at a time, as in a run's own evaluation
_SECONDS = 10.0  # between two lines of progress


def run(options: Options) -> int:
    """Play and report; the exit code.

    Raises:
        BadInput: no such run, checkpoint, style or place to write to.
        RunFailed: the engine failed, or nothing can be written.
    """
    assert options.run is not None
    threads = set_threads(options.threads)
    device = resolve_device(options.device)
    set_fp32_products(device)
    with user_errors():
        agent = open_agent(Path(options.run), options.checkpoint)
        game = _game(options, agent.options)
        validate_env_id(game.env, game.engine, game.protocol)
        styles = parse_styles(options.style, has_unseen=game.env in UNSEEN_STYLES)
        video = None if options.video is None else _free_file(Path(options.video))
        screen = TerminalScreen() if options.render else None
    shown = styles[0] if styles else PLAIN
    dtype = torch.bfloat16 if options.precision == "bf16" else None
    with ReportFolder(options.out or _free_folder(agent.run), default="play") as folder:
        for note in (f"{agent.checkpoint}: {agent.steps:,} agent steps; {agent.rule}", *agent.notes):
            print(note, flush=True)
        games: dict[Style, Games] = {}
        for style in (PLAIN, *styles):
            with user_errors():
                fresh = _environment(game, style, min(options.episodes, MOST_ENVS), threads)
            with watched(fresh, game) as env, memory_errors("lower --episodes", RunFailed):
                frame_skip = env.frame_skip
                policy = agent.policy(env, Streams(game.seed).torch("evaluation", device), device, dtype)
                if screen is not None and style == shown:
                    policy = _on_screen(policy, screen, env.stack)
                record = style == PLAIN or (style == shown and video is not None)
                told = _Told(str(style), options.episodes)
                games[style] = play_games(env, policy, options.episodes, record=record, on_game=told)
            print(f"{style}: mean score {np.mean(games[style].returns):.4g}", flush=True)
        played = Played(agent, game, games, frame_skip, name=options.name or agent.options.objective)
        path = write_played(folder, played, dataclasses.asdict(options) | {"seed": game.seed}, device_name(device))
        print(f"\n{(path / 'table.md').read_text(encoding='utf-8')}\nreport: {path}", flush=True)
    frames = games[shown].frames
    if video is not None and frames is not None:  # last: should it fail, the report is there
        print(f"video: {write_video(video, frames, fps=VIDEO_FPS, scale=VIDEO_SCALE)}", flush=True)
    return 0


def _game(options: Options, trained: TrainConfig) -> TrainConfig:
    """What is played: the run's own options with this command's seed, protocol and engine."""
    chosen: dict[str, Any] = {
        name: getattr(options, name) for name in ("protocol", "engine") if getattr(options, name) != "run"
    }
    if chosen and parse_env_id(trained.env).kind != "atari":
        raise BadInput(f"--{next(iter(chosen))} has no effect here: {trained.env} is not an Atari game; leave it out")
    return dataclasses.replace(trained, seed=trained.seed if options.seed is None else options.seed, **chosen)


def _environment(game: TrainConfig, style: Style, num_envs: int, threads: int) -> VectorEnv:
    """The game in a style; its games begin alike in all of them."""
    streams = Streams(game.seed)
    env = make_vector_env(
        UNSEEN_STYLES[game.env] if style.name == UNSEEN else game.env,
        num_envs,
        engine=game.engine,
        protocol=game.protocol,
        seed=streams.seed_sequence("eval_env"),
        num_threads=threads,
    )
    if style.name not in SCREEN_STYLES:
        return env
    try:
        return StyledEnv(env, style.name, style.severity, streams.seed_sequence(f"style {style.name}"))
    except ValueError:
        env.close()
        raise


def _free_folder(run: Path) -> Path:
    """The first free RUN/play-NUMBER."""
    return next(path for number in itertools.count(1) if not (path := run / f"play-{number}").exists())


def _free_file(path: Path) -> Path:
    """A file that can be made.

    Raises:
        BadInput: it is there already, or its folder is not.
    """
    try:
        taken, folder = path.exists(), path.parent.is_dir()
    except OSError as error:  # such as a name that is too long
        raise BadInput(f"--video {path}: {error.strerror}") from error
    if taken:
        raise BadInput(f"--video {path} exists: choose another")
    if not folder:
        raise BadInput(f"--video {path}: there is no folder {path.parent}: make it first")
    return path


def _on_screen(policy: Policy, screen: TerminalScreen, stack: int) -> Policy:
    """The same policy; the first environment's first game is shown as it goes by."""
    over = False

    def act(step: EnvStep) -> NDArray[np.int64]:
        nonlocal over
        if not over:
            screen.show(newest_frame(step.observation[0], stack), seconds=1 / VIDEO_FPS)
            over = bool(step.terminated[0] or step.truncated[0])
        return policy(step)

    return act


class _Told:
    """Tells now and then how many games in a style are finished."""

    def __init__(self, style: str, total: int) -> None:
        self._style = style
        self._total = total
        self._at = time.monotonic()

    def __call__(self, finished: int) -> None:
        if time.monotonic() - self._at >= _SECONDS:
            self._at = time.monotonic()
            print(f"{self._style}: {finished:,} of {self._total:,} games", flush=True)
