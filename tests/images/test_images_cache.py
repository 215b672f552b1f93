"""The cache keeps to a limit: what was not used for longest goes first."""

import os
from pathlib import Path

from relic_rl.images.cache import limit_cache, mark_used


def write(folder: Path, size: int, used: float) -> Path:
    folder.mkdir(parents=True)
    (folder / "data").write_bytes(bytes(size))
    os.utime(folder / "data", (used, used))
    os.utime(folder, (used, used))
    return folder


def test_the_least_recently_used_goes_first(tmp_path):
    sets = [write(tmp_path / name, 100, used) for name, used in (("b", 20), ("a", 10), ("c", 30), ("d", 40))]
    (tmp_path / "file").touch()
    mark_used(sets[1])
    limit_cache(sets[3], limit=300)
    assert [folder.exists() for folder in sets] == [False, True, True, True]
    limit_cache(sets[3], limit=299)
    assert [folder.exists() for folder in sets] == [False, True, False, True]
    limit_cache(sets[3], limit=0)  # the newest stays
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "file"]
    assert (sets[3] / "data").stat().st_size == 100


def test_folders_that_are_being_filled_stay(tmp_path):
    newest = write(tmp_path / "new", 1, 50)
    filled, abandoned = write(tmp_path / ".x.1", 10, 1), write(tmp_path / ".x.2", 10, 1)
    os.utime(filled / "data")
    limit_cache(newest, limit=5)
    assert filled.exists()
    assert not abandoned.exists()
