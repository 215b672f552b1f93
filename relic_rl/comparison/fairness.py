"""Whether runs may be compared: what they share, what sets their arms apart, and what rules a comparison out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from relic_rl.comparison.arms import equal_arms
from relic_rl.comparison.runs import Run

OF_THE_MACHINE = frozenset(
    {
        *("device", "threads", "env_timeout", "log_every", "checkpoint_every", "keep_checkpoints", "video"),
        *("replay_on_disk", "replay_compressed_gib"),
    }
)
"""Options that change where and how fast a run runs, not what it learns."""
OF_A_RUN = frozenset({"env", "seed", "objective"})
_SPREAD = 0.05  # updates of runs on one game may differ by this share: games end at different times


class Fairness(NamedTuple):
    """What was found.

    Attributes:
        shared: options with one value in every run that has them.
        apart: options of the arms that differ between arms, with each arm's value.
        problems: why the runs cannot be compared; one line each.
        notes: what a reader should know; one line each.
    """

    shared: dict[str, Any]
    apart: dict[str, dict[str, Any]]
    problems: list[str]
    notes: list[str]


def check_fairness(runs: Sequence[Run], arm_options: Iterable[str]) -> Fairness:
    """Compare the options and results of runs.

    Args:
        runs: at least one.
        arm_options: options that arms may differ in.
    """
    may_differ = set(arm_options)
    shared: dict[str, Any] = {}
    apart: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    names = dict.fromkeys(name for run in runs for name in run.config)
    for name in (n for n in names if n not in OF_THE_MACHINE | OF_A_RUN):
        having = [run for run in runs if name in run.config]
        values = {repr(run.config[name]): run for run in having}
        by_arm: dict[str, set[str]] = {}
        for run in having:
            by_arm.setdefault(run.arm, set()).add(repr(run.config[name]))
        if len(values) == 1:
            shared[name] = having[0].config[name]
        elif name in may_differ and all(len(of_arm) == 1 for of_arm in by_arm.values()):
            apart[name] = {run.arm: run.config[name] for run in having}
        else:
            (a, b), *_ = zip(list(values.values()), list(values.values())[1:], strict=False)
            problems.append(
                f"{name} is {a.config[name]} in {a.path} and {b.config[name]} in {b.path}: compare only runs made alike"
            )
    problems += _twice(runs) + _results_differ([run for run in runs if run.result is not None])
    if not problems:
        options = {run.arm: _of_an_arm(run.config) for run in runs}
        problems += [f"{a} and {b} are equal by construction: leave one out" for a, b in equal_arms(options)]
    return Fairness(shared, apart, problems, _notes(runs))


def differing_options(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Options that a run was made with and that are others now, as ``NAME was A, is B now``."""
    names = [name for name in dict.fromkeys([*wanted, *made]) if name not in OF_THE_MACHINE]
    return [
        f"{name} was {made.get(name, 'not set')}, is {wanted.get(name, 'not set')} now"
        for name in names
        if made.get(name) != wanted.get(name)
    ]


def _of_an_arm(config: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in config.items() if n not in OF_THE_MACHINE | {"env", "seed"}}


def _twice(runs: Sequence[Run]) -> list[str]:
    first: dict[tuple[str, str, int], Run] = {}
    problems = []
    for run in runs:
        key = (run.env, run.arm, run.seed)
        if key in first:
            problems.append(
                f"{first[key].path} and {run.path} are both {run.arm} on {run.game}, seed {run.seed}: keep one"
            )
        first[key] = run
    return problems


def _results_differ(runs: Sequence[Run]) -> list[str]:
    """What results show to have been unequal, whatever the options said."""
    problems = []
    for key in ("rule", "protocol", "num_games"):
        values = {repr((run.result or {}).get("evaluation", {}).get(key)): run for run in runs}
        if len(values) > 1:
            told = " and ".join(f"{value} in {run.path}" for value, run in list(values.items())[:2])
            problems.append(f"the evaluation's {key} is {told}: compare only runs judged alike")
    for env in dict.fromkeys(run.env for run in runs):
        for key in ("agent_steps", "updates"):
            counts = {int((run.result or {}).get(key, 0)): run for run in runs if run.env == env}
            low, high = min(counts), max(counts)
            if high - low > _SPREAD * high:
                problems.append(f"{key} are {low:,} in {counts[low].path} and {high:,} in {counts[high].path}")
    return problems


def _notes(runs: Sequence[Run]) -> list[str]:
    notes = []
    commits = {commit for run in runs if (commit := run.commit())}
    if len(commits) > 1:
        notes.append(
            f"The runs were made by {len(commits)} versions of the code: {', '.join(sorted(c[:12] for c in commits))}."
        )
    if any(commit.endswith("-dirty") for commit in commits):
        notes.append("Some runs were made by code with changes that no commit holds.")
    seeds = {arm: {(run.env, run.seed) for run in runs if run.arm == arm} for arm in dict.fromkeys(r.arm for r in runs)}
    if len({frozenset(of_arm) for of_arm in seeds.values()}) > 1:
        notes.append("The arms do not have the same games and seeds.")
    impossible = [run for run in runs if run.impossible_scores]
    notes += [
        f"{run.impossible_scores} of {len(run.scores)} scores of {run.arm} on {run.game}, seed {run.seed}, are "
        "outside of what the game's rules allow: a counter wrapped or went wrong, do not trust them."
        for run in impossible
    ]
    skipped = sum(int((run.result or {}).get("skipped_updates", 0)) for run in runs)
    if skipped:
        notes.append(f"{skipped} updates were skipped because their numbers were not finite.")
    return notes
