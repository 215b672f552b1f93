"""After training: every agent of a comparison plays whole games in styles that it never trained on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from envs.style_shares import Style
from envs.toy import UNSEEN_STYLES
from relic_rl.compare_options import CompareConfig
from relic_rl.compare_plan import Plan
from relic_rl.comparison.launch import Job
from relic_rl.comparison.plan import PlannedRun
from relic_rl.evaluation.report import read_result
from relic_rl.evaluation.style_shift import parse_styles
from relic_rl.runtime.errors import user_errors

FOLDER = "style-shift"  # of a run directory; FOLDER-2 and so on where other styles are added later


def check_styles(names: Sequence[str], envs: Sequence[str]) -> None:
    """See that every environment can be played in the styles, before anything is trained.

    Raises:
        BadInput: there is no such style, or an environment keeps none from training.
    """
    with user_errors():
        for env in envs:
            _styles(names, env)


def style_jobs(config: CompareConfig, plan: Plan, out: Path) -> list[Job]:
    """What is still to be played by the runs that are finished."""
    runs = [run for run in plan.runs if (out / run.folder / "result.json").is_file()]
    return [_job(run, config, plan, out) for run in runs if not _is_played(run, config, out / run.folder)]


def _styles(names: Sequence[str], env: str) -> list[Style]:
    return parse_styles(names, has_unseen=env in UNSEEN_STYLES)


def _is_played(run: PlannedRun, config: CompareConfig, place: Path) -> bool:
    """Whether one evaluation has these styles, in as many games or more."""
    wanted = {str(style) for style in _styles(config.styles, run.env)}
    for folder in place.glob(f"{FOLDER}*"):
        try:
            result = read_result(folder)
            games, styles = int(result["options"]["episodes"]), set(result["data"]["styles"])
        except (ValueError, KeyError, TypeError):
            continue  # somebody else's: another is made beside it
        if games >= config.style_episodes and wanted <= styles:
            return True
    return False


def _job(run: PlannedRun, config: CompareConfig, plan: Plan, out: Path) -> Job:
    place = out / run.folder
    numbers = (FOLDER if number == 1 else f"{FOLDER}-{number}" for number in itertools.count(1))
    folder = next(path for name in numbers if not (path := place / name).exists())
    arguments: tuple[str, ...] = ("play", "--run", str(place), "--style", *config.styles)
    arguments += ("--episodes", str(config.style_episodes), "--out", str(folder), "--name", run.arm.label)
    arguments += ("--device", plan.one.device, "--threads", str(plan.one.threads))
    log = place.with_name(f"{place.name}-styles.log")
    return Job(f"{run.name} {FOLDER}", "relic_rl.evaluate", arguments, log, plan.one.threads)
