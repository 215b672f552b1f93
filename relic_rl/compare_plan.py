"""From the options of a comparison to its arms, each with all options of ``train``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from agents.replay.errors import ReplayError
from envs.make import validate_env_id
from relic_rl import train_build
from relic_rl.compare_options import CompareConfig
from relic_rl.comparison.arms import Arm, equal_arms, parse_arms
from relic_rl.comparison.fairness import differing_options
from relic_rl.comparison.plan import PlannedRun, plan_runs
from relic_rl.comparison.suites import expand_games
from relic_rl.losses.divergences import divergence_by_name
from relic_rl.representation.augmentation import parse_augmentation
from relic_rl.runtime.command_line import parse_flags
from relic_rl.runtime.config import applied_options, load_config_file, options_without_effect, parse_config
from relic_rl.runtime.config_file import find_config, nearest, read_yaml
from relic_rl.runtime.device import resolve_device, set_threads
from relic_rl.runtime.errors import BadInput, join_problems, user_errors
from relic_rl.runtime.precision import decide_precision, encoder_step
from relic_rl.runtime.seeding import Streams
from relic_rl.train import base_options, without_idle_objective
from relic_rl.train_options import TrainConfig

_GIVEN_BY_COMPARE = ("env", "agent", "objective", "seed", "total_steps", "threads", "run_dir", "resume")
_SAME_IN_ALL = ("augmentation",)  # the recipe is one in all arms that augment
_FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}

_OF_THE_OBJECTIVE = tuple(
    name
    for name, field in _FIELDS.items()
    if field.metadata["when"] and all("objective" in condition for condition in field.metadata["when"])
    if name not in _SAME_IN_ALL
)
ARM_OPTIONS = (*_OF_THE_OBJECTIVE, "encoder_weights", "freeze_encoder")
"""Options of ``train`` that an arm may set for itself: those of the objective, and where the encoder comes from."""


class Plan(NamedTuple):
    """What is to be run."""

    options: dict[str, TrainConfig]  # of each arm by its label; environment and seed are those of its first run
    runs: list[PlannedRun]

    @property
    def one(self) -> TrainConfig:
        """The options of any arm, for what all arms share."""
        return next(iter(self.options.values()))


def make_plan(config: CompareConfig) -> Plan:
    """Resolve the options of every arm and check them, and the comparison as a whole.

    Raises:
        BadInput: what is wrong.
    """
    with user_errors():
        envs = expand_games(config.games)
        arms = parse_arms(config.objectives)
        options = _resolve(config, arms, envs[0])
        for of_arm in options.values():
            _check_names(of_arm)
        one = next(iter(options.values()))
        for env in envs:
            validate_env_id(env, one.engine, one.protocol)
        for of_arm in options.values():
            _check_weights(of_arm)
        runs = plan_runs(envs, arms, range(config.first_seed, config.first_seed + config.seeds))
    applied = {label: _without_place(applied_options(of_arm)) for label, of_arm in options.items()}
    if equal := equal_arms(applied):
        raise BadInput(join_problems(f"arms {a} and {b} are equal by construction: leave one out" for a, b in equal))
    if one.eval_episodes == 0:
        raise BadInput("eval_episodes is 0: a comparison is of final evaluations, give some")
    return Plan(options, runs)


def _resolve(config: CompareConfig, arms: Sequence[Arm], env: str) -> dict[str, TrainConfig]:
    """The options of each arm by its label."""
    common = _parse(_pairs(config.train_options), "--train-options")
    fixed: dict[str, Any] = {"env": env, "agent": config.agent, "seed": config.first_seed, "threads": config.threads}
    if config.total_steps is not None:
        fixed["total_steps"] = config.total_steps
    source = config.train_config
    if source is None:
        source = base_options(TrainConfig(**{"agent": config.agent} | _only(common, "device")))
    from_file = load_config_file(TrainConfig, find_config(source, "train"))
    if from_file.get("agent", config.agent) != config.agent:
        raise BadInput(f"--train-config {source} is of agent {from_file['agent']}: give --agent {from_file['agent']}")
    used: set[str] = set()
    resolved = {}
    for arm in arms:
        own = _own_options(arm)
        given = fixed | common | own | {"objective": arm.objective}
        useless = options_without_effect(TrainConfig, from_file | given)
        if wrong := [name for name in own if name in useless]:
            raise BadInput(f"{arm.label}: {wrong[0]} {useless[wrong[0]]}")
        kept = {name: value for name, value in given.items() if name not in useless}
        used |= kept.keys()
        argv = ["--config", source, *(word for name, value in kept.items() for word in _flag(name, value))]
        resolved[arm.label] = without_idle_objective(parse_config(TrainConfig, argv, kind="train"))
    if idle := [name for name in common if name not in used]:
        raise BadInput(f"--train-options {idle[0]} has no effect in any arm: leave it out")
    return resolved


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE as a mapping."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        if not (name and equals):
            raise BadInput(f"--train-options {text[:60]!r}: write NAME=VALUE, such as learning_rate=1e-3")
        if name in pairs:
            raise BadInput(f"--train-options gives {name} twice: keep one")
        pairs[name] = value.strip()
    return pairs


def _own_options(arm: Arm) -> dict[str, Any]:
    """The options in an arm's parentheses."""
    for name, _ in arm.options:
        if name in _FIELDS and name not in ARM_OPTIONS:
            raise BadInput(f"{arm.label}: {name} is the same in every arm: give --train-options {name}=VALUE")
    return _parse(dict(arm.options), arm.label)


