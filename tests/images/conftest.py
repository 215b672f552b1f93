"""Fixtures of the image tests."""

from pathlib import Path

import pytest
from image_files import write_photographs


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's cache, nor another test's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "relic_rl"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of sound and broken files."""
    return write_photographs(tmp_path / "photos")
