"""The report's sections on all games together: rliable's aggregates, and the table of the RELIC paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from relic_rl.comparison import figures, published, statistics
from relic_rl.comparison.document import Block, Heading, Paragraph, Picture, Table
from relic_rl.comparison.numerals import interval, number, percent
from relic_rl.comparison.runs import Run
from relic_rl.comparison.scores import Matrix, complete_matrix, names_of_arms, names_of_envs, scores_of
from relic_rl.comparison.statistics import Array, Interval, bootstrap, difference_interval
from relic_rl.comparison.suites import game_label

AGGREGATES: Mapping[str, Callable[[Array], Array]] = {
    "IQM": statistics.interquartile_mean,
    "median": statistics.median,
    "mean": statistics.mean,
    "optimality gap": statistics.optimality_gap,
}
PAPER: Mapping[str, Callable[[Array], Array]] = {
    "capped mean": statistics.capped_mean,
    "superhuman games": statistics.superhuman_games,
    "mean": statistics.mean,
    "median": statistics.median,
}


def blocks(runs: Sequence[Run]) -> list[Block]:
    """The sections."""
    human = complete_matrix(runs, normalize=True)
    sections: list[Block] = []
    if human is not None:
        sections += [*_aggregates(runs, human), *_paper(runs, human)]
    else:
        text = "There are no human-normalised aggregates: no game has a human's score and a finished run of every arm."
        sections += [Heading("Aggregate scores"), Paragraph(text)]
    return [*sections, *_improvement(runs)]


def _scope(runs: Sequence[Run], matrix: Matrix) -> str:
    games, seeds = len(matrix.envs), len(matrix.seeds)
    text = (
        f"Over {games} {'game' if games == 1 else 'games'} and {seeds} {'seed' if seeds == 1 else 'seeds'} of every arm"
    )
    left_out = [game_label(env) for env in names_of_envs(runs) if env not in matrix.envs]
    all_seeds = {run.seed for run in runs}
    missing = sorted(all_seeds - set(matrix.seeds))
    text += f" (left out for want of a finished run or of a human's score: {', '.join(left_out)})" if left_out else ""
    text += f" (seeds not finished in every arm and game: {', '.join(map(str, missing))})" if missing else ""
    return text


def _table(
    name: str, metrics: Mapping[str, Mapping[str, Interval]], form: Mapping[str, Callable[[float], str]]
) -> Table:
    arms = list(next(iter(metrics.values())))
    rows = [[arm, *(interval(by_arm[arm], form.get(m, number)) for m, by_arm in metrics.items())] for arm in arms]
    data = [[arm, metric, *by_arm[arm]] for metric, by_arm in metrics.items() for arm in arms]
    return Table(name, ["arm", *metrics], rows, ["arm", "metric", "value", "low", "high"], data)


def _aggregates(runs: Sequence[Run], matrix: Matrix) -> list[Block]:
    metrics = {
        name: {arm: bootstrap(metric, scores) for arm, scores in matrix.scores.items()}
        for name, metric in AGGREGATES.items()
    }
    return [
        Heading("Aggregate scores"),
        Paragraph(
            f"{_scope(runs, matrix)}. Human-normalised; 95 % intervals by the stratified bootstrap over seeds within "
            f"each game ({statistics.RESAMPLES:,} resamples; Agarwal et al., 2021). IQM: mean of the middle half of "
            "all runs. Optimality gap: how far runs fall short of the human on average; lower is better. n/a: one "
            "seed gives no interval."
        ),
        _table("aggregates", metrics, {}),
        Picture("aggregates", "Aggregates with their 95 % intervals.", figures.draw_intervals(metrics)),
        Picture("profile", "Performance profile: share of runs above t.", figures.draw_profile(matrix)),
    ]


def _paper(runs: Sequence[Run], matrix: Matrix) -> list[Block]:
    percents = {name: metric for name, metric in PAPER.items() if name != "superhuman games"}
    metrics = {
        name: {arm: bootstrap(metric, scores) for arm, scores in matrix.scores.items()}
        for name, metric in PAPER.items()
    }
    table = _table("paper", metrics, dict.fromkeys(percents, percent))
    config = runs[0].config
    frames = max((int((run.result or {}).get("frames", 0)) for run in runs), default=0)
    steps = max((int((run.result or {}).get("agent_steps", 0)) for run in runs), default=0)
    sections: list[Block] = [
        Heading("The RELIC paper's table"),
        Paragraph(
            "Capped mean: mean over games of min(score, human's). Superhuman games: those whose mean over seeds is "
            f"above the human's, of {len(matrix.envs)}. Mean and median are over games."
        ),
        table,
    ]
    protocol = str(config.get("protocol"))
    why_not = published.why_not_relic_table(matrix.envs, str(config["agent"]), protocol, frames)
    if why_not:
        sections.append(
            Paragraph(f"The paper's own rows are not shown beside these, which would not be fair: {why_not}.")
        )
    else:
        paper = [
            [r.method, f"{r.capped_mean:.2f} %", str(r.superhuman), f"{r.mean:.2f} %", f"{r.median:.2f} %"]
            for r in published.RELIC_TABLE
        ]
        sections += [
            Paragraph("As published (R2D2, 57 games; the paper's budget of frames is not known to us):"),
            Table("paper_published", table.header, paper),
        ]
    if not published.why_not_100k(matrix.envs, protocol, steps):
        rows = [
            [r.method, number(r.median), number(r.mean), "n/a" if r.iqm is None else number(r.iqm)]
            for r in published.ATARI_100K
        ]
        sections += [
            Paragraph("Atari-100k as published, human-normalised:"),
            Table("atari_100k_published", ["method", "median", "mean", "IQM"], rows),
        ]
    return sections


def _improvement(runs: Sequence[Run]) -> list[Block]:
    arms = names_of_arms(runs)
    raw = complete_matrix(runs, normalize=False)
    if raw is None or len(arms) < 2:
        return []
    rows, data = [], []
    for x, y in combinations(arms, 2):
        better = bootstrap(statistics.probability_of_improvement, raw.scores[x], raw.scores[y])
        rows.append([f"{x} over {y}", interval(better, percent), _verdict(better)])
        data.append([x, y, *better])
    shown, differences = [], []
    for env in names_of_envs(runs):
        for x, y in combinations(arms, 2):
            a, b = scores_of(runs, x, env), scores_of(runs, y, env)
            if len(a) and len(b):
                difference = difference_interval(a, b)
                shown.append([game_label(env), f"{x} - {y}", interval(difference)])
                differences.append([game_label(env), x, y, *difference])
    return [
        Heading("Probability of improvement"),
        Paragraph(
            f"{_scope(runs, raw)}. How likely a run of the first arm is to score more than one of the second on the "
            "same game, ties counting half, mean over games; 50 % = no difference. Stratified bootstrap, 95 %."
        ),
        Table("improvement", ["pair", "probability", "reading"], rows, ["x", "y", "probability", "low", "high"], data),
        Paragraph(
            "Difference of mean raw scores with Welch's 95 % interval, game by game. Each is at the level of 5 % by "
            "itself: of twenty such intervals one excludes zero by chance."
        ),
        Table(
            "differences",
            ["game", "pair", "difference"],
            shown,
            ["game", "x", "y", "difference", "low", "high"],
            differences,
        ),
    ]


def _verdict(better: Interval) -> str:
    if better.low is None or better.high is None:
        return "one seed: nothing can be said"
    if better.low == better.high:
        return "every resample says the same: too few seeds for an interval"
    if better.low > 0.5:
        return "the first arm is better more often than chance"
    if better.high < 0.5:
        return "the second arm is better more often than chance"
    return "no difference shown"
