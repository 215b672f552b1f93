"""Screens as text in a terminal."""

import re
import sys

import numpy as np
import pytest

from relic_rl.runtime.errors import BadInput
from relic_rl.runtime.terminal import TerminalScreen, frame_as_text


def colours(text):
    """Of every cell the upper and the lower colour, as a frame uint8 [2 x lines, W, 3]."""
    lines = [re.findall(r"38;2;(\d+);(\d+);(\d+)m\x1b\[48;2;(\d+);(\d+);(\d+)m▀", line) for line in text.splitlines()]
    cells = np.array(lines, dtype=np.uint8).reshape(len(lines), -1, 2, 3)
    return cells.swapaxes(1, 2).reshape(2 * len(lines), -1, 3)


@pytest.mark.parametrize("shape", [(4, 6), (5, 6), (4, 6, 3)])
def test_a_frame_can_be_read_from_its_text(shape):
    frame = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    shown = colours(frame_as_text(frame))
    assert np.array_equal(shown[: len(frame)], frame if frame.ndim == 3 else np.stack([frame] * 3, axis=-1))
    assert shown[len(frame) :].sum() == 0


def test_a_screen_needs_a_terminal():
    with pytest.raises(BadInput, match="--video"):
        TerminalScreen()


def test_frames_follow_each_other_in_one_place(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    screen = TerminalScreen()
    frame = np.full((2, 3), 9, dtype=np.uint8)
    screen.show(frame, seconds=0)
    screen.show(frame, seconds=0)
    home = "\x1b[H"
    text = frame_as_text(frame)
    assert capsys.readouterr().out == "\x1b[2J" + home + text + home + text