def _parse(pairs: Mapping[str, str], where: str) -> dict[str, Any]:
    """Options of ``train`` from their texts."""
    for name in pairs:
        if name in _GIVEN_BY_COMPARE:
            raise BadInput(f"{where}: {name} is set by compare itself, see its --help")
        if name not in _FIELDS:
            raise BadInput(f"{where}: train has no option {name!r}{nearest(name, _FIELDS)}")
    argv = [word for name, text in pairs.items() for word in _flag(name, text)]
    flags = parse_flags(TrainConfig, argv, prog="relic-rl train")
    if flags.problems:
        raise BadInput(join_problems(f"{where}: {problem}" for problem in flags.problems))
    return flags.values


def _flag(name: str, value: Any) -> list[str]:
    """An option as words of train's command line."""
    flag = name.replace("_", "-")
    if isinstance(_FIELDS[name].default, bool):
        if str(value).lower() in ("true", "yes", "on", "1"):
            return [f"--{flag}"]
        if str(value).lower() in ("false", "no", "off", "0"):
            return [f"--no-{flag}"]
        raise BadInput(f"{name}={value}: give true or false")
    return [f"--{flag}={value}"]


def _only(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _check_names(options: TrainConfig) -> None:
    """Names that train looks up only once it builds its objective."""
    applied = applied_options(options)
    if "augmentation" in applied:
        parse_augmentation(options.augmentation)
    if "divergence" in applied:
        divergence_by_name(options.divergence)


def _check_weights(options: TrainConfig) -> None:
    """Weights that do not fit the encoder of the arm on the first environment."""
    if options.encoder_weights is not None:
        streams = Streams(options.seed)
        with contextlib.closing(train_build.build_env(options, "train_env", 1, streams, 1)) as env:
            train_build.build_networks(options, env, streams, torch.device("cpu"))


def _without_place(applied: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in applied.items() if name not in ("env", "seed")}


def check_existing(plan: Plan, out: Path) -> None:
    """Refuse a directory whose runs were made with other options than these.

    Raises:
        BadInput: some were.
    """
    problems = []
    for run in plan.runs:
        file = out / run.folder / "config.yaml"
        if file.is_file():
            wanted = applied_options(plan.options[run.arm.label]) | {"env": run.env, "seed": run.seed}
            if differing := differing_options(read_yaml(file), wanted):
                problems.append(
                    f"{out / run.folder} holds another run ({', '.join(differing)}): choose another --run-dir"
                )
    if problems:
        raise BadInput(join_problems(problems))


class Decisions(NamedTuple):
    """What is decided once, for all runs: left to each run it might differ between arms."""

    precision: str
    overlap: str
    threads: int


def earlier_decisions(out: Path) -> Decisions | None:
    """Those of an earlier start of the comparison in ``out``; None for a first one."""
    for file in sorted((out / "arms").glob("*.yaml")):
        options = read_yaml(file)
        if options.get("precision") in ("fp32", "bf16") and isinstance(options.get("threads"), int):
            return Decisions(options["precision"], options.get("overlap", "off"), options["threads"])
    return None


def decide(options: TrainConfig, threads: int) -> tuple[Decisions, str]:
    """Decide on this machine what ``auto`` comes to.

    Returns:
        The decisions, and the reason for the precision.

    Raises:
        BadInput: the environment or the device cannot be had.
    """
    streams = Streams(options.seed)
    with user_errors():
        device = resolve_device(options.device)
        set_threads(threads)
        env = train_build.build_env(options, "train_env", options.num_envs, streams, threads)
        try:
            start = dataclasses.replace(options, encoder_weights=None, freeze_encoder=False)
            encoder = train_build.build_networks(start, env, streams, device).network.encoder
            step = encoder_step(encoder, env.observation_shape, device)
            decision = decide_precision(options.precision, step, min(options.frames_per_update, 512), device)
            decided = train_build.decided(options, decision.precision, device, threads)
        finally:
            env.close()
    return Decisions(decision.precision, decided.overlap, threads), decision.reason


def replay_bytes(options: TrainConfig, threads: int) -> int:
    """The memory that the replay of a run takes once it is full; 0 where there is none in memory.

    Raises:
        BadInput: the environment or the replay cannot be had.
    """
    if options.agent != "r2d2" or options.replay_on_disk:
        return 0
    with user_errors():
        env = train_build.build_env(options, "train_env", options.num_envs, Streams(options.seed), threads)
        try:
            return train_build.replay_geometry(options, env).memory(None).total
        except ReplayError as error:
            raise BadInput(str(error)) from error
        finally:
            env.close()


def with_decisions(plan: Plan, decisions: Decisions) -> Plan:
    """The plan, every ``auto`` replaced."""
    new: dict[str, Any] = {"threads": decisions.threads}

    def replaced(options: TrainConfig) -> TrainConfig:
        overlap = {"overlap": decisions.overlap} if options.overlap == "auto" else {}
        precision = {"precision": decisions.precision} if options.precision == "auto" else {}
        return dataclasses.replace(options, **new | overlap | precision)

    return plan._replace(options={label: replaced(options) for label, options in plan.options.items()})
