"""Videos."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from relic_rl.runtime import video
from relic_rl.runtime.video import write_video


def moving_bar(height: int, width: int, *, color: bool = False) -> np.ndarray:
    """a bright column that moves one pixel per frame, the upper third grey: uint8 [20, H, W] or [20, H, W, 3]."""
    frames = np.zeros((20, height, width), dtype=np.uint8)
    frames[:, : height // 3] = 100
    for t in range(20):
        frames[t, :, t : t + 4] = 255
    return np.repeat(frames[..., None], 3, axis=3) if color else frames


@pytest.mark.skipif(not video.has_ffmpeg(), reason="no ffmpeg here")
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize(("height", "width"), [(84, 84), (210, 160), (33, 35)])
def test_mp4(tmp_path: Path, height: int, width: int, color: bool) -> None:
    frames = moving_bar(height, width, color=color)
    path = write_video(tmp_path / "game.avi", frames, fps=15, scale=2)
    assert path == tmp_path / "game.mp4"
    assert [p.name for p in tmp_path.iterdir()] == ["game.mp4"]
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    assert meta["fps"] == 15
    assert meta["size"] == (2 * width, 2 * height)
    shown = [np.frombuffer(f, np.uint8).reshape(2 * height, 2 * width, 3) for f in reader]
    assert len(shown) == 20
    for t, frame in enumerate(shown):
        expected = np.repeat(np.repeat(frames[t] if color else frames[t][..., None], 2, axis=0), 2, axis=1)
        assert np.abs(frame.astype(int) - expected).mean() < 8


def test_odd_sizes_are_padded(tmp_path: Path) -> None:
    if not video.has_ffmpeg():
        pytest.skip("no ffmpeg here")
    path = write_video(tmp_path / "odd.mp4", moving_bar(33, 35), fps=10)
    assert next(imageio_ffmpeg.read_frames(str(path)))["size"] == (36, 34)


@pytest.mark.parametrize("color", [False, True])
def test_gif_without_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, color: bool) -> None:
    def missing() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    path = write_video(tmp_path / "game.mp4", moving_bar(40, 50, color=color), fps=25, scale=3)
    assert path == tmp_path / "game.gif"
    with Image.open(path) as image:
        assert (image.format, image.size, image.n_frames) == ("GIF", (150, 120), 20)
        assert image.info["duration"] == 40


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 8, 8), np.uint8),
        np.zeros((8, 8), np.uint8),
        np.zeros((2, 8, 8), np.float32),
        np.zeros((2, 8, 8, 4), np.uint8),
    ],
)
def test_frames_of_another_kind(tmp_path: Path, frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"give uint8 \[T, H, W\]"):
        write_video(tmp_path / "x.mp4", frames, fps=10)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(small_disk: Path) -> None:
    frames = np.random.default_rng(0).integers(256, size=(100, 84, 84), dtype=np.uint8)
    with pytest.raises(OSError, match="No space left on device"):
        write_video(small_disk / "x.mp4", frames, fps=10, scale=4)
    assert list(small_disk.iterdir()) == []


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file or directory"):
        write_video(tmp_path / "missing" / "x.mp4", moving_bar(8, 8), fps=10)
