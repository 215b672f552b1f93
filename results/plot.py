"""Draws the curves that the README shows: python results/plot.py"""

from pathlib import Path

from envs.scores import reference_scores
from relic_rl.runtime.plots import plot_curves

HERE = Path(__file__).parent


def main() -> None:
    """Write curve.png beside each progress.csv of a Pong run."""
    pong = reference_scores()["pong"]
    for run in sorted(HERE.glob("pong-*/progress.csv")):
        agent, objective = run.parent.name.split("-")[1:3]
        label = f"{agent.upper()} with {objective.upper()}"
        lines = {"human": pong.human, "random": pong.random}
        plot_curves({label: [run]}, run.with_name("curve.png"), title="ALE/Pong-v5, sticky actions", lines=lines)


if __name__ == "__main__":
    main()
