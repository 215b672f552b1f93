"""Fixtures of the image tests."""

from pathlib import Path

import pytest
from image_files import write_photographs


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of sound and broken files."""
    return write_photographs(tmp_path / "photos")
