"""Paints shapes in a style: texture, background, colours, light and noise.

Arrays are float32; B: images, S: side in pixels. Coordinates run from -1 to 1 over the image, y upwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from relic_rl.images.shapes import NUM_MEMBERS, Plane, member_shape

Values = NDArray[np.int64]

REACH = 0.35  # centres lie within this of the middle
RADII = (0.4, 0.8)  # of the shape, over all bins of scale
RELIEF = 0.3  # share of its brightness that a texture or background pattern adds or takes
NOISE = (0.0, 0.03, 0.06, 0.09, 0.14)  # standard deviation by value of `noise`


def render(member: Values, style: Mapping[str, Values], size: int, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Images uint8 [B, 3, S, S] of these members in these styles.

    Args:
        member: int64 [B].
        style: int64 [B] by name of `relic_rl.images.styles.STYLES`.
        size: S.
        generator: draws what a value leaves open (the hue within its bin, the phase of a texture).
    """
    count = len(member)
    axis = (((np.arange(size) + 0.5) / size) * 2 - 1).astype(np.float32)
    x: Plane = np.broadcast_to(axis, (count, size, size))
    y: Plane = np.broadcast_to(-axis[:, None], (count, size, size))

    def within(name: str, bins: int) -> Plane:
        """A number in [0, 1): evenly within the bin of the value; [B, 1, 1]."""
        return ((style[name] + generator.random(count)) / bins).astype(np.float32)[:, None, None]

    radius = RADII[0] + (RADII[1] - RADII[0]) * within("scale", 6)
    cell = np.stack([style["position"] % 4, style["position"] // 4])
    centre = (((cell + generator.random(cell.shape)) / 4 * 2 - 1) * REACH).astype(np.float32)[:, :, None, None]
    dx, dy = (x - centre[0]) / radius, (y - centre[1]) / radius
    distance = _signed_distance(member, np.hypot(dx, dy), np.arctan2(dy, dx))
    cover = np.clip(0.5 + distance * radius * size / 2, 0, 1)  # half a pixel of soft edge on either side

    # The shape may be darker or brighter than what surrounds it, but stands out.
    dark, bright = _column(generator, count, 0.25, 0.45), _column(generator, count, 0.6, 0.9)
    swap = _column(generator, count, 0, 1) < 0.5
    shape_value, ground_value = np.where(swap, dark, bright), np.where(swap, bright, dark)
    # dx, dy: a shape's texture moves and grows with it.
    shape_value = shape_value * (1 + RELIEF * texture(style["texture"], dx, dy, generator))
    ground_value = ground_value * (1 + RELIEF * background(style["background"], x, y, generator))
    shape_colour = hsv_to_rgb(within("colour", 12), _column(generator, count, 0.35, 0.9), shape_value)
    ground_colour = hsv_to_rgb(within("background_colour", 12), _column(generator, count, 0.2, 0.8), ground_value)
    picture = ground_colour + cover[:, None] * (shape_colour - ground_colour)

    towards = 2 * np.pi * within("lighting", 8)
    light = 1 + 0.35 * (np.cos(towards) * x + np.sin(towards) * y)
    grain = np.array(NOISE, dtype=np.float32)[style["noise"]][:, None, None, None]
    picture = picture * light[:, None] + grain * generator.standard_normal(picture.shape, dtype=np.float32)
    pixels: NDArray[np.uint8] = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels


def texture(kind: Values, x: Plane, y: Plane, generator: np.random.Generator) -> Plane:
    """Brightness pattern in [-1, 1], [B, S, S], by kind.

    Plain, stripes level, upright and slanted, speckles, checks, rings, waves.
    """
    count = len(kind)
    frequency = _column(generator, count, 5, 9)
    phase, other = _column(generator, count, 0, 2 * np.pi), _column(generator, count, 0, 2 * np.pi)
    across, up = np.sin(frequency * x + phase), np.sin(frequency * y + other)
    patterns = (
        lambda i: np.zeros_like(x[i]),
        lambda i: up[i],
        lambda i: across[i],
        lambda i: np.sin(frequency[i] * (x[i] + y[i]) * 0.7 + phase[i]),
        lambda i: _clouds(len(i), x.shape[-1], 2, generator),
        lambda i: np.sign(across[i] * up[i]),
        lambda i: np.sin(1.5 * frequency[i] * np.hypot(x[i], y[i]) + phase[i]),
        lambda i: np.sin(frequency[i] * x[i] + 2 * np.sin(0.6 * frequency[i] * y[i] + other[i]) + phase[i]),
    )
    return _by_kind(kind, patterns, x.shape)


def background(kind: Values, x: Plane, y: Plane, generator: np.random.Generator) -> Plane:
    """Brightness pattern in [-1, 1], [B, S, S], by kind.

    Plain, ramps level and upright, glow, stripes, clouds, checks, scattered discs.
    """
    count = len(kind)
    frequency = _column(generator, count, 4, 8)
    phase, other = _column(generator, count, 0, 2 * np.pi), _column(generator, count, 0, 2 * np.pi)
    patterns = (
        lambda i: np.zeros_like(x[i]),
        lambda i: x[i] * np.sign(np.cos(phase[i])),
        lambda i: y[i] * np.sign(np.cos(phase[i])),
        lambda i: 1 - 1.4 * np.hypot(x[i] - 0.5 * np.cos(phase[i]), y[i] - 0.5 * np.sin(phase[i])),
        lambda i: np.sin(frequency[i] * (x[i] * np.cos(phase[i]) + y[i] * np.sin(phase[i])) + other[i]),
        lambda i: _clouds(len(i), x.shape[-1], 4, generator),
        lambda i: np.sign(np.sin(frequency[i] * x[i] + phase[i]) * np.sin(frequency[i] * y[i] + other[i])),
        lambda i: _discs(x[i], y[i], generator),
    )
    return np.clip(_by_kind(kind, patterns, x.shape), -1, 1)


def hsv_to_rgb(hue: Plane, saturation: Plane, value: Plane) -> Plane:
    """RGB [B, 3, S, S] of hue (turns), saturation and value, each [B, S, S] or [B, 1, 1]."""
    channels = []
    for offset in (5, 3, 1):
        k = np.mod(offset + hue * 6, 6)
        channels.append(value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1)))
    return np.stack(np.broadcast_arrays(*channels), axis=1).astype(np.float32)


