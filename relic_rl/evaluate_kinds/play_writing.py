"""The report of ``relic_rl.evaluate play``: result.json, table.md, scores.csv and plots."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.ids import parse_env_id
from envs.make import make_vector_env
from envs.scores import impossible_score, random_score
from envs.screen_styles import SCREEN_STYLES, SEVERITIES
from envs.style_shares import PLAIN, UNSEEN, Style
from envs.toy import UNSEEN_STYLES
from relic_rl.evaluation.play import Games, newest_frame, summarize
from relic_rl.evaluation.play_report import play_metrics, score_table, style_table
from relic_rl.evaluation.report import ReportFolder, write_report
from relic_rl.evaluation.style_figures import draw_scores, draw_shares, draw_styles
from relic_rl.evaluation.style_shift import (
    SCORE_COLUMNS,
    Share,
    bootstrap_share,
    score_rows,
    styled_pictures,
)
from relic_rl.runtime.errors import RunFailed, fit_line
from relic_rl.runtime.files import write_text
from relic_rl.runtime.rundir import versions
from relic_rl.runtime.seeding import Streams
from relic_rl.saved_agent import SavedAgent
from relic_rl.train_options import TrainConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = "scores.csv"


@dataclass(frozen=True)
class Played:
    """Whole games of one agent.

    Attributes:
        agent: who played.
        game: environment, protocol, engine and seed of the games.
        games: in each style, `PLAIN` among them, the same number in each.
        frame_skip: emulator frames per agent step.
        name: the agent's in tables.
    """

    agent: SavedAgent
    game: TrainConfig
    games: Mapping[Style, Games]
    frame_skip: int
    name: str

    @property
    def about(self) -> dict[str, Any]:
        """The columns that all rows of scores.csv share."""
        env = parse_env_id(self.game.env)
        options = self.agent.options
        return {
            "game": env.canonical,
            "seed": options.seed,
            "steps": self.agent.steps,
            "frames": self.agent.steps * self.frame_skip,
            "protocol": self.game.protocol if env.kind == "atari" else "",
            "objective": options.objective,
            "agent": options.agent,
        }

    def shares(self) -> dict[Style, Share]:
        """Of the plain score, in every other style."""
        random = random_score(self.game.env)
        seed = Streams(self.game.seed).seed_sequence("bootstrap")
        plain = self.games[PLAIN].returns
        return {
            style: bootstrap_share(games.returns, plain, random, seed=seed)
            for style, games in self.games.items()
            if style != PLAIN
        }


def write_played(folder: ReportFolder, played: Played, options: Mapping[str, Any], device: str) -> Path:
    """Write and publish the report; its folder.

    Args:
        folder: where.
        played: the games.
        options: of the command, for the record; the seed resolved.
        device: what computed.

    Raises:
        RunFailed: it cannot be written.
    """
    about, agent = played.about, played.agent
    name = fit_line(played.name, 60) or "unknown"
    summaries = {style: summarize(games, played.game.env) for style, games in played.games.items()}
    shares = played.shares()
    random = random_score(played.game.env)
    data = {name: about[name] for name in ("game", "protocol")}
    data |= {
        "engine": played.game.engine if about["protocol"] else "",
        "styles": [str(style) for style in played.games],
    }
    result = {
        "kind": "play",
        "name": name,
        "metrics": play_metrics(summaries, shares),
        "details": {
            **about,
            "rule": agent.rule,
            "random_score": random,
            "scores": {str(style): summary for style, summary in summaries.items()},
            "shares": {str(style): share._asdict() for style, share in shares.items()},
        },
        "encoder": {
            "architecture": agent.options.encoder,
            "objective": agent.options.objective,
            "content_hash": agent.content_hash,
            "checkpoint": str(agent.checkpoint),
        },
        "data": {"fingerprint": hashlib.sha256(repr(sorted(data.items())).encode()).hexdigest(), **data},
        "options": dict(options),
        "versions": versions() | {"device": device},
    }
    table = score_table(f"{name}, {about['game']}", summaries[PLAIN])
    if shares:
        table += "\n" + style_table(summaries, shares, random)
    try:
        write_text(folder.partial / SCORES, scores_csv(played))
    except OSError as error:
        raise RunFailed(f"the report cannot be written to {folder.path}: {error.strerror}") from error
    return write_report(folder, result, table=table, figures=_figures(f"{name}, {about['game']}", played, shares))


def scores_csv(played: Played) -> str:
    """A row for each game played; columns: `SCORE_COLUMNS`."""
    env = parse_env_id(played.game.env)
    text = io.StringIO()
    writer = csv.DictWriter(text, SCORE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for style, games in played.games.items():
        impossible = [env.kind == "atari" and impossible_score(env.name, score) for score in games.returns]
        writer.writerows(score_rows(played.about, style, games.returns, games.lengths, impossible))
    return text.getvalue()


def _figures(title: str, played: Played, shares: Mapping[Style, Share]) -> dict[str, Figure]:
    figures = {"scores": draw_scores(played.games[PLAIN].returns, title)}
    if not shares:
        return figures
    frames = played.games[PLAIN].frames
    assert frames is not None
    names = list(dict.fromkeys(style.name for style in shares if style.name in SCREEN_STYLES))
    rows = {PLAIN.name: frames[len(frames) // 2][None]} | styled_pictures(frames[len(frames) // 2], names)
    if played.game.env in UNSEEN_STYLES:
        rows[PLAIN.name] = _first_screens(played.game.env)
    if any(style.name == UNSEEN for style in shares):
        rows[UNSEEN] = _first_screens(UNSEEN_STYLES[played.game.env])
    return figures | {"shares": draw_shares(shares, title), "styles": draw_styles(rows)}


def _first_screens(env_id: str) -> np.ndarray:
    """With which some games of a toy begin, uint8 [5, H, W]."""
    env = make_vector_env(env_id, len(SEVERITIES), seed=0)
    return np.stack([newest_frame(observation, env.stack) for observation in env.reset().observation])
