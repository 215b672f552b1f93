"""Replay on disk and its self-check; memory; bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from naive_replay import NaiveReplay, Stream

from agents.replay import ReplayError, ReplayGeometry, SequenceLayout, SequenceReplay
from agents.replay.memory import available_memory
from agents.replay.storage import checksum

LAYOUT = SequenceLayout(length=8, overlap=4, burn_in=4, n_step=3)
GEOMETRY = ReplayGeometry(2, (4, 5, 4), 2 * 60, 4, 6, LAYOUT)


def fill(replay: SequenceReplay, steps: int, stream: Stream | None = None, twin: NaiveReplay | None = None) -> Stream:
    stream = stream or Stream(replay.geometry, seed=0, mean_length=25)
    for _ in range(steps):
        step, action, state = stream.step()
        replay.add(step, action, torch.from_numpy(state))
        if twin is not None:
            twin.add(step, action, state, step.terminated)
    return stream


def batches(replay: SequenceReplay) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    drawn = [replay.sample(16, rng) for _ in range(3)]
    return [field for batch in drawn for field in batch]


@pytest.mark.parametrize("mapped", [False, True])
def test_saved_replay_goes_on_as_if_nothing_had_happened(tmp_path: Path, mapped: bool) -> None:
    """Saved in the middle of episodes: the next steps complete the same sequences."""
    one = SequenceReplay(GEOMETRY, directory=tmp_path / "r" if mapped else None)
    stream = fill(one, 100)
    batch = one.sample(8, np.random.default_rng(3))
    one.update_priorities(batch.sequence, torch.rand(8))
    one.save(tmp_path / "r")
    shutil.copytree(tmp_path / "r", tmp_path / "copy")
    two = SequenceReplay.load(tmp_path / "copy", GEOMETRY, mapped=mapped)
    assert two.summary() == one.summary()
    other = Stream(GEOMETRY, seed=0, mean_length=25)
    for _ in range(100):
        other.step()
    fill(one, 30, stream)
    fill(two, 30, other)
    assert two.summary() == one.summary()
    for a, b in zip(batches(one), batches(two), strict=True):
        assert torch.equal(a, b)


def test_replay_on_disk_survives_a_kill(tmp_path: Path) -> None:
    """Nothing was saved after the start; what was written is there, and open episodes end where it stops."""
    killed = SequenceReplay(GEOMETRY, directory=tmp_path)
    twin = NaiveReplay(GEOMETRY)
    stream = fill(killed, 150, twin=twin)
    found = SequenceReplay.load(tmp_path, GEOMETRY, mapped=True)
    assert found.summary() == killed.summary()
    with pytest.raises(ReplayError, match="first observation"):
        fill(found, 1, stream)
    stream.over[:] = True
    fill(found, 1, stream, twin)
    leaf = np.flatnonzero(found._sampler.tree.leaves)
    start, env = found._start(leaf)
    assert set(zip(env.tolist(), start.tolist(), strict=True)) == twin.alive(found.summary().oldest)
    found.self_check()


def rewind_and_compare(tmp_path: Path, before: int, after: int) -> tuple[SequenceReplay, SequenceReplay]:
    """A replay that was marked and killed later, led back; and one that never went on."""
    killed, kept = (SequenceReplay(GEOMETRY, directory=tmp_path / name) for name in ("killed", "kept"))
    streams = [fill(replay, before) for replay in (killed, kept)]
    for replay in (killed, kept):
        batch = replay.sample(8, np.random.default_rng(3))
        replay.update_priorities(batch.sequence, torch.linspace(0.1, 2.0, 8))
    killed.save(tmp_path / "killed")
    mark = killed.mark()
    fill(killed, after, streams[0])
    batch = killed.sample(8, np.random.default_rng(4))
    killed.update_priorities(batch.sequence, torch.full((8,), 9.0))
    found = SequenceReplay.load(tmp_path / "killed", GEOMETRY, mapped=True)
    assert found.position == before + after
    found.rewind(mark)
    found.self_check()
    again = Stream(GEOMETRY, seed=0, mean_length=25)
    for _ in range(before):
        again.step()
    fill(found, 1, again)
    fill(kept, 1, streams[1])
    return found, kept


def test_rewound_replay_goes_on_as_if_it_had_never_been_further(tmp_path: Path) -> None:
    found, kept = rewind_and_compare(tmp_path, before=30, after=25)
    assert found.summary() == kept.summary()
    for a, b in zip(batches(found), batches(kept), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("after", [10, 45, 200])
def test_rewinding_over_overwritten_rows_loses_these_only(tmp_path: Path, after: int) -> None:
    found, kept = rewind_and_compare(tmp_path, before=100, after=after)
    assert found.position == kept.position == 101
    assert found.summary().oldest == max(kept.summary().oldest, min(100 + after - GEOMETRY.rows, 100))
    alive = [set(np.flatnonzero(replay._sampler.tree.leaves).tolist()) for replay in (found, kept)]
    assert alive[0] <= alive[1]
    start, _ = kept._start(np.array(sorted(alive[1] - alive[0]), dtype=np.int64))
    assert (start < found._horizon()).all()


def test_a_replay_that_never_came_that_far_is_refused(tmp_path: Path) -> None:
    ahead, behind = SequenceReplay(GEOMETRY, directory=tmp_path / "a"), SequenceReplay(GEOMETRY)
    fill(ahead, 20)
    fill(behind, 10)
    with pytest.raises(ReplayError, match="holds 10 vector steps, fewer than the checkpoint's 20"):
        behind.rewind(ahead.mark())


def test_half_written_slot_does_no_harm(tmp_path: Path) -> None:
    """A process killed while it wrote a row has damaged only the row that was to be overwritten."""
    killed = SequenceReplay(GEOMETRY, directory=tmp_path)
    fill(killed, 150)
    frames = np.zeros((2, GEOMETRY.frame_bytes), dtype=np.uint8)
    killed._storage.make_room(frames)
    killed._storage._frames.write(killed.position, frames)
    found = SequenceReplay.load(tmp_path, GEOMETRY, mapped=True)
    assert found.summary().oldest == 150 + 1 - GEOMETRY.rows


DAMAGES = {
    "frames": lambda a: a.__setitem__((7, 1, 3), a[7, 1, 3] ^ 1),
    "reward": lambda a: a.__setitem__((7, 1), a[7, 1] + 1),
    "action": lambda a: a.__setitem__((7, 1), a[7, 1] + 1),
    "flags": lambda a: a.__setitem__((7, 1), a[7, 1] ^ 1),
    "age": lambda a: a.__setitem__((7, 1), a[7, 1] + 4),
    "checksum": lambda a: a.__setitem__((7, 1), 0),
    "state": lambda a: a.__setitem__(..., a + 1),
    "priority": lambda a: a.__setitem__(np.flatnonzero(a)[0], np.nan),
    "window": lambda a: a.__setitem__(0, 10_000),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(tmp_path: Path, name: str) -> None:
    replay = SequenceReplay(GEOMETRY)
    fill(replay, 150)
    replay.save(tmp_path / "r")
    path = tmp_path / "r" / f"{name}.npy"
    array = np.load(path)
    DAMAGES[name](array)
    np.save(path, array)
    with pytest.raises(ReplayError, match=r"is damaged.*delete") as error:
        SequenceReplay.load(tmp_path / "r", GEOMETRY, mapped=False)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("how", ["lost", "moved", "changed"])
def test_wrong_sequences_are_found(tmp_path: Path, how: str) -> None:
    replay = SequenceReplay(GEOMETRY)
    fill(replay, 150)
    replay.save(tmp_path / "r")
    path = tmp_path / "r" / "priority.npy"
    leaves = np.load(path)
    leaf = np.flatnonzero(leaves)[-1]
    if how == "changed":
        leaves[leaf] *= 2
    else:
        leaves[leaf + 2 * (how == "moved")], leaves[leaf] = leaves[leaf], 0
        if how == "lost":
            leaves[leaf] = 0
    np.save(path, leaves)
    with pytest.raises(ReplayError, match=r"was saved with|begins where none can"):
        SequenceReplay.load(tmp_path / "r", GEOMETRY, mapped=False)


def test_damaged_compressed_frames_are_found(tmp_path: Path) -> None:
    geometry = ReplayGeometry(2, (4, 5, 4), 2 * 60, 4, 6, LAYOUT, compressed_bytes=GEOMETRY.least_compressed_bytes)
    replay = SequenceReplay(geometry)
    fill(replay, 150)
    replay.save(tmp_path / "r")
    path = tmp_path / "r" / "ring.npy"
    ring = np.load(path)
    np.save(path, ring ^ 255)
    with pytest.raises(ReplayError, match=r"is damaged.*delete"):
        SequenceReplay.load(tmp_path / "r", geometry, mapped=False)


def test_files_missing_truncated_or_of_another_replay(tmp_path: Path) -> None:
    home = tmp_path / "r"
    with pytest.raises(ReplayError, match="no replay in"):
        SequenceReplay.load(home, GEOMETRY, mapped=False)
    replay = SequenceReplay(GEOMETRY)
    fill(replay, 20)
    replay.save(home)
    other = ReplayGeometry(2, (4, 5, 4), 2 * 80, 4, 6, LAYOUT)
    with pytest.raises(ReplayError, match=r"was made with capacity 120 \(now 160\)"):
        SequenceReplay.load(home, other, mapped=False)
    content = json.loads((home / "replay.json").read_text())
    (home / "replay.json").write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(ReplayError, match="format 99"):
        SequenceReplay.load(home, GEOMETRY, mapped=False)
    (home / "replay.json").write_text("{")
    with pytest.raises(ReplayError, match="is damaged"):
        SequenceReplay.load(home, GEOMETRY, mapped=False)
    (home / "replay.json").write_text(json.dumps(content))
    data = (home / "frames.npy").read_bytes()
    (home / "frames.npy").write_bytes(data[:-10])
    for mapped in (False, True):
        with pytest.raises(ReplayError, match="cannot be read"):
            SequenceReplay.load(home, GEOMETRY, mapped=mapped)
    (home / "frames.npy").unlink()
    with pytest.raises(ReplayError, match="cannot be read"):
        SequenceReplay.load(home, GEOMETRY, mapped=False)


def test_save_that_fails_keeps_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = SequenceReplay(GEOMETRY)
    stream = fill(replay, 60)
    replay.save(tmp_path / "r")
    summary = replay.summary()
    fill(replay, 10, stream)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agents.replay.persistence.save_arrays", full)
    with pytest.raises(OSError, match="No space"):
        replay.save(tmp_path / "r")
    assert SequenceReplay.load(tmp_path / "r", GEOMETRY, mapped=False).summary() == summary
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


def test_checksum_sees_every_byte_and_every_swap() -> None:
    for width in (1, 6, 12, 24):
        data = np.random.default_rng(0).integers(0, 256, (1, width), dtype=np.uint8)
        seen = {int(checksum(data)[0])}
        for k in range(width):
            other = data.copy()
            other[0, k] ^= 1
            seen.add(int(checksum(other)[0]))
        assert len(seen) == width + 1
    words = np.arange(1, 9, dtype=np.uint64)[None]
    assert checksum(words) != checksum(words[:, ::-1].copy())
    assert checksum(np.zeros((1, 16), dtype=np.uint8)) == 0


def test_memory_is_exact_and_a_frame_counts_once() -> None:
    geometry = ReplayGeometry(4, (4, 84, 84), 4000, 4, 512)
    memory = geometry.memory()
    replay = SequenceReplay(geometry)
    arrays = [*replay._arrays.values(), *replay._sampler.tree._levels[1:]]
    assert memory.total == sum(array.nbytes for array in arrays)
    assert memory.frames == memory.rows * 84 * 84
    assert memory.total / memory.rows < 7100 + 160  # the small fields: an LSTM state every 40 rows is 103 bytes
    assert f"{memory.total:,} bytes" in str(memory)
    assert f"{memory.rows:,} observations" in str(memory)


def test_memory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    huge = ReplayGeometry(4, (4, 84, 84), 10**12, 4, 512)
    with pytest.raises(ReplayError, match=r"needs .* GiB of memory, .* lower"):
        SequenceReplay(huge)
    wide = ReplayGeometry(4, (4, 8400, 8400), 10**7, 4, 0)  # few rows: only the disk is too small
    with pytest.raises(ReplayError, match=r"GiB are free: lower"):
        SequenceReplay(wide, directory=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_container_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    assert available_memory(tmp_path) == 5000 * 1024
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("100\n")
    assert available_memory(tmp_path) == 5000 * 1024
    (group / "memory.max").write_text("300000\n")
    assert available_memory(tmp_path) == 299_900


def test_bad_geometry_is_refused() -> None:
    with pytest.raises(ReplayError, match="overlap"):
        SequenceLayout(length=4, overlap=4)
    with pytest.raises(ReplayError, match="n of at least 1"):
        SequenceLayout(n_step=0)
    with pytest.raises(ReplayError, match="no stack of 4"):
        ReplayGeometry(2, (3, 5, 4), 1000, 4, 6, LAYOUT)
    with pytest.raises(ReplayError, match="capacity of at least 44"):
        ReplayGeometry(2, (4, 5, 4), 30, 4, 6, LAYOUT)
    ReplayGeometry(2, (4, 5, 4), 44, 4, 6, LAYOUT)
    with pytest.raises(ReplayError, match="at least 920"):
        ReplayGeometry(2, (4, 5, 4), 44, 4, 6, LAYOUT, compressed_bytes=919)


def test_bad_steps_are_refused() -> None:
    replay = SequenceReplay(GEOMETRY)
    stream = Stream(GEOMETRY, seed=0, mean_length=5)
    step, action, state = stream.step()
    state = torch.from_numpy(state)
    with pytest.raises(ReplayError, match="uint8"):
        replay.add(step._replace(observation=step.observation[:, :2]), action, state)
    with pytest.raises(ReplayError, match="marked as invented"):
        replay.add(step._replace(invented=np.zeros(2, dtype=bool)), action, state)
    with pytest.raises(ReplayError, match="states of 6 units"):
        replay.add(step, action, None)
    unrepeated = step.observation.copy()
    unrepeated[0, 0] += 1
    with pytest.raises(ReplayError, match="not one frame repeated"):
        replay.add(step._replace(observation=unrepeated), action, state)
    replay.add(step._replace(terminated=np.ones(2, dtype=bool)), action, state)
    with pytest.raises(ReplayError, match="after an episode's end"):
        replay.add(step._replace(invented=np.zeros(2, dtype=bool)), action, state)


def test_smallest_replay_always_has_a_sequence() -> None:
    """The least capacity that is accepted still holds a sequence at any time, in long episodes."""
    replay = SequenceReplay(ReplayGeometry(2, (4, 5, 4), 44, 4, 6, LAYOUT))
    stream = Stream(replay.geometry, seed=0, mean_length=1e9)
    for t in range(200):
        fill(replay, 1, stream)
        if t > LAYOUT.length + LAYOUT.n_step:
            replay.sample(2, np.random.default_rng(0))


def test_replay_without_lstm_states(tmp_path: Path) -> None:
    replay = SequenceReplay(ReplayGeometry(2, (4, 5, 4), 2 * 60, 4, 0, LAYOUT))
    stream = Stream(replay.geometry, seed=0, mean_length=25)
    for _ in range(100):
        step, action, _ = stream.step()
        replay.add(step, action, None)
    replay.save(tmp_path / "r")
    found = SequenceReplay.load(tmp_path / "r", replay.geometry, mapped=False)
    assert found.sample(3, np.random.default_rng(0)).state.shape == (2, 3, 0)
