"""The report on runs: what was compared, scores, aggregates, curves, style shift, and what the seeds can show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from envs.scores import random_score, reference_scores
from relic_rl.comparison import aggregates, figures, seeds, style_report
from relic_rl.comparison.curves import Curve, learning_curve
from relic_rl.comparison.document import (
    Block,
    Bullets,
    Heading,
    Paragraph,
    Picture,
    Table,
    to_csv,
    to_html,
    to_markdown,
)
from relic_rl.comparison.fairness import Fairness
from relic_rl.comparison.numerals import interval, number, percent
from relic_rl.comparison.runs import Run, normalizer
from relic_rl.comparison.scores import names_of_arms, names_of_envs, scores_of
from relic_rl.comparison.statistics import Interval, mean_interval
from relic_rl.comparison.suites import game_label
from relic_rl.runtime.files import write_atomically, write_text

TITLE = "Comparison of objectives"


def build_report(runs: Sequence[Run], fairness: Fairness, missing: Sequence[str]) -> list[Block]:
    """The report's blocks.

    Args:
        runs: at least one, finished or not.
        fairness: what was found about them.
        missing: planned runs without a result, each with the reason if one is known.
    """
    return [
        *_what(runs, fairness, missing),
        *_games(runs),
        *aggregates.blocks(runs),
        *seeds.blocks(runs),
        *_curves(runs),
        *style_report.blocks(runs),
    ]


def write_report(folder: Path, blocks: Sequence[Block]) -> Path:
    """Write report.md, report.html, a CSV for each table, a PNG for each picture; the path of report.md."""
    folder.mkdir(parents=True, exist_ok=True)
    for block in blocks:
        if isinstance(block, Table):
            write_text(folder / f"{block.name}.csv", to_csv(block))
        elif isinstance(block, Picture):
            write_atomically(folder / f"{block.name}.png", block.png)
    write_text(folder / "report.html", to_html(TITLE, blocks))
    path = folder / "report.md"
    write_text(path, to_markdown(TITLE, blocks))
    return path


def describe_setting(fairness: Fairness) -> list[str]:
    """What is the same in every run, and what sets the arms apart, one line each."""
    shared = ", ".join(f"{name} {json.dumps(value)}" for name, value in fairness.shared.items())
    lines = [f"The same in every run that the option applies to: {shared}."]
    for name, values in fairness.apart.items():
        lines.append(
            f"Set apart on purpose: {name} is " + ", ".join(f"{v} in {arm}" for arm, v in values.items()) + "."
        )
    return lines


def _what(runs: Sequence[Run], fairness: Fairness, missing: Sequence[str]) -> list[Block]:
    arms = names_of_arms(runs)
    envs = names_of_envs(runs)
    finished = sum(run.result is not None for run in runs)
    run_seeds = sorted({run.seed for run in runs})
    total = len({run.path for run in runs if run.result is not None}) + len(missing)
    blocks: list[Block] = [
        Heading("What was compared"),
        Paragraph(
            f"{len(arms)} arms ({', '.join(arms)}) on {len(envs)} {_games_word(envs)}, seeds "
            f"{', '.join(map(str, run_seeds))}: {finished} of {total} runs are finished. A run's score is the mean "
            "over the whole games of its final evaluation, raw; its learning curve is of training games."
        ),
        Bullets(describe_setting(fairness)),
    ]
    counts = [_counts(runs, arm) for arm in arms]
    header = ["arm", "runs", "agent steps, least to most", "updates, least to most", "games of evaluation", "rule"]
    blocks.append(Table("budget", header, counts))
    if missing:
        blocks += [Paragraph("Runs without a result:"), Bullets(missing)]
    if fairness.notes:
        blocks.append(Bullets(fairness.notes))
    return blocks


def _games_word(envs: Sequence[str]) -> str:
    return "game" if len(envs) == 1 else "games"


def _counts(runs: Sequence[Run], arm: str) -> list[str]:
    results = [run.result for run in runs if run.arm == arm and run.result is not None]
    if not results:
        return [arm, "0", "", "", "", ""]

    def spread(name: str) -> str:
        counts = [int(result.get(name, 0)) for result in results]
        return f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"

    evaluation = results[0].get("evaluation") or {}
    games, rule = str(evaluation.get("num_games", 0)), str(evaluation.get("rule", ""))
    return [arm, str(len(results)), spread("agent_steps"), spread("updates"), games, rule]


def _games(runs: Sequence[Run]) -> list[Block]:
    arms = names_of_arms(runs)
    rows, data = [], []
    unclear = []
    for env in names_of_envs(runs):
        cells = []
        reference = reference_scores().get(normalizer(env) or "")
        for arm in arms:
            raw = scores_of(runs, arm, env)
            if not len(raw):
                cells.append("n/a")
                continue
            score = mean_interval(raw)
            hns = mean_interval(scores_of(runs, arm, env, normalize=True)) if reference else None
            cells.append(interval(score) + (f"; {percent(hns.value)}" if hns else ""))
            data.append([game_label(env), arm, len(raw), *score, *(hns or ("", "", ""))])
        if reference:
            plain = scores_of(runs, "none", env, normalize=True)
            if len(plain) and not _clears_random(mean_interval(plain)):
                unclear.append(game_label(env))
        random = random_score(env)
        cells += ["" if random is None else number(random), number(reference.human) if reference else ""]
        rows.append([game_label(env), *cells])
    columns = ["game", "arm", "seeds", "score", "score_low", "score_high"]
    columns += ["human_normalised", "human_normalised_low", "human_normalised_high"]
    blocks: list[Block] = [
        Heading("Scores by game"),
        Paragraph(
            "Mean over seeds, with its 95 % interval (Student's t); n/a where one seed gives none. After the "
            "semicolon the human-normalised score, (score - random) / (human - random)."
        ),
        Table("games", ["game", *arms, "random", "human"], rows, columns, data),
    ]
    if unclear:
        blocks.append(
            Paragraph(
                f"On {', '.join(unclear)} the arm without an objective does not clear random play by more than 5 % "
                "of the way to the human: agents that have learned next to nothing cannot show which objective "
                "helps. Give more steps."
            )
        )
    return blocks


def _clears_random(plain: Interval) -> bool:
    return plain.value > 0.05 and (plain.low is None or plain.low > 0)


def _curves(runs: Sequence[Run]) -> list[Block]:
    curves: list[Curve] = []
    for env in names_of_envs(runs):
        for arm in names_of_arms(runs):
            chosen = [run for run in runs if (run.arm, run.env) == (arm, env)]
            curve = learning_curve(chosen) if chosen else None
            if curve is not None:
                curves.append(curve)
    if not curves:
        return []
    lines: dict[str, dict[str, float]] = {}
    for env in names_of_envs(runs):
        random, human = random_score(env), reference_scores().get(normalizer(env) or "")
        lines[env] = ({"human": human.human} if human else {}) | ({} if random is None else {"random": random})
    data = [
        [game_label(c.env), c.arm, int(step), *value, c.seeds]
        for c in curves
        for step, value in zip(c.steps, c.values, strict=True)
    ]
    header = ["game", "arm", "step", "mean_return", "low", "high", "seeds"]
    ends = [[game_label(c.env), c.arm, f"{int(c.steps[-1]):,}", interval(c.values[-1]), str(c.seeds)] for c in curves]
    caption = (
        "Mean return of recent training games; bands: 95 % intervals of the mean over seeds (Student's t), which may "
        "run out of the picture."
    )
    return [
        Heading("Learning curves"),
        Picture("curves", caption, figures.draw_curves(curves, lines)),
        Table("curves", ["game", "arm", "at agent step", "mean return", "seeds"], ends, header, data),
    ]
