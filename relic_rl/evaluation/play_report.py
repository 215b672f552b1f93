"""What is told about whole games: tables and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envs.style_shares import PLAIN, Style, mean_shares
from relic_rl.evaluation.report import markdown_table, show
from relic_rl.evaluation.style_shift import Share

_ROWS = ("num_games", "mean_return", "median_return", "std_return", "min_return", "max_return")


def play_metrics(
    summaries: Mapping[Style, Mapping[str, Any]], shares: Mapping[Style, Share]
) -> dict[str, float | None]:
    """What is joined over seeds, by name.

    Args:
        summaries: of `relic_rl.evaluation.play.summarize`, in each style; `PLAIN` is among them.
        shares: of the other styles.
    """
    plain = summaries[PLAIN]
    names = ("mean_return", "median_return", "human_normalized")
    metrics: dict[str, float | None] = {name: plain[name] for name in names if name in plain}
    for style in shares:
        metrics[f"mean_return/{style}"] = summaries[style]["mean_return"]
    means = mean_shares({style: share.value for style, share in shares.items()})
    return metrics | {f"share_kept/{name}": value for name, value in means.items()}


def score_table(title: str, summary: Mapping[str, Any]) -> str:
    """Markdown: scores of whole games on the screen as it is."""
    rows = [[name.replace("_", " "), show(summary[name])] for name in _ROWS]
    if "human_normalized" in summary:
        rows.append(["human-normalised", show(summary["human_normalized"])])
    table = markdown_table([title, "score"], rows)
    return table + _flag(PLAIN, summary)


def style_table(
    summaries: Mapping[Style, Mapping[str, Any]], shares: Mapping[Style, Share], random: float | None
) -> str:
    """Markdown: scores and shares kept in each style, the means over severities below.

    Args:
        summaries: as for `play_metrics`.
        shares: likewise.
        random: mean score of random play, if it is known.
    """
    rows = [[str(style), *_scores(summaries[style]), *_shown(share)] for style, share in shares.items()]
    means = mean_shares({style: share.value for style, share in shares.items()})
    rows += [[f"{name}, mean", "", "", show(value), ""] for name, value in means.items()]
    table = markdown_table(["style", "mean score", "std", "share kept", "95 % interval over games"], rows)
    above = "its own mean score" if random is None else f"above random play ({random:.4g})"
    rule = "shifted / plain" if random is None else "(shifted - random) / (plain - random)"
    text = (
        f"\nShare kept: {rule}, of the plain score {above}; 1: nothing lost. Games of one number begin alike in "
        "every style. The interval (bootstrap over games) is of this agent: it says nothing about other seeds of "
        "training.\n"
    )
    return table + text + "".join(_flag(style, summaries[style]) for style in shares)


def _scores(summary: Mapping[str, Any]) -> list[str]:
    return [show(summary["mean_return"]), show(summary["std_return"])]


def _shown(share: Share) -> list[str]:
    interval = "n/a" if share.low is None or share.high is None else f"{share.low:.3f} to {share.high:.3f}"
    return [show(share.value), interval]


def _flag(style: Style, summary: Mapping[str, Any]) -> str:
    wrong = summary.get("impossible_scores", 0)
    if not wrong:
        return ""
    return f"\nFLAGGED ({style}): {wrong} scores lie outside of the range that the game's rules allow.\n"
