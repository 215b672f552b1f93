"""Trains agents that differ in one thing, over seeds, and tells how far each gets: what tables of learning share.

What is done is not done again, so a table can be broken off and started anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from relic_rl.comparison.numerals import interval, number
from relic_rl.comparison.statistics import mean_interval
from relic_rl.runtime.plots import plot_curves

Arms = Mapping[str, Sequence[str]]
"""Options of ``relic_rl.train`` by name."""


def compare(out: Path, arms: Arms, seeds: int, options: Mapping[str, Sequence[str]]) -> None:
    """Train and draw every arm, and write the table to OUT/summary.md.

    Args:
        out: where all of it is kept.
        arms: the first is held against the others.
        seeds: number of them.
        options: of all arms, by environment id.
    """
    lines = _header(next(iter(arms)))
    for env, of_env in options.items():
        train(out, env, arms, range(seeds), of_env)
        curves = {arm: [folder(out, env, arm, seed) / "progress.csv" for seed in range(seeds)] for arm in arms}
        plot_curves(curves, out / f"{_plain(env)}.png", title=env)
        lines += _rows(out, env, arms, seeds)
    (out / "summary.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def train(out: Path, env: str, arms: Arms, seeds: Sequence[int], options: Sequence[str]) -> None:
    """Every arm with every seed; seed by seed, so that what is there is balanced whenever it is broken off."""
    for seed in seeds:
        for arm, own in arms.items():
            run = folder(out, env, arm, seed)
            if (run / "result.json").is_file():
                continue
            command = [sys.executable, "-m", "relic_rl.train", "--env", env, *options, *own, "--seed", str(seed)]
            subprocess.run([*command, "--no-video", "--run-dir", str(run), "--resume", "auto"], check=True)


def _rows(out: Path, env: str, arms: Arms, seeds: int) -> list[str]:
    """Rows of Markdown: final evaluation and last training games of each arm, and the first arm's lead over the others.

    Intervals are 95 % (Student's t) over seeds; the lead is taken seed by seed.
    """
    scores: dict[str, list[np.ndarray]] = {}
    for arm in arms:
        results = [json.loads((folder(out, env, arm, s) / "result.json").read_text()) for s in range(seeds)]
        evaluated = np.array([result["evaluation"]["mean_return"] for result in results])
        scores[arm] = [evaluated, np.array([result["training_mean_return"] for result in results])]
    first = next(iter(arms))
    rows = []
    for arm, values in scores.items():
        means = [interval(mean_interval(value), number) for value in values]
        leads = ["" if arm == first else interval(mean_interval(scores[first][0] - values[0]), number)]
        rows.append(f"| {env} | {arm} | " + " | ".join([*means, *leads]) + " |")
    return rows


def _header(first: str) -> list[str]:
    names = ["environment", "arm", "evaluation", "last 20 training games", f"{first} is better by"]
    return ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]


def folder(out: Path, env: str, arm: str, seed: int) -> Path:
    """A run's directory."""
    return out / _plain(env) / _plain(arm) / f"seed{seed}"


def _plain(name: str) -> str:
    return name.replace("ALE/", "").replace("relic/", "").replace(" ", "-").replace(",", "")