def _signed_distance(member: Values, radius: Plane, angle: Plane) -> Plane:
    distance = np.empty_like(radius)
    for value in range(NUM_MEMBERS):
        index = np.flatnonzero(member == value)
        if len(index):
            distance[index] = member_shape(value)(radius[index], angle[index])
    return distance


def _by_kind(kind: Values, patterns: tuple, shape: tuple[int, ...]) -> Plane:  # type: ignore[type-arg]
    pattern = np.empty(shape, dtype=np.float32)
    for value, make in enumerate(patterns):
        index = np.flatnonzero(kind == value)
        if len(index):
            pattern[index] = make(index)
    return pattern


def _column(generator: np.random.Generator, count: int, low: float, high: float) -> Plane:
    """Numbers drawn evenly from [low, high), [B, 1, 1]."""
    return generator.uniform(low, high, (count, 1, 1)).astype(np.float32)


def _clouds(count: int, size: int, cell: int, generator: np.random.Generator) -> Plane:
    """Smooth noise in [-1, 1], [count, S, S]: random values `cell` pixels apart, between them a ramp."""
    coarse = generator.uniform(-1, 1, (count, size // cell + 2, size // cell + 2)).astype(np.float32)
    at = np.arange(size) / cell
    low, share = at.astype(np.int64), (at % 1).astype(np.float32)
    rows = coarse[:, low] * (1 - share[:, None]) + coarse[:, low + 1] * share[:, None]
    clouds: Plane = (rows[:, :, low] * (1 - share) + rows[:, :, low + 1] * share).astype(np.float32)
    return clouds


def _discs(x: Plane, y: Plane, generator: np.random.Generator) -> Plane:
    """Twelve scattered discs, brighter or darker, on plain ground."""
    pattern: Plane = np.zeros_like(x)
    for _ in range(12):
        left, down = (_column(generator, len(x), -1, 1) for _ in range(2))
        radius, shade = _column(generator, len(x), 0.08, 0.22), _column(generator, len(x), -1, 1)
        np.copyto(pattern, shade, where=np.hypot(x - left, y - down) < radius)
    return pattern
