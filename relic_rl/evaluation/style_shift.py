"""How much of an agent's score is left when the style of the screen changes.

The question that RELIC's paper asks of representations (Mitrovic et al., 2021, sec. 2: what is learned should not
change under interventions on style), asked of agents: whole games under styles that the agent never trained on, without
retraining.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.screen_styles import SCREEN_STYLES, SEVERITIES
from envs.style_shares import UNSEEN, Style, share_kept


class Share(NamedTuple):
    """The share of a score that is kept.

    Attributes:
        value: 1 = nothing lost, 0 = no better than random play; None where the plain score is not above random play's.
        low: lower end of its 95 % interval over games; None where there is no such interval.
        high: upper end.
    """

    value: float | None
    low: float | None
    high: float | None


def parse_styles(names: Sequence[str], *, has_unseen: bool) -> list[Style]:
    """The styles that a command line names, in the order of its words.

    Args:
        names: NAME for all severities, NAME:SEVERITY for one, ``unseen`` for what the environment keeps from training,
            ``all`` for all there are; commas do as well as words of their own.
        has_unseen: whether the environment keeps styles from training.

    Raises:
        ValueError: no such style or severity, or a style that is named twice.
    """
    known = [*SCREEN_STYLES, *([UNSEEN] if has_unseen else [])]
    found: list[Style] = []
    for word in (part.strip() for text in names for part in text.split(",")):
        name, colon, severity = word.partition(":")
        if name == UNSEEN and not has_unseen:
            raise ValueError(f"--style {UNSEEN}: this environment keeps no styles from training; give others")
        if name not in known and word != "all":
            near = difflib.get_close_matches(name, [*known, "all"], n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}, all"
            raise ValueError(f"--style {word[:60]!r}: unknown style; {hint}")
        if colon and (name == UNSEEN or severity not in map(str, SEVERITIES)):
            wanted = f"{UNSEEN} has no severities" if name == UNSEEN else "severities are 1 to 5, as in noise:3"
            raise ValueError(f"--style {word[:60]!r}: {wanted}")
        for one in known if word == "all" else [name]:
            numbers = [int(severity)] if colon else [0] if one == UNSEEN else SEVERITIES
            found += [Style(one, number) for number in numbers]
    for style in found:
        if found.count(style) > 1:
            raise ValueError(f"--style names {style} twice: name each once")
    return found


def bootstrap_share(
    shifted: Sequence[float],
    plain: Sequence[float],
    random: float | None = None,
    *,
    seed: np.random.SeedSequence | int,
    resamples: int = 2_000,
) -> Share:
    """`envs.style_shares.share_kept` of mean scores, with a percentile bootstrap over games.

    The games of both must come in pairs that began alike (same environment, same seeds): pairs are drawn. The interval
    is of this agent over games; it says nothing about other seeds of training. There is none for fewer than two games,
    nor if more than 2.5 % of the resamples have no share.

    Args:
        shifted: score of each game in a style.
        plain: of the same game on the screen as it is.
        random: mean score of random play; None where it is not known.
        seed: of the resamples.
        resamples: how many.

    Raises:
        ValueError: numbers of games differ.
    """
    if len(shifted) != len(plain):
        raise ValueError(f"{len(shifted)} games in a style, but {len(plain)} without: they must come in pairs")
    value = share_kept(float(np.mean(shifted)), float(np.mean(plain)), random)
    if value is None or len(plain) < 2:
        return Share(value, None, None)
    scores = np.array([shifted, plain], dtype=np.float64)  # [2, G]
    drawn = np.random.default_rng(seed).integers(len(plain), size=(resamples, len(plain)))
    means = scores[:, drawn].mean(axis=2) - (random or 0.0)  # [2, resamples]
    defined = means[1] > 0
    if defined.mean() < 0.975:
        return Share(value, None, None)
    low, high = np.percentile(means[0, defined] / means[1, defined], [2.5, 97.5])
    return Share(value, float(low), float(high))


SCORE_COLUMNS = (
    "game",
    "seed",
    "steps",
    "frames",
    "protocol",
    "objective",
    "agent",
    "style",
    "severity",
    "episode",
    "score",
    "length",
    "impossible",
)
"""Columns of scores.csv, a row for each game played.

game: environment id; seed: the training run's; steps, frames: what the agent had been trained for (agent steps, and
emulator frames); protocol: of the evaluation, empty outside of Atari; style, severity: ``none`` and 0 for the screen as
it is, ``unseen`` and 0 for styles that the environment keeps from training; episode: number of the game, from 0, the
same number beginning alike in every style; score: raw; length: agent steps; impossible: 1 where the game's rules rule
the score out, else 0.
"""


def score_rows(
    about: Mapping[str, Any], style: Style, scores: Sequence[float], lengths: Sequence[int], impossible: Sequence[bool]
) -> list[dict[str, Any]]:
    """Rows of scores.csv for the games in one style.

    Args:
        about: the columns that all rows share, ``game`` to ``agent``.
        style: the style.
        scores: raw score of each game.
        lengths: its agent steps.
        impossible: whether the game's rules rule the score out.
    """
    return [
        {
            **about,
            "style": style.name,
            "severity": style.severity,
            "episode": episode,
            "score": score,
            "length": length,
            "impossible": int(wrong),
        }
        for episode, (score, length, wrong) in enumerate(zip(scores, lengths, impossible, strict=True))
    ]


def styled_pictures(frame: NDArray[np.uint8], names: Sequence[str], seed: int = 0) -> dict[str, NDArray[np.uint8]]:
    """One frame in some interventions at every severity.

    Args:
        frame: uint8 [H, W], or RGB [H, W, 3].
        names: of `SCREEN_STYLES`.
        seed: of noise.

    Returns:
        By name uint8 [5, H, W], or [5, H, W, 3], from severity 1 to 5.
    """
    screen = np.moveaxis(np.atleast_3d(frame), -1, 0)[None]  # [1, C, H, W]

    def picture(name: str, severity: int) -> NDArray[np.uint8]:
        changed = SCREEN_STYLES[name](screen, severity, np.random.default_rng(seed))[0]
        shown: NDArray[np.uint8] = changed.transpose(1, 2, 0).reshape(frame.shape)
        return shown

    return {name: np.stack([picture(name, severity) for severity in SEVERITIES]) for name in names}
