"""Draws the picture that the README shows, results/pong/curves.png: python results/plot.py"""

from pathlib import Path

from envs.scores import reference_scores
from relic_rl.runtime.plots import plot_curves

PONG = Path(__file__).parent / "pong"


def main() -> None:
    """All runs of results/pong, by agent and protocol."""
    pong = reference_scores()["pong"]
    curves: dict[str, list[Path]] = {}
    for run in sorted(PONG.glob("*-seed*/progress.csv")):
        agent, protocol, _ = run.parent.name.split("-")
        label = f"{agent}, {protocol}".replace("_", ", ", 1).replace("_", " ")
        curves.setdefault(label, []).append(run)
    plot_curves(curves, PONG / "curves.png", title="Pong", lines={"human": pong.human, "random": pong.random})


if __name__ == "__main__":
    main()
