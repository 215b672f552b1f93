"""Videos of games: MP4 through the ffmpeg that comes with imageio-ffmpeg, else an animated GIF."""

from __future__ import annotations

import contextlib
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt


def write_video(path: Path, frames: npt.NDArray[np.uint8], *, fps: float, scale: int = 1) -> Path:
    """Write frames as a video, whole or not at all.

    Args:
        path: its suffix is replaced by the format's.
        frames: uint8 [T, H, W] grey, or [T, H, W, 3] RGB; T at least 1.
        fps: frames per second.
        scale: every pixel becomes scale x scale pixels.

    Returns:
        The file written: ``.mp4``, or ``.gif`` where there is no ffmpeg for this platform.

    Raises:
        ValueError: frames of another shape or dtype.
        OSError: disk full or unwritable.
    """
    if (
        frames.dtype != np.uint8
        or frames.ndim not in (3, 4)
        or len(frames) == 0
        or frames.shape[3:] not in ((), (3,))
    ):
        raise ValueError(
            f"frames are {frames.dtype} {list(frames.shape)}: give uint8 [T, H, W] or [T, H, W, 3]"
        )
    frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    path = path.with_suffix(".mp4" if has_ffmpeg() else ".gif")
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")  # the suffix tells the writers the format
    try:
        (_write_mp4 if path.suffix == ".mp4" else _write_gif)(temporary, frames, fps)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return path


def has_ffmpeg() -> bool:
    """Whether imageio-ffmpeg brings, or finds, an ffmpeg."""
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        return False
    return True


def _write_mp4(path: Path, frames: npt.NDArray[np.uint8], fps: float) -> None:
    height, width = frames.shape[1:3]
    # Players want yuv420p, which needs even sides: repeat the last row or column.
    padding = [(0, 0), (0, height % 2), (0, width % 2), (0, 0)][: frames.ndim]
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (width + width % 2, height + height % 2),
        pix_fmt_in="gray" if frames.ndim == 3 else "rgb24",
        fps=fps,
        macro_block_size=1,
        ffmpeg_log_level="error",
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(np.ascontiguousarray(np.pad(frame, padding[1:], mode="edge")))
    finally:
        writer.close()
    if not path.exists() or path.stat().st_size == 0:
        raise OSError(f"ffmpeg wrote no video at {path}: is the disk full?")


def _write_gif(path: Path, frames: npt.NDArray[np.uint8], fps: float) -> None:
    from PIL import Image  # noqa: PLC0415 (comes with matplotlib; needed without ffmpeg only)

    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=max(20, round(1_000 / fps)), loop=0)
