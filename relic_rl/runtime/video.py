"""Videos of games: MP4 through the ffmpeg that comes with imageio-ffmpeg, else an animated GIF."""

from __future__ import annotations

import contextlib
import subprocess
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
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or len(frames) == 0 or frames.shape[3:] not in ((), (3,)):
        raise ValueError(f"frames are {frames.dtype} {list(frames.shape)}: give uint8 [T, H, W] or [T, H, W, 3]")
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
    # Called directly: imageio-ffmpeg's own writer does not look at ffmpeg's exit code.
    height, width = frames.shape[1:3]
    source = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gray" if frames.ndim == 3 else "rgb24",
        "-s",
        f"{width}x{height}",
    ]
    # Players want yuv420p, which needs even sides.
    encoding = [
        "-vf",
        "pad=ceil(iw/2)*2:ceil(ih/2)*2",
        "-c:v",
        "libx264",
        "-crf",
        "20",
        "-pix_fmt",
        "yuv420p",
    ]
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, "-r", f"{fps:g}", "-i", "-"]
    done = subprocess.run(
        [*ffmpeg, *encoding, str(path)],
        input=frames.tobytes(),
        capture_output=True,
        check=False,
        process_group=0,  # Ctrl-C is ours to handle
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").splitlines()
        raise OSError(f"ffmpeg could not write {path}: {lines[0] if lines else done.returncode}")


def _write_gif(path: Path, frames: npt.NDArray[np.uint8], fps: float) -> None:
    from PIL import Image  # noqa: PLC0415 (comes with matplotlib; needed without ffmpeg only)

    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=rest, duration=max(20, round(1_000 / fps)), loop=0)
