"""Published Atari results, and where it is fair to show them beside one's own.

Numbers as the papers print them; those of RELIC's table and the IQMs were recalled rather than read again.
"""

from __future__ import annotations

from typing import NamedTuple

from envs.ids import parse_env_id
from relic_rl.comparison.suites import ATARI_26, SUITES


class PaperRow(NamedTuple):
    """A row of RELIC's Atari table (57 games, R2D2), scores in percent of the human's."""

    method: str
    capped_mean: float
    superhuman: int
    mean: float
    median: float


RELIC_TABLE = (
    PaperRow("RELIC", 91.46, 51, 3003.73, 832.50),
    PaperRow("SimCLR", 88.76, 49, 2086.16, 592.83),
    PaperRow("CURL", 90.72, 50, 2413.12, 819.56),
    PaperRow("BYOL", 89.43, 49, 1769.43, 439.67),
    PaperRow("augmentation", 80.60, 43, 503.15, 258.98),
)
"""Mitrovic et al., 2021, https://arxiv.org/abs/2010.07922."""


class Row100k(NamedTuple):
    """Atari-100k: human-normalised scores over 26 games; None where not known to us."""

    method: str
    median: float
    mean: float
    iqm: float | None


ATARI_100K = (
    Row100k("DER", 0.189, 0.350, 0.183),
    Row100k("CURL", 0.092, 0.261, 0.113),
    Row100k("DrQ", 0.212, 0.369, None),
    Row100k("DrQ(eps)", 0.313, 0.465, 0.280),
    Row100k("SPR", 0.396, 0.616, 0.337),
    Row100k("BBF", 0.917, 2.245, None),
)
"""Agarwal et al., 2021 (arXiv 2108.13264); Schwarzer et al., 2023 (BBF, arXiv 2305.19452)."""

STANDARD_FRAMES = 200_000_000


def why_not_relic_table(envs: list[str], agent: str, protocol: str, frames: int) -> str:
    """What keeps RELIC's table from being shown beside these runs; empty if nothing does.

    The paper trains R2D2 on all 57 games without sticky actions. How long is not known to us: less than the usual 200
    million frames is certainly less.

    Args:
        envs: environment ids with a result in every arm.
        agent: ppo or r2d2.
        protocol: v5 or noop.
        frames: emulator frames of a run.
    """
    reasons = []
    if not set(SUITES["atari-57"]) <= _games(envs):
        reasons.append("not all 57 games")
    if agent != "r2d2":
        reasons.append(f"{agent} in place of R2D2")
    if protocol != "noop":
        reasons.append("sticky actions, which the paper does not have")
    if frames < STANDARD_FRAMES:
        reasons.append(f"{frames:,} frames a run, fewer than the usual {STANDARD_FRAMES:,}")
    return "; ".join(reasons)


def why_not_100k(envs: list[str], protocol: str, steps: int) -> str:
    """What keeps the Atari-100k results from being shown beside these runs; empty if nothing does.

    Args:
        envs: environment ids with a result in every arm.
        protocol: v5 or noop.
        steps: agent steps of a run.
    """
    reasons = []
    if _games(envs) != set(ATARI_26):
        reasons.append("not the 26 games")
    if protocol != "noop":
        reasons.append("sticky actions, which those papers do not have")
    if not 90_000 <= steps <= 110_000:
        reasons.append(f"{steps:,} agent steps, not 100,000")
    return "; ".join(reasons)


def _games(envs: list[str]) -> set[str]:
    return {parsed.name for env in envs if (parsed := parse_env_id(env)).kind == "atari"}
