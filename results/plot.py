"""Draws the pictures of results/pong: python results/plot.py"""

from pathlib import Path

from envs.scores import reference_scores
from relic_rl.runtime.plots import plot_curves

PONG = Path(__file__).parent / "pong"


def main() -> None:
    """curves.png of the presets as they are, which the README shows, and before.png of those before them."""
    pong = reference_scores()["pong"]
    curves: dict[str, dict[str, list[Path]]] = {"curves.png": {}, "before.png": {}}
    for run in sorted(PONG.glob("*-seed*/progress.csv")):
        agent, protocol, _ = run.parent.name.split("-")  # a preset before has its name behind the protocol's
        label = f"{agent}, {protocol}".replace("_", ", ", 1).replace("_", " ")
        curves["before.png" if "_" in protocol else "curves.png"].setdefault(label, []).append(run)
    for name, found in curves.items():
        plot_curves(found, PONG / name, title="Pong", lines={"human": pong.human, "random": pong.random})


if __name__ == "__main__":
    main()
