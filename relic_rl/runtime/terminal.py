"""Screens shown in a terminal, two rows of pixels to a line of text."""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from relic_rl.runtime.errors import BadInput

_HOME, _CLEAR, _RESET = "\x1b[H", "\x1b[2J", "\x1b[0m"


class TerminalScreen:
    """Shows one frame after the other in the same place.

    Raises:
        BadInput: standard output is no terminal.
    """

    def __init__(self) -> None:
        if not sys.stdout.isatty():
            raise BadInput("--render needs a terminal to show the game in: leave it out, or give --video FILE")
        self._begun = False

    def show(self, frame: NDArray[np.uint8], *, seconds: float) -> None:
        """Show a frame.

        Args:
            frame: uint8 [H, W] grey, or [H, W, 3] RGB.
            seconds: to wait after it.
        """
        sys.stdout.write(("" if self._begun else _CLEAR) + _HOME + frame_as_text(frame))
        sys.stdout.flush()
        self._begun = True
        time.sleep(seconds)


def frame_as_text(frame: NDArray[np.uint8]) -> str:
    """A frame as lines of half blocks in 24-bit colours: W columns and H / 2 lines, rounded up.

    Args:
        frame: uint8 [H, W] grey, or [H, W, 3] RGB.
    """
    colours = np.broadcast_to(frame[..., None], (*frame.shape, 3)) if frame.ndim == 2 else frame
    padded = np.pad(colours, ((0, len(colours) % 2), (0, 0), (0, 0)))
    lines = []
    for upper, lower in zip(padded[::2], padded[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]}m\x1b[48;2;{b[0]};{b[1]};{b[2]}m\N{UPPER HALF BLOCK}"
            for a, b in zip(upper, lower, strict=True)
        )
        lines.append("".join(cells) + _RESET)
    return "\n".join(lines) + "\n"
