"""The report's section on styles that the agents never trained on."""

from __future__ import annotations

from collections.abc import Sequence

from envs.scores import random_score
from envs.style_shares import UNSEEN
from relic_rl.comparison import style_figures
from relic_rl.comparison.document import Block, Heading, Paragraph, Picture, Table
from relic_rl.comparison.numerals import interval, percent
from relic_rl.comparison.runs import Run
from relic_rl.comparison.style_shift import (
    ALL,
    EVERY_GAME,
    Kept,
    StyledReturns,
    random_known,
    shares_kept,
    styled_returns,
)
from relic_rl.comparison.suites import game_label


def blocks(runs: Sequence[Run]) -> list[Block]:
    """The section; nothing where no run was judged by ``evaluate play --style``."""
    finished = [run for run in runs if run.result is not None]
    kept = shares_kept(finished)
    if not kept:
        return []
    returns = styled_returns(finished)
    return [Heading("Style shift"), *(_returns(returns) if returns else ()), *_shares(kept)]


def _returns(returns: Sequence[StyledReturns]) -> list[Block]:
    rows = [
        [game_label(r.env), r.arm, interval(r.trained), interval(r.unseen), interval(r.lost), str(len(r.by_seed))]
        for r in returns
    ]
    data = [[game_label(r.env), r.arm, *r.trained, *r.unseen, *r.lost, len(r.by_seed)] for r in returns]
    names = ("trained", "unseen", "lost")
    columns = [name + end for name in names for end in ("", "_low", "_high")]
    return [
        Paragraph(
            "Scores of whole games in the styles that the environment shows in training, and in those that it keeps "
            "from it; lost: their difference, seed by seed. Mean over seeds with its 95 % interval (Student's t)."
        ),
        Table(
            "unseen_styles",
            ["game", "arm", "styles of training", "unseen styles", "lost", "seeds"],
            rows,
            ["game", "arm", *columns, "seeds"],
            data,
        ),
        Picture(
            "unseen_styles",
            "Score in the styles of training (filled) and in unseen ones (hollow), small dots for seeds, dotted line "
            "for random play. Wide intervals may run out of the picture.",
            style_figures.draw_returns(returns, {r.env: random_score(r.env) for r in returns}),
        ),
    ]


def _shares(kept: Sequence[Kept]) -> list[Block]:
    known = {random_known(row.env) for row in kept if row.env != EVERY_GAME}
    names = {ALL: "all interventions, mean", UNSEEN: "unseen styles"}
    rows = [
        [_game(r.env), r.arm, names[r.style], interval(r.share, percent), str(r.runs), str(r.left_out or "")]
        for r in kept
        if r.style in names
    ]
    data = [[_game(r.env), r.arm, r.style, *r.share, r.runs, r.left_out] for r in kept]
    header = ["game", "arm", "style", "share_kept", "low", "high", "runs", "left_out"]
    rule = "(shifted - random) / (plain - random)" if True in known else "shifted / plain"
    if len(known) > 1:
        rule += ", or shifted / plain where random play is not known"
    shown = [row for row in kept if row.env == EVERY_GAME] or kept
    where = "mean over games, then over seeds" if shown[0].env == EVERY_GAME else "mean over seeds"
    return [
        Paragraph(
            f"Share of the plain score that is kept under styles that the agents never trained on: {rule}; 100 % = "
            "nothing lost. Interventions: mean over severities, then over interventions; unseen: styles that the "
            "environment itself keeps from training. Interval over seeds (Student's t). Only styles that all judged "
            "runs of a game played in count. Runs whose plain score is not above random play have no share and are "
            "counted as left out: where some are, arms are compared over different seeds. One by one: style_shift.csv."
        ),
        Table("style_shift", ["game", "arm", "styles", "share kept", "runs", "left out"], rows, header, data),
        Picture(
            "style_shift",
            f"Share of the plain score kept, {where}, with 95 % intervals, which may run out of the picture; n/a "
            "where every run is left out.",
            style_figures.draw_kept(shown),
        ),
    ]


def _game(env: str) -> str:
    return env if env == EVERY_GAME else game_label(env)
