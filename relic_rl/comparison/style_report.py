"""The report's section on styles that the agents never trained on."""

from __future__ import annotations

from collections.abc import Sequence

from envs.style_shares import UNSEEN
from relic_rl.comparison import figures
from relic_rl.comparison.document import Block, Heading, Paragraph, Picture, Table
from relic_rl.comparison.numerals import interval, percent
from relic_rl.comparison.runs import Run
from relic_rl.comparison.style_shift import ALL, random_known, shares_kept
from relic_rl.comparison.suites import game_label


def blocks(runs: Sequence[Run]) -> list[Block]:
    """The section; nothing where no run was judged by ``evaluate play --style``."""
    kept = shares_kept([run for run in runs if run.result is not None])
    if not kept:
        return []
    known = {random_known(row.env) for row in kept}
    names = {ALL: "all interventions, mean", UNSEEN: "unseen styles"}
    rows = [
        [game_label(r.env), r.arm, names[r.style], interval(r.share, percent), str(r.runs), str(r.left_out or "")]
        for r in kept
        if r.style in names
    ]
    data = [[game_label(r.env), r.arm, r.style, *r.share, r.runs, r.left_out] for r in kept]
    header = ["game", "arm", "style", "share_kept", "low", "high", "runs", "left_out"]
    rule = "(shifted - random) / (plain - random)" if True in known else "shifted / plain"
    if len(known) > 1:
        rule += ", or shifted / plain where random play is not known"
    return [
        Heading("Style shift"),
        Paragraph(
            f"Share of the plain score that is kept under styles that the agents never trained on: {rule}; 100 % = "
            "nothing lost. Interventions: mean over severities, then over interventions; unseen: styles that the "
            "environment itself keeps from training. Interval over seeds (Student's t). Only styles that all judged "
            "runs of a game played in count. Runs whose plain score is not above random play have no share and are "
            "counted as left out. One by one: style_shift.csv."
        ),
        Table("style_shift", ["game", "arm", "styles", "share kept", "runs", "left out"], rows, header, data),
        Picture("style_shift", "Share of the plain score kept, mean over games and seeds.", figures.draw_kept(kept)),
    ]
