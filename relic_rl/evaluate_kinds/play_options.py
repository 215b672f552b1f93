"""Options of ``python -m relic_rl.evaluate play``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relic_rl.runtime.config import option


@dataclass(frozen=True)
class Options:
    """Whole games of a run's agent, also on screens in styles that it never trained on."""

    run: str | None = option(None, "run directory of train, finished or still going on")
    checkpoint: str | None = option(
        None, "a file, or the name of one of the run's, such as best.ckpt; default: the newest sound one"
    )
    episodes: int = option(100, "whole games, in each style", min=1, max=1_000_000)
    style: tuple[str, ...] = option(
        (),
        "also play in these styles: brightness, contrast, gamma, inversion, noise, blur, translation, border, "
        "scanlines (NAME: severities 1 to 5; NAME:3: one of them), unseen (what relic/StyleShift-v0 keeps from "
        "training), or all",
    )
    protocol: Literal["run", "v5", "noop"] = option("run", "Atari protocol; run: the one trained under")
    engine: Literal["run", "envpool", "ale"] = option("run", "Atari engine; run: the one trained on")
    video: str | None = option(None, "MP4 file for the first game, in the first style of --style if there is one")
    render: bool = option(False, "show the first game in the terminal while it is played, in the style of --video")
    name: str | None = option(None, "the agent's name in tables, the same for all its seeds; default: its objective")
    seed: int | None = option(
        None,
        "seed of games and actions; default: the run's, whose first games are then those of its result.json if it was "
        "evaluated in the same --precision on the same device",
        min=0,
    )
    device: str = option("auto", "auto, cpu, cuda or cuda:INDEX")
    precision: Literal["fp32", "bf16"] = option("fp32", "what the networks compute in")
    threads: int = option(0, "CPU threads of torch and of the engine; 0 = all cores", min=0, max=1_024)
    out: str | None = option(None, "folder of the report, new or empty; default RUN/play-NUMBER", saved=False)

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        if self.run is None:
            yield "--run is missing: give the run directory of an agent that was trained"
        if self.video is not None and not self.video.endswith(".mp4"):
            yield f"--video {self.video[:60]}: give a file NAME.mp4"
