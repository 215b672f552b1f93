"""Checkpoints: whole, verified, kept and found again."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from relic_rl.runtime.checkpoint import (
    BEST,
    CheckpointError,
    checkpoint_path,
    list_checkpoints,
    load_checkpoint,
    load_latest,
    save_checkpoint,
    to_plain,
)
from relic_rl.runtime.errors import BadInput


class Pair(NamedTuple):
    a: int
    b: float


STATE: dict[str, Any] = {
    "weights": {"w": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3, dtype=torch.bfloat16)},
    "list": [1, 2.5, True, None, "text", b"bytes", (3, "x")],
    7: {"nested": {"deep": torch.tensor(5)}},
    "big": 2**127 + 1,
    "negative": -(2**70),
    "nan": float("inf"),
}


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def names(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "new" / "checkpoints", 12, STATE)
    assert path == checkpoint_path(tmp_path / "new" / "checkpoints", 12)
    assert_same(load_checkpoint(path), STATE)
    latest = load_latest(path.parent)
    assert latest is not None
    assert (latest.path, latest.notes) == (path, [])


def test_training_state_round_trips(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    rng = np.random.default_rng(3)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng.bit_generator.state}
    path = save_checkpoint(tmp_path, 0, state)
    expected = rng.random(4)

    loaded = load_checkpoint(path)
    other = np.random.default_rng(9)
    other.bit_generator.state = loaded["rng"]
    assert np.array_equal(other.random(4), expected)
    twin = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    twin.load_state_dict(loaded["model"])
    twin_optimizer = torch.optim.Adam(twin.parameters())
    twin_optimizer.load_state_dict(loaded["optimizer"])
    for m, o in ((model, optimizer), (twin, twin_optimizer)):
        o.zero_grad()
        m(torch.ones(5, 3)).square().sum().backward()
        o.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_to_plain() -> None:
    value = {
        np.int64(3): np.float32(0.5),
        "array": np.arange(3, dtype=np.uint8),
        "pair": Pair(1, 2.0),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "bool": np.bool_(True),
    }
    plain = to_plain(value)
    assert_same(
        plain,
        {
            3: 0.5,
            "array": torch.arange(3, dtype=torch.uint8),
            "pair": (1, 2.0),
            "parameter": torch.ones(2),
            "bool": True,
        },
    )
    assert type(plain["parameter"]) is torch.Tensor
    assert not plain["parameter"].requires_grad


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\] is a Random"):
        save_checkpoint(tmp_path, 0, {"a": [1, random.Random()]})
    assert names(tmp_path) == []


def test_a_view_does_not_drag_its_storage_along(tmp_path: Path) -> None:
    whole = torch.arange(1_000_000.0)
    path = save_checkpoint(tmp_path, 0, {"view": whole[10:20]})
    assert path.stat().st_size < 10_000
    assert torch.equal(load_checkpoint(path)["view"], whole[10:20])


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    for step in (0, 5, 10, 90, 100, 2000):
        save_checkpoint(tmp_path, step, {"step": step}, keep_last=3, is_best=step in (0, 5))
        assert len(list_checkpoints(tmp_path)) <= 3
    assert [load_checkpoint(p)["step"] for p in list_checkpoints(tmp_path)] == [2000, 100, 90]
    assert load_checkpoint(tmp_path / BEST)["step"] == 5
    assert len(names(tmp_path)) == 4


def test_the_best_takes_no_more_space_while_its_step_stays(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, STATE, is_best=True)
    assert path.samefile(tmp_path / BEST)


def test_the_best_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    save_checkpoint(tmp_path, 1, {"step": 1}, is_best=True)
    save_checkpoint(tmp_path, 2, {"step": 2}, is_best=True)
    assert load_checkpoint(tmp_path / BEST)["step"] == 2
    assert not any(".tmp" in name for name in names(tmp_path))


def test_an_earlier_resume_replaces_the_later_course(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step})
    save_checkpoint(tmp_path, 2, {"step": "again"}, keep_last=1)
    assert [load_checkpoint(p)["step"] for p in list_checkpoints(tmp_path)] == ["again"]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_newest_is_told_and_passed_over(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, {"step": step})
    damage(checkpoint_path(tmp_path, 3))
    latest = load_latest(tmp_path)
    assert latest is not None
    assert latest.state == {"step": 2}
    (note,) = latest.notes
    assert "step-000000000003.ckpt" in note
    assert "damaged" in note
    assert "used step-000000000002.ckpt instead" in note
    # the run that goes on from there outlives the damaged one, whatever is kept
    save_checkpoint(tmp_path, 2, {"step": 2}, keep_last=1)
    latest = load_latest(tmp_path)
    assert latest is not None
    assert latest.notes == []


def test_the_best_is_the_last_resort(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, {"step": 1}, is_best=True)
    save_checkpoint(tmp_path, 2, {"step": 2}, keep_last=1)
    damage(checkpoint_path(tmp_path, 2))
    latest = load_latest(tmp_path)
    assert latest is not None
    assert latest.path.name == BEST
    damage(tmp_path / BEST)
    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        load_latest(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "missing") is None
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(tmp_path / "missing.ckpt")
    with pytest.raises(CheckpointError, match="directory"):
        load_checkpoint(tmp_path)
    assert issubclass(CheckpointError, BadInput)  # exit code 2


def test_a_thousand_corruptions_are_all_detected(tmp_path: Path) -> None:
    rng = random.Random(0)
    sound = save_checkpoint(tmp_path, 0, STATE).read_bytes()
    path = tmp_path / "corrupt.ckpt"
    header = 22 + 8 + 32
    detected = 0
    for trial in range(1_000):
        data = bytearray(sound)
        kind = trial % 6
        if kind == 0:  # bit flip anywhere
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == 1:  # bit flip in the header
            data[rng.randrange(header)] ^= 1 << rng.randrange(8)
        elif kind == 2:  # truncation
            del data[rng.randrange(len(data)) :]
        elif kind == 3:  # a garbled stretch
            start = rng.randrange(len(data) - 16)
            data[start : start + 16] = rng.randbytes(16)
        elif kind == 4:  # something appended or lost inside
            position = rng.randrange(len(data))
            if rng.random() < 0.5:
                data[position:position] = rng.randbytes(rng.randrange(1, 50))
            else:
                del data[position : position + rng.randrange(1, 50)]
        else:  # a stretch of zeros, as a crash leaves, or nothing but garbage
            data = bytearray(len(sound)) if rng.random() < 0.5 else bytearray(rng.randbytes(len(sound)))
        assert bytes(data) != sound
        path.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(path)
        assert "\n" not in str(caught.value)
        detected += 1
    print(f"{detected} of 1,000 corruptions detected")  # pytest -rP shows it
    assert detected == 1_000


def test_a_payload_with_a_right_hash_that_is_no_state(tmp_path: Path) -> None:
    import hashlib
    import io
    import pickle

    from relic_rl.runtime.checkpoint import MAGIC

    tensor, code = io.BytesIO(), io.BytesIO()
    torch.save(torch.ones(2), tensor)
    torch.save({"code": random.Random()}, code)  # unpickling it would call something
    path = tmp_path / "x.ckpt"
    for payload in (b"", b"garbage", pickle.dumps(Pair(1, 2), protocol=2), tensor.getvalue(), code.getvalue()):
        path.write_bytes(MAGIC + len(payload).to_bytes(8, "big") + hashlib.sha256(payload).digest() + payload)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


def test_a_full_disk_leaves_the_earlier_ones(small_disk: Path) -> None:
    save_checkpoint(small_disk, 1, {"x": torch.zeros(10_000)}, is_best=True)
    with pytest.raises(OSError, match="No space left") as caught:
        save_checkpoint(small_disk, 2, {"x": torch.zeros(100_000)})
    assert str(caught.value.filename).endswith("step-000000000002.ckpt")
    assert names(small_disk) == [BEST, "step-000000000001.ckpt"]
    assert torch.equal(load_checkpoint(small_disk / BEST)["x"], torch.zeros(10_000))


def test_a_read_only_disk(read_only_disk: Path) -> None:
    with pytest.raises(OSError, match="Read-only"):
        save_checkpoint(read_only_disk / "checkpoints", 1, {})


KILLED = """
import sys, pathlib, torch
from relic_rl.runtime.checkpoint import save_checkpoint
for step in range(10**6):
    save_checkpoint(pathlib.Path(sys.argv[1]), step, {"step": step, "x": torch.full((250_000,), float(step))})
    print(step, flush=True)
"""


def test_a_killed_writer_leaves_sound_checkpoints(tmp_path: Path, script: Any) -> None:
    rng = random.Random(1)
    for attempt in range(2):
        directory = tmp_path / str(attempt)
        running = script(KILLED, str(directory))
        while int(running.wait_for_line()) < 3:
            pass
        time.sleep(rng.uniform(0, 0.03))
        running.process.send_signal(signal.SIGKILL)
        running.finish()
        latest = load_latest(directory)
        assert latest is not None
        assert latest.notes == []
        assert latest.state["step"] >= 3
        assert torch.equal(latest.state["x"], torch.full((250_000,), float(latest.state["step"])))


def test_fifty_megabytes_are_fast(tmp_path: Path) -> None:
    state = {str(i): torch.randn(1_250_000) for i in range(10)}
    start = time.process_time()
    load_checkpoint(save_checkpoint(tmp_path, 0, state))
    assert time.process_time() - start < 3
