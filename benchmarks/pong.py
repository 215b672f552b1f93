"""How many minutes does an agent need to play Pong as well as a human does, and how well does it play in the end?

    python benchmarks/pong.py OUT [--agents ppo] [--protocol v5] [--seeds 3] [--first-seed 1] [-- OPTION ...]

Trains the agents as `python -m relic_rl.train` does by default, seed by seed; options after -- are given to each run.
OUT/summary.md holds the table, OUT/curves.png the curves. The score is the mean of the last 20 training games; its time
is that of training, evaluations and pauses left out. Runs that are done are not done again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import learning

from envs.scores import reference_scores
from relic_rl.runtime.metrics import read_progress
from relic_rl.runtime.plots import plot_curves

GAMES = 20  # that a mean return is over


class Reached(NamedTuple):
    """When a run first had a score.

    Attributes:
        minutes: of training.
        steps: agent steps.
    """

    minutes: float
    steps: int


def reached(progress: Path, score: float) -> Reached | None:
    """When the mean of the last `GAMES` training games first was at least ``score``; None if it never was."""
    for row in read_progress(progress):
        if row["num_games"] >= GAMES and row["mean_return"] >= score:
            return Reached(row["seconds"] / 60, int(row["step"]))
    return None


def row(arm: str, seed: int, run: Path, score: float) -> str:
    """A run's row of Markdown."""
    result = json.loads((run / "result.json").read_text())
    first = reached(run / "progress.csv", score)
    cells = ["never", ""] if first is None else [f"{first.minutes:.1f}", f"{first.steps:,}"]
    games = result["evaluation"]
    cells += [f"{result['seconds'] / 60:.1f}", f"{result['agent_steps']:,}", f"{result['training_mean_return']:.1f}"]
    cells += [f"{games['mean_return']:.2f} ({games['min_return']:.0f} to {games['max_return']:.0f})"]
    return f"| {arm} | {seed} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--agents", default="ppo", help="comma separated")
    parser.add_argument("--protocol", choices=("v5", "noop"), default="v5")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--score", type=float, help="default: the human's")
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    args = parser.parse_args(own)
    pong = reference_scores()["pong"]
    score = pong.human if args.score is None else args.score
    arms = {f"{agent}, {args.protocol}": ["--agent", agent] for agent in args.agents.split(",")}
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    options = ["--protocol", args.protocol, *sys.argv[len(own) + 2 :]]
    learning.train(args.out, "ALE/Pong-v5", arms, seeds, options)
    runs = {arm: [learning.folder(args.out, "ALE/Pong-v5", arm, seed) for seed in seeds] for arm in arms}
    curves = {arm: [run / "progress.csv" for run in of_arm] for arm, of_arm in runs.items()}
    plot_curves(curves, args.out / "curves.png", title="Pong", lines={"human": pong.human, "random": pong.random})
    names = ["agent, protocol", "seed", f"minutes to {score:g}", "agent steps to it", "minutes", "agent steps"]
    names += [f"last {GAMES} training games", "final evaluation"]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    lines += [row(arm, seed, run, score) for arm in arms for seed, run in zip(seeds, runs[arm], strict=True)]
    (args.out / "summary.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
