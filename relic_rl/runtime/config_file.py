"""YAML files of options, and the presets that ship with the package."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from relic_rl.runtime.errors import BadInput

_PACKAGE = Path(__file__).resolve().parents[1]
_MAX_BYTES = 1 << 16  # the parser is slow, and /dev/zero has no end


def preset_folder(kind: str) -> Path:
    """Where the presets of a door lie: inside the installed package, or at the root of a checkout."""
    installed = _PACKAGE / "configs"
    return (installed if installed.is_dir() else _PACKAGE.parent / "configs") / kind


def preset_names(kind: str) -> list[str]:
    """The shipped presets of a door, sorted."""
    return sorted(path.stem for path in preset_folder(kind).glob("*.yaml"))


def find_config(source: str, kind: str) -> Path:
    """The file that ``--config SOURCE`` means: a shipped preset's bare name, or a path.

    Raises:
        BadInput: neither a preset nor a file.
    """
    names = preset_names(kind)
    if source in names:
        return preset_folder(kind) / f"{source}.yaml"
    path = Path(source)
    if path.is_dir():
        inside = path / "config.yaml"
        hint = f": give {inside}" if inside.is_file() else ""
        raise BadInput(f"--config {source} is a directory{hint}")
    if path.exists():
        return path
    if path.name == source and not path.suffix:
        known = f"the presets are {', '.join(names)}" if names else "no presets ship here"
        raise BadInput(f"--config {source}: no such preset or file; {known}")
    raise BadInput(f"--config {source}: no such file")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; a file of nothing but comments is an empty one.

    Raises:
        BadInput: unreadable, too large, not YAML, not a mapping, or a key is given twice (YAML keeps the last without a
            word).
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise BadInput(f"{path} is no file of options: it has more than {_MAX_BYTES // 1024} KiB")
        text = data.decode()
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark else ""
        raise BadInput(f"{path} is not YAML{where}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not isinstance(node, yaml.MappingNode):
        raise BadInput(f"{path} holds no options: write one per line, NAME: VALUE")
    keys = [key.value for key, _ in node.value]
    twice = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    if twice:
        raise BadInput(f"{path} sets {', '.join(map(str, twice))} twice: keep one")
    return content


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean NAME?`` for the nearest known name, or nothing if none is near."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {match[0]}?" if match else ""
