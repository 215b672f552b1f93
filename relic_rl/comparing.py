"""The story of a comparison: plan, estimate, run what is missing, report. `relic_rl.compare` is the door to it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from agents.replay.memory import available_memory
from relic_rl import compare_plan, compare_styles
from relic_rl.compare_measure import finished_costs, measure_costs
from relic_rl.compare_options import CompareConfig
from relic_rl.compare_plan import ARM_OPTIONS, Decisions, Plan
from relic_rl.comparison.costs import CostFile, describe_estimate
from relic_rl.comparison.fairness import Fairness, check_fairness
from relic_rl.comparison.launch import Job, Launcher, LocalLauncher, Outcome
from relic_rl.comparison.plan import PlannedRun
from relic_rl.comparison.report import build_report, describe_setting, write_report
from relic_rl.comparison.runs import Run, find_runs, label_arms, read_run
from relic_rl.runtime.config import applied_options, dump_config
from relic_rl.runtime.config_file import read_yaml
from relic_rl.runtime.device import resolve_device
from relic_rl.runtime.errors import BadInput, RunFailed, describe_failure, join_problems
from relic_rl.runtime.files import write_text
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.runtime.metrics import read_progress
from relic_rl.runtime.progress import Progress
from relic_rl.runtime.rundir import RunDir
from relic_rl.train_options import CONTRASTIVE

_LOOK_SECONDS = 2.0  # between two looks at what runs have written


class ComparisonDir(RunDir):
    """The directory of a comparison; one process at a time."""

    def __init__(self, path: str | None) -> None:
        if path is not None and (config := Path(path) / "config.yaml").is_file() and "env" in read_yaml(config):
            raise BadInput(f"--run-dir {path} holds a single run: choose another")
        super().__init__(path, name="compare", resume=path is not None)

    def kept(self) -> str:
        """What a failure leaves."""
        return f"runs are kept; go on with the same command and --run-dir {self.path}"


def compare(config: CompareConfig) -> int:
    """Make the runs that are missing, then the report; the exit code."""
    if config.from_runs:
        return _report_existing(config)
    plan = compare_plan.make_plan(config)
    compare_styles.check_styles(config.styles, [run.env for run in plan.runs])
    if config.launcher == "ray":
        _join_cluster(config.ray_address)
    failed: list[Outcome] = []
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(ComparisonDir(config.run_dir))
        interrupts = stack.enter_context(Interrupts())
        out = directory.path
        pending = [run for run in plan.runs if not (out / run.folder / "result.json").is_file()]
        slots, threads = _slots(config, plan, len(pending))
        decisions, notes = _decide(config, plan, out, threads)
        replay_bytes = compare_plan.replay_bytes(plan.one, threads)
        plan = compare_plan.with_decisions(plan, decisions)
        compare_plan.check_existing(plan, out)
        directory.write_config(dump_config(config, f"python -m relic_rl.compare --config {out / 'config.yaml'}"))
        _write_arms(plan, out, notes)
        jobs = [_job(run, plan, out) for run in pending]
        if config.launcher == "print":
            _print_jobs(jobs, plan, out)
            return 0
        _say(f"comparison directory: {out}; {len(pending)} of {len(plan.runs)} runs are to be made", *notes)
        _say(_seeds_of_every_arm(config))
        _say(*describe_setting(_planned_fairness(plan)))
        costs = CostFile(out / "costs.csv")
        if pending and config.launcher == "local":
            _say(_estimate(config, plan, pending, jobs, slots, out, costs, replay_bytes, interrupts))
        launcher = _launcher(config, plan, slots, interrupts)
        if not interrupts.requested:
            failed = _run(launcher, jobs, plan, out, costs, config.log_every, interrupts)
        if config.styles and not interrupts.requested:
            failed += _run_styles(launcher, compare_styles.style_jobs(config, plan, out), interrupts)
        if interrupts.requested:
            _say(f"stopped; {directory.kept()}")
            return interrupts.exit_code
        _report(plan, out, failed)
    if failed:
        first = failed[0]
        raise RunFailed(
            f"{len(failed)} of {len(plan.runs)} runs failed and the report lacks them; {first.job.name}: "
            f"{first.message}; see {first.job.log}; the same command goes on"
        )
    return 0


def _report_existing(config: CompareConfig) -> int:
    """Report on runs that exist, wherever they are from."""
    found = find_runs([Path(folder) for folder in config.from_runs])
    order = {objective: place for place, objective in enumerate((*CONTRASTIVE, "augment", "none"))}
    found.sort(key=lambda run: order.get(str(run.config["objective"]), 0))
    runs = label_arms(found, ARM_OPTIONS)
    fairness = check_fairness(runs, ARM_OPTIONS)
    if fairness.problems:
        raise BadInput(join_problems(fairness.problems))
    if all(run.result is None for run in runs):
        raise BadInput("--from: none of these runs is finished (a finished one has result.json)")
    with ComparisonDir(config.run_dir) as directory:
        if not (directory.path / "config.yaml").is_file():
            directory.write_config(
                dump_config(config, f"python -m relic_rl.compare --from {' '.join(config.from_runs)}")
            )
        missing = [f"{run.path}: not finished" for run in runs if run.result is None]
        path = write_report(directory.path / "report", build_report(runs, fairness, missing))
        _say(*describe_setting(fairness), f"report: {path}")
    return 0


# ------------------------------------------------------------------------------------------------ before the runs


def _slots(config: CompareConfig, plan: Plan, pending: int) -> tuple[list[Mapping[str, str]], int]:
    """The places for runs at a time, as environment variables of each, and the threads of each run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    device = plan.one.device
    if device in ("auto", "cuda") and resolve_device(device).type == "cuda":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        gpus = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
        jobs = config.jobs or len(gpus)
        slots: list[Mapping[str, str]] = [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} for i in range(jobs)]
    else:
        jobs = config.jobs or (max(1, cores // config.threads) if config.threads else cores)
        slots = [{} for _ in range(max(1, min(jobs, pending)))]
    return slots, config.threads or max(1, cores // len(slots))


def _decide(config: CompareConfig, plan: Plan, out: Path, threads: int) -> tuple[Decisions, list[str]]:
    """What holds for all runs; an earlier start's decisions stay."""
    earlier = compare_plan.earlier_decisions(out)
    if earlier is not None:
        threads = config.threads or earlier.threads
        note = f"as in the first start: precision {earlier.precision}, {threads} threads a run"
        return earlier._replace(threads=threads), [note]
    decisions, reason = compare_plan.decide(plan.one, threads)
    return decisions, [f"precision of every run: {reason}; {threads} threads a run"]


def _write_arms(plan: Plan, out: Path, notes: Sequence[str]) -> None:
    """The options of each arm, as train takes them."""
    (out / "arms").mkdir(exist_ok=True)
    first = {run.arm.label: run for run in reversed(plan.runs)}
    for label, options in plan.options.items():
        run, file = first[label], _arm_file(first[label], out)
        if file.is_file() and read_yaml(file) == applied_options(options):
            continue  # as an earlier start wrote it, with its reasons
        command = f"python -m relic_rl.train --config {file} --env {run.env} --seed {run.seed}"
        write_text(file, dump_config(options, command, notes))


def _arm_file(run: PlannedRun, out: Path) -> Path:
    return out / "arms" / f"{run.arm.folder}.yaml"


def _job(run: PlannedRun, plan: Plan, out: Path) -> Job:
    """The run's command; started again it goes on from its newest checkpoint."""
    place = out / run.folder
    arguments: tuple[str, ...] = ("--config", str(_arm_file(run, out)), "--env", run.env, "--seed", str(run.seed))
    arguments += ("--run-dir", str(place), "--resume", "auto")
    log = place.with_name(f"{place.name}.log")
    return Job(run.name, "relic_rl.train", arguments, log, plan.options[run.arm.label].threads)


def _seeds_of_every_arm(config: CompareConfig) -> str:
    first, last = config.first_seed, config.first_seed + config.seeds - 1
    return f"In every arm on every game: seed{f's {first} to {last}' if last > first else f' {first}'}."


def _planned_fairness(plan: Plan) -> Fairness:
    """What the arms share and what sets them apart, by their options."""
    runs = [Run(Path(label), label, applied_options(options), None) for label, options in plan.options.items()]
    return check_fairness(runs, ARM_OPTIONS)


def _estimate(
    config: CompareConfig,
    plan: Plan,
    pending: Sequence[PlannedRun],
    jobs: Sequence[Job],
    slots: Sequence[Mapping[str, str]],
    out: Path,
    costs: CostFile,
    replay_bytes: int,
    interrupts: Interrupts,
) -> str:
    """What is still to come, in time and memory, in one line."""
    known, source = finished_costs(plan, out, costs), "finished runs"
    if known:
        replay_bytes = 0  # their memory was measured with the replay full
    elif config.measure_seconds:
        count = len(slots)
        _say(f"measuring {min(count, len(jobs))} runs at a time for {config.measure_seconds:g} s")
        known = measure_costs(pending[:count], jobs[:count], slots, config.measure_seconds, interrupts)
        source = f"a measurement of {config.measure_seconds:g} s"
    if not known:
        return (
            "no estimate: no run is finished, and none was measured (--measure-seconds) or made an update in that time"
        )
    steps: dict[str, int] = {}
    for run in pending:
        steps[run.arm.label] = steps.get(run.arm.label, 0) + plan.one.total_steps
    return describe_estimate(
        known, steps, len(slots), source=source, more_bytes=replay_bytes, available=available_memory()
    )


def _print_jobs(jobs: Sequence[Job], plan: Plan, out: Path) -> None:
    """A line for a shell for each run that is missing."""
    print(f"# {len(jobs)} of {len(plan.runs)} runs are to be made. Once they are, the report: the same compare command")
    print(f"# with --run-dir {out} and --launcher local. A line that was broken off may be started again.", flush=True)
    for job in jobs:
        print(job.shell_line(), flush=True)


def _say(*lines: str) -> None:
    for line in lines:
        print(line, flush=True)


# ------------------------------------------------------------------------------------------------ the runs


def _join_cluster(address: str) -> None:
    if importlib.util.find_spec("ray") is None:
        raise BadInput("--launcher ray: Ray is not installed: pip install 'relic_rl[ray]'")
    from relic_rl.comparison.ray_launcher import connect  # noqa: PLC0415 (an optional extra)

    connect(address)


def _launcher(
    config: CompareConfig, plan: Plan, slots: Sequence[Mapping[str, str]], interrupts: Interrupts
) -> Launcher:
    if config.launcher == "local":
        return LocalLauncher(slots, interrupts)
    from relic_rl.comparison.ray_launcher import RayLauncher  # noqa: PLC0415 (an optional extra)

    on_gpu = plan.one.device != "cpu" and torch.cuda.is_available()
    return RayLauncher(num_gpus=int(on_gpu), interrupts=interrupts)


def _run(
    launcher: Launcher,
    jobs: Sequence[Job],
    plan: Plan,
    out: Path,
    costs: CostFile,
    log_every: float,
    interrupts: Interrupts,
) -> list[Outcome]:
    """Run the jobs, showing how far all runs are together; those that failed."""
    failed = []
    each = plan.one.total_steps
    total = each * len(plan.runs)
    done = len(plan.runs) - len(jobs)
    began, looked = time.monotonic(), -_LOOK_SECONDS
    with Progress(total, every=log_every) as progress:
        for outcome in launcher.run(jobs):
            if outcome is not None:
                try:
                    costs.add(outcome)
                except OSError as error:  # a full disk, a deleted folder: the other runs go on
                    progress.note(f"what {outcome.job.name} took is not recorded: {describe_failure(error)}")
                if outcome.exit_code == 0:
                    done += 1
                elif _failed(outcome, interrupts):
                    failed.append(outcome)
                    progress.note(f"{outcome.job.name} failed: {outcome.message}; see {outcome.job.log}")
            elif time.monotonic() - looked < _LOOK_SECONDS:
                continue
            looked = time.monotonic()
            steps = sum(_steps(out / run.folder, each) for run in plan.runs)
            fares = f"{len(failed)} failed" if failed else ""
            text = f"{done} of {len(plan.runs)} runs done"
            progress.show(steps, looked - began, done=text, fares=fares, metrics={}, final=outcome is not None)
    return failed


def _steps(place: Path, total: int) -> int:
    """Agent steps that a run has made, as far as it has written."""
    if (place / "result.json").is_file():
        return total
    try:
        rows = read_progress(place / "progress.csv")
    except OSError:
        return 0
    return min(total, int(rows[-1]["step"])) if rows else 0


def _run_styles(launcher: Launcher, jobs: Sequence[Job], interrupts: Interrupts) -> list[Outcome]:
    """Judge finished runs; those evaluations that failed."""
    failed = []
    for done, outcome in enumerate((o for o in launcher.run(jobs) if o is not None), start=1):
        _say(f"style shift of {done} of {len(jobs)} runs{': ' + outcome.message if outcome.message else ''}")
        if _failed(outcome, interrupts):
            failed.append(outcome)
    return failed


def _failed(outcome: Outcome, interrupts: Interrupts) -> bool:
    """Whether a run ended badly; one that was asked to stop did not."""
    return outcome.exit_code != 0 and not (interrupts.requested and outcome.exit_code in (130, 143))


def _report(plan: Plan, out: Path, failed: Sequence[Outcome]) -> None:
    """Write the report on what there is."""
    reasons = {outcome.job.name: outcome.message for outcome in failed}
    runs, missing = [], []
    for run in plan.runs:
        place = out / run.folder
        begun = read_run(place, run.arm.label) if (place / "config.yaml").is_file() else None
        if begun is not None:
            runs.append(begun)
        if begun is None or begun.result is None:
            missing.append(f"{run.name}: {reasons.get(run.name, 'not finished')}")
    if not any(run.result is not None for run in runs):
        return
    fairness = check_fairness(runs, ARM_OPTIONS)
    notes = [f"NOT EQUAL: {problem}." for problem in fairness.problems] + fairness.notes
    _say(f"report: {write_report(out / 'report', build_report(runs, fairness._replace(notes=notes), missing))}")
