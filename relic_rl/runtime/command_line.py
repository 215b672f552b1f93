"""Flags from an options dataclass, by tyro, with tyro's boxed errors boiled down to a line each."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import tyro

from relic_rl.runtime.config_file import nearest


class Flags(NamedTuple):
    """What a command line says."""

    values: dict[str, Any]  # of the options that were given
    problems: list[str]  # one line each


def parse_flags(cls: type, argv: Sequence[str], *, prog: str) -> Flags:
    """Parse ``argv`` into the fields of a dataclass.

    Args:
        cls: dataclass with defaults throughout and ``help`` in its fields' metadata.
        argv: arguments, without the program's name.
        prog: the program's name in ``--help``, which prints and raises SystemExit(0).
    """
    groups = _split(argv)
    names = {flag: _field_name(cls, flag) for flag, *_ in groups if flag}
    whole, _ = _tyro(cls, argv, prog)
    if whole is not None:
        return Flags({name: getattr(whole, name) for name in names.values() if name}, [])

    # tyro stops at the first error. Parsing flag by flag finds them all.
    values: dict[str, Any] = {}
    problems = []
    for flag, *rest in groups:
        name = names.get(flag)
        if not flag:
            problems.append(f"unexpected argument {rest[0]!r}: options start with --")
        elif name is None:
            spelled = [f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(cls)]
            problems.append(f"unknown option {flag}{nearest(flag, spelled)}")
        else:
            parsed, problem = _tyro(cls, [flag, *rest], prog)
            if parsed is None:
                problems.append(problem)
            else:
                values[name] = getattr(parsed, name)
    return Flags(values, problems)


def _split(argv: Sequence[str]) -> list[list[str]]:
    """Each flag with the values that follow it; what comes before the first flag follows an empty one."""
    groups: list[list[str]] = []
    for token in argv:
        if token.startswith("--"):
            flag, equals, value = token.partition("=")
            groups.append([flag, value] if equals else [flag])
        elif groups:
            groups[-1].append(token)
        else:
            groups.append(["", token])
    return groups


def _field_name(cls: type, flag: str) -> str | None:
    """The field that a flag sets, ``--no-NAME`` included; None if there is none."""
    name = flag.removeprefix("--").replace("-", "_")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    negated = name.removeprefix("no_")
    if name not in fields and negated in fields and isinstance(fields[negated].default, bool):
        return negated
    return name if name in fields else None


def _tyro(cls: type, argv: Sequence[str], prog: str) -> tuple[Any, str]:
    """The parsed instance; or None, and what is wrong in one line."""
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(cls, args=list(argv), prog=prog), ""
    except SystemExit as stop:
        if not stop.code:
            raise  # --help
        return None, _unbox(box.getvalue())


def _unbox(box: str) -> str:
    """The first paragraph of a boxed message, as one line."""
    lines = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]:
        content = line.strip("│|╰╯╭╮─+- \t")
        if content:
            lines.append(content)
        elif lines:  # a rule below the title comes first where the output is no terminal
            break
    text = re.sub(r" (?=[.,)])", "", " ".join(lines)).removeprefix("Error parsing ").rstrip(".")
    return text or "the command line cannot be understood: see --help"
