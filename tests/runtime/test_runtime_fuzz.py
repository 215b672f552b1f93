"""Whatever is put into a configuration or a checkpoint file: it is read, or refused in one line."""

import contextlib
import dataclasses
import hashlib
import io
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relic_rl.runtime.checkpoint import MAGIC, CheckpointError, load_checkpoint, save_checkpoint
from relic_rl.runtime.config import dump_config, parse_config
from relic_rl.runtime.errors import MAX_LINE, PREFIX, BadInput
from relic_rl.train_options import TrainConfig

NAMES = [field.name for field in dataclasses.fields(TrainConfig)]
HINTS = typing.get_type_hints(TrainConfig)
fuzz = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck), derandomize=True)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.dates()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
names = st.sampled_from(NAMES) | st.text(max_size=20)
tokens = st.one_of(
    names.map(lambda name: f"--{name.replace('_', '-')}"),
    names.map(lambda name: f"--no-{name}"),
    scalars.map(str),
    st.text(max_size=20),
    st.sampled_from(["--", "-", "--config", "=", "--seed=", "nan", "1e400", "\x1b[2J", "\udcff"]),
).filter(lambda token: token not in ("-h", "--help"))


def refused_or_read(argv: list[str]) -> TrainConfig | None:
    """The options; or None, if they were refused as they should be."""
    try:
        return parse_config(TrainConfig, argv, kind="train")
    except BadInput as error:
        line = PREFIX + str(error)
        assert "\n" not in line
        assert line.isprintable()
        assert 0 < len(line.encode()) <= MAX_LINE < 400
        return None


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@fuzz
@given(st.lists(tokens, max_size=6))
@example(["--config", "\udcff"])
def test_any_command_line(argv: list[str]) -> None:
    refused_or_read(argv)


@fuzz
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
def test_any_file(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.yaml", content)
    refused_or_read(["--config", str(path)])


@fuzz
@given(options=st.dictionaries(names, values, max_size=5))
def test_any_yaml(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.yaml", yaml.safe_dump(options).encode())
    config = refused_or_read(["--config", str(path)])
    if config is not None:
        for name, value in options.items():
            assert isinstance(value, typing.get_args(HINTS[name]) or HINTS[name]) or value == getattr(config, name)


def sound_value(field: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """Values of a field's type, in its range as a rule."""
    choices = typing.get_args(HINTS[field.name])
    limits = field.metadata
    low, high = limits["min"], limits["max"]
    if typing.get_origin(HINTS[field.name]) is typing.Literal:
        return st.sampled_from(choices)
    if bool in (HINTS[field.name], *choices):
        return st.booleans()
    if int in (HINTS[field.name], *choices):
        return st.integers(low, 10**6 if high is None else int(high))
    if float in (HINTS[field.name], *choices):
        return st.floats(limits["above"] if low is None else low, high, exclude_min=low is None, allow_infinity=False)
    return st.text(max_size=10)


@fuzz
@given(options=st.fixed_dictionaries({}, optional={f.name: sound_value(f) for f in dataclasses.fields(TrainConfig)}))
def test_what_is_written_reads_the_same(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    write(path, yaml.safe_dump(options).encode())
    config = refused_or_read(["--config", str(path)])
    if config is not None:
        text = dump_config(config, "command")
        write(path, text.encode())
        again = refused_or_read(["--config", str(path)])
        assert again is not None
        assert dump_config(again, "command") == text


SOUND = {"weights": torch.arange(6.0), "list": [1, 2.5, None, "text"], 3: {"deep": torch.tensor(5)}}


@fuzz
@given(
    position=st.integers(min_value=0),
    removed=st.integers(min_value=0, max_value=40),
    inserted=st.binary(max_size=40),
)
def test_any_damage_to_a_checkpoint(
    position: int, removed: int, inserted: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.getbasetemp()
    sound = save_checkpoint(home / "sound", 0, SOUND).read_bytes()
    at = position % len(sound)
    damaged = sound[:at] + inserted + sound[at + removed :]
    if damaged != sound:
        with pytest.raises(CheckpointError):
            load_checkpoint(write(home / "damaged.ckpt", damaged))


def pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


PLAIN = pickled(SOUND)


@fuzz
@given(
    payload=st.binary(max_size=300)
    | st.tuples(st.integers(min_value=0, max_value=len(PLAIN) - 1), st.binary(min_size=1, max_size=8)).map(
        lambda change: PLAIN[: change[0]] + change[1] + PLAIN[change[0] + len(change[1]) :]
    )
    | values.map(pickled)
)
def test_any_payload_with_a_right_hash(payload: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Somebody who can compute a hash: torch's own reader stands between him and the program."""
    header = MAGIC + len(payload).to_bytes(8, "big") + hashlib.sha256(payload).digest()
    path = write(tmp_path_factory.getbasetemp() / "any.ckpt", header + payload)
    with contextlib.suppress(CheckpointError):
        assert isinstance(load_checkpoint(path), dict)
