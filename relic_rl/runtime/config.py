"""Options: one frozen dataclass per door, filled from its defaults, a preset or config file, and the command
line.

Each source overrides the one before it. A field is declared with `option`, which carries its help, its range
and when it applies. Everything is checked once, before work starts, and all that is wrong is told together.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from relic_rl.runtime.command_line import parse_flags
from relic_rl.runtime.config_file import find_config, nearest, preset_names, read_yaml
from relic_rl.runtime.errors import BadInput, join_problems

C = TypeVar("C")
Values = dict[str, Any]
Condition = Mapping[str, tuple[Any, ...]]
_LARGEST_INTEGER, _LARGEST_FLOAT = 2**63 - 1, 1e30  # beyond, torch and numpy raise whatever they like
_REPR = reprlib.Repr()  # bounded: a few aliases in YAML make a value whose whole text no memory holds
_REPR.maxlevel, _REPR.maxstring, _REPR.maxlong, _REPR.maxother = 2, 80, 80, 80


def option(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    when: Condition | tuple[Condition, ...] = (),
    saved: bool = True,
) -> Any:
    """A field of an options dataclass.

    Args:
        default: its value unless a preset, a file or the command line says otherwise.
        help: one line for ``--help``.
        min: least value allowed.
        max: greatest value allowed.
        above: the value must be greater than this.
        when: the option has an effect only where each named option has one of these values, or where this
            holds of one of several such conditions; elsewhere it keeps its default, giving it on the command
            line is an error, and ``config.yaml`` leaves it out. The named options must be declared before
            this one.
        saved: whether ``config.yaml`` records it. False for what says where a run is kept rather than what
            it does.
    """
    metadata = {
        "help": help,
        "min": min,
        "max": max,
        "above": above,
        "when": when if isinstance(when, tuple) else (when,),
        "saved": saved,
    }
    return dataclasses.field(default=default, metadata=metadata)


def parse_config(
    cls: type[C],
    argv: Sequence[str] | None = None,
    *,
    kind: str,
    prog: str | None = None,
    default_preset: Callable[[C], str | None] | None = None,
) -> C:
    """The options of a command: defaults < preset or config file < command line.

    A class may define ``problems(self) -> Iterable[str]`` for what no single field shows; it is asked last,
    when every field is sound by itself.

    Args:
        cls: frozen dataclass whose fields are declared with `option`; types bool, int, float, str, Literal,
            tuples ``tuple[T, ...]`` of these, and any of them with None.
        argv: arguments; None takes those of the process. ``--config FILE or PRESET`` is added to the options
            of ``cls``; ``--help`` prints them and raises SystemExit(0).
        kind: the door's name; its presets are ``configs/KIND/*.yaml``.
        prog: the command's name in ``--help``; None for the door's.
        default_preset: chooses the preset or file of a command without ``--config``, given the options as
            far as defaults and the command line say; None for no preset.

    Raises:
        BadInput: all that is wrong, in one line.
    """
    argv = sys.argv[1:] if argv is None else argv
    flags = parse_flags(with_config_option(cls, kind), argv, prog=prog or f"relic-rl {kind}")
    given = flags.values
    source = given.pop("config", None)
    problems = [*flags.problems, *_range_problems(cls, given, lambda name: f"--{name.replace('_', '-')}")]
    file_values: Values = {}
    try:
        if source is None and default_preset is not None and not problems:
            source = default_preset(dataclasses.replace(cls(), **given))  # type: ignore[type-var]
        if source is not None:
            file_values = load_config_file(cls, find_config(source, kind))
    except BadInput as error:
        problems.append(str(error))
    if problems:
        raise BadInput(join_problems(problems))

    config, unused = _settle(cls, file_values | given)
    problems = [f"--{name.replace('_', '-')} {why}" for name, why in unused.items() if name in given]
    if not problems and hasattr(config, "problems"):
        problems = list(config.problems())
    if problems:
        raise BadInput(join_problems(problems))
    return config


def with_config_option(cls: type[C], kind: str) -> type[C]:
    """``cls`` with the option ``--config`` in front."""
    names = ", ".join(preset_names(kind))
    help = "YAML file, such as a run's config.yaml" + (f", or a preset: {names}" if names else "")
    fields = [("config", str | None, option(None, help))]
    hints = typing.get_type_hints(cls)
    fields += [(f.name, hints[f.name], dataclasses.field(default=f.default, metadata=f.metadata)) for f in _fields(cls)]
    extended = dataclasses.make_dataclass(cls.__name__, fields, frozen=True)
    extended.__doc__ = cls.__doc__
    return extended


def load_config_file(cls: type[C], path: Path) -> Values:
    """The options that a YAML file sets, checked by themselves.

    Raises:
        BadInput: it cannot be read, or names unknown options, or gives values of a wrong type or out of
            range, or options that its own choices rule out; all of it in one line.
    """
    hints = typing.get_type_hints(cls)
    values: Values = {}
    problems = []
    for name, value in read_yaml(path).items():
        if name not in hints:
            problems.append(f"unknown option {name!r}{nearest(str(name), hints)}")
            continue
        try:
            values[name] = coerce(value, hints[name])
        except TypeError as error:
            problems.append(f"{name} is {_short(value)}: give {error}")
    problems += _range_problems(cls, values, str)
    if not problems:
        _, unused = _settle(cls, values)
        problems = [f"{name} {why}" for name, why in unused.items() if name in values]
    if problems:
        raise BadInput(join_problems([f"{path}: {problems[0]}", *problems[1:]]))
    return values


def dump_config(config: Any, command: str, notes: Sequence[str] = ()) -> str:
    """The options as YAML that `parse_config` takes back, every one that applies written out.

    Args:
        config: an instance of an options dataclass.
        command: what to run with this file; its first line, as a comment.
        notes: further comment lines, such as how ``--precision auto`` was decided.
    """
    applied = applied_options(config)
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in applied.items()}
    comments = "".join(f"# {' '.join(line.split())}\n" for line in (command, *notes))
    return comments + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def coerce(value: Any, annotation: Any) -> Any:  # noqa: PLR0911 (one return per type)
    """A value as read from YAML, if it is of the annotated type.

    An integer does for a float, and so does text such as ``1e-4``, which YAML 1.1 does not take for a number.
    Where several texts are wanted a block of ``NAME: VALUE`` does, each becoming ``NAME=VALUE``, as on the
    command line.

    Raises:
        TypeError: it is not; the message describes what is wanted.
    """
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        choices = typing.get_args(annotation)
        if value is None and type(None) in choices:
            return None
        (inner,) = (choice for choice in choices if choice is not type(None))
        try:
            return coerce(value, inner)
        except TypeError as error:
            raise TypeError(f"{error}, or null") from None
    if origin is Literal:
        choices = typing.get_args(annotation)
        if any(value == choice and type(value) is type(choice) for choice in choices):
            return value
        raise TypeError("one of " + ", ".join(map(str, choices)))
    if origin is tuple:
        return _coerce_tuple(value, typing.get_args(annotation)[0])
    if annotation is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str) and "e" in value.lower():
            try:
                return float(value)
            except ValueError:
                pass
        raise TypeError("a number")
    wanted = {bool: "true or false", int: "an integer", str: "text (in quotes, if it looks like a number)"}
    if type(value) is annotation:
        return value
    raise TypeError(wanted[annotation])


def _coerce_tuple(value: Any, element: Any) -> tuple[Any, ...]:
    """A list, or for texts a block, as a tuple of elements."""
    if isinstance(value, dict) and element is str:
        flow = {name: yaml.safe_dump(item, default_flow_style=True, width=1_000) for name, item in value.items()}
        return tuple(f"{name}={text.splitlines()[0]}" for name, text in flow.items())
    if not isinstance(value, list):
        raise TypeError("a list")
    return tuple(coerce(item, element) for item in value)


def options_without_effect(cls: type, values: Values) -> dict[str, str]:
    """Those of ``values`` that have no effect beside the others, each with the reason."""
    _, unused = _settle(cls, values)
    return {name: why for name, why in unused.items() if name in values}


def applied_options(config: Any) -> Values:
    """The options that apply, by name: what `dump_config` writes, without what says where a run is kept."""
    values = {f.name: getattr(config, f.name) for f in _fields(type(config))}
    _, unused = _settle(type(config), values)
    return {f.name: values[f.name] for f in _fields(type(config)) if f.metadata["saved"] and f.name not in unused}


def _range_problems(cls: type, values: Values, label: Callable[[str], str]) -> list[str]:
    """What is out of range among ``values``."""
    problems = []
    for field in _fields(cls):
        value = values.get(field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, str) and re.search("[\0\ud800-\udfff]", number):
                problems.append(f"{label(field.name)} holds bytes that are no text: give UTF-8 without NUL")
            elif isinstance(number, int | float) and not isinstance(number, bool):
                wanted = _wanted(number, field.metadata)
                problems += [f"{label(field.name)} is {_short(number)}: give {wanted}"] if wanted else []
    return problems


def _wanted(number: float, limits: Mapping[str, Any]) -> str:
    """What is allowed instead of ``number``; nothing if it is allowed itself."""
    above, least, most = limits["above"], limits["min"], limits["max"]
    largest = _LARGEST_INTEGER if isinstance(number, int) else _LARGEST_FLOAT
    if most is None and largest < number < math.inf:
        most = largest
    sound = (
        math.isfinite(number)
        and (above is None or number > above)
        and (least is None or number >= least)
        and (most is None or number <= most)
    )
    if sound:
        return ""
    bounds = [("above", above), ("at least", least), ("at most", most)]
    return "a number " + (" and ".join(f"{word} {b}" for word, b in bounds if b is not None) or "that is finite")


def _settle(cls: type[C], values: Values) -> tuple[C, dict[str, str]]:
    """The config, options without effect at their defaults; and these options, each with the reason."""
    settled = dict(values)
    defaults = {f.name: f.default for f in _fields(cls)}
    unused = {}
    for field in _fields(cls):
        failed = []  # of each condition the part that does not hold
        for condition in field.metadata["when"]:
            value = {selector: settled.get(selector, defaults[selector]) for selector in condition}
            failed.append([selector for selector, choices in condition.items() if value[selector] not in choices])
        if failed and all(failed):
            settled.pop(field.name, None)
            reasons = [
                _selected(names[0], condition[names[0]])
                for condition, names in zip(field.metadata["when"], failed, strict=True)
            ]
            reasons = list(dict.fromkeys(reasons))
            unused[field.name] = f"has no effect here: it belongs to {' or '.join(reasons)}"
    return cls(**settled), unused


def _selected(name: str, choices: tuple[Any, ...]) -> str:
    """In words: the option has one of these values."""
    flag = f"--{name.replace('_', '-')}"
    return f"commands without {flag}" if choices == ((),) else f"{flag} {', '.join(map(str, choices))}"


def _fields(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)


def _short(value: Any) -> str:
    text = _REPR.repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
