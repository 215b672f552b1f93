"""Every option of ``python -m relic_rl.compare``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relic_rl.runtime.config import option
from relic_rl.train_options import AGENTS

MAKES_RUNS = {"from_runs": ((),)}
LOCAL = MAKES_RUNS | {"launcher": ("local",)}
RAY = MAKES_RUNS | {"launcher": ("ray",)}
RUNS_HERE = (LOCAL, RAY)


@dataclass(frozen=True)
class CompareConfig:
    """Compare objectives over games and seeds: make the runs that are missing, then the report.

    Every arm has the same hyper-parameters, budget, protocol and seeds; what differs is printed. Started again with the
    same --run-dir it goes on where it stopped.
    """

    from_runs: tuple[str, ...] = option(
        (), "make no run: report on those below these directories (--from for short)", saved=False
    )

    # ---- what is compared
    games: tuple[str, ...] = option(
        ("Pong",),
        "Pong,Breakout,...; suites atari-5, atari-10, atari-26, atari-57; or any environment id",
        when=MAKES_RUNS,
    )
    objectives: tuple[str, ...] = option(
        ("relic", "infonce", "augment", "none"),
        "the arms: objectives, with options of their own in parentheses, as in relic(alpha=2,divergence=js)",
        when=MAKES_RUNS,
    )
    seeds: int = option(5, "seeds of every arm on every game", min=1, max=1_000, when=MAKES_RUNS)
    first_seed: int = option(0, "the least of them", min=0, when=MAKES_RUNS)
    agent: AGENTS = option("ppo", "learning algorithm", when=MAKES_RUNS)
    total_steps: int | None = option(
        None, "agent steps of each run; default: those of train's preset", min=1, when=MAKES_RUNS
    )
    train_config: str | None = option(
        None, "preset or file of train for all arms; default: train's own for this machine", when=MAKES_RUNS
    )
    train_options: tuple[str, ...] = option(
        (), "options of train for every arm that they apply to: NAME=VALUE, as in learning_rate=1e-3", when=MAKES_RUNS
    )
    styles: tuple[str, ...] = option(
        (),
        "after training, let every agent play under these interventions: names of `evaluate play --style`, or all",
        when=RUNS_HERE,
    )
    style_episodes: int = option(20, "whole games under each", min=1, when=RUNS_HERE)

    # ---- how it runs
    run_dir: str | None = option(None, "where runs and report are written; default runs/compare-NUMBER", saved=False)
    launcher: Literal["local", "ray", "print"] = option(
        "local",
        "local: processes here; ray: over a Ray cluster; print: a shell line for each run, for any other scheduler",
        when=MAKES_RUNS,
    )
    jobs: int = option(
        0, "runs at a time; 0: one for each GPU, or as many as cores allow", min=0, max=1_024, when=LOCAL
    )
    threads: int = option(
        0, "CPU threads of each run; 0: the cores divided by the runs at a time", min=0, max=1_024, when=MAKES_RUNS
    )
    ray_address: str = option("auto", "the cluster's address; auto: the one of this machine", when=RAY)
    measure_seconds: float = option(
        20.0, "first run what fits at a time for so long, to estimate time and memory; 0: do not", min=0, when=LOCAL
    )
    log_every: float = option(30.0, "seconds between lines of progress", min=0.1, when=RUNS_HERE)

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        if not self.from_runs and self.threads == 0 and self.launcher != "local":
            yield f"--launcher {self.launcher}: give --threads, the CPU threads that each run has where it will run"
