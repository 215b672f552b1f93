"""The contents of generated images: eight families of shapes with five members each.

A shape is a function of polar coordinates around its centre, with an outer radius of 1, positive inside. No
member turns into another under what augmentation does: mirroring left and right, another place or size, or a
slight change of the aspect ratio.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Shape = Callable[[Plane, Plane], Plane]
"""(radius [..], angle [..]) -> signed distance of a kind [..]: positive inside, about 1 per outer radius."""

_TURN = np.float32(2 * np.pi)


def polygon(corners: int) -> Shape:
    """A regular polygon that stands on a side."""
    half = np.pi / corners

    def inside(radius: Plane, angle: Plane) -> Plane:
        # -pi/2 is straight down in these coordinates' sense: the middle of a side lies there.
        sector = np.mod(angle + np.pi / 2 + half, 2 * half) - half
        distance: Plane = (np.cos(half) - radius * np.cos(sector)).astype(np.float32)
        return distance

    return inside


def star(points: int) -> Shape:
    """A star with straight edges, one point up, its inner corners at radius 0.45."""
    half = np.pi / points
    tip = np.array([1.0, 0.0])
    notch = 0.45 * np.array([np.cos(half), np.sin(half)])
    normal = np.array([notch[1] - tip[1], tip[0] - notch[0]])
    normal /= np.linalg.norm(normal)

    def inside(radius: Plane, angle: Plane) -> Plane:
        sector = np.abs(np.mod(angle - np.pi / 2 + half, 2 * half) - half)
        x, y = radius * np.cos(sector), radius * np.sin(sector)
        distance: Plane = (normal @ tip - (normal[0] * x + normal[1] * y)).astype(np.float32)
        return distance

    return inside


def flower(petals: int) -> Shape:
    """A disc whose radius swings between 0.5 and 1, one petal up."""

    def inside(radius: Plane, angle: Plane) -> Plane:
        distance: Plane = (0.75 + 0.25 * np.cos(petals * (angle - np.pi / 2)) - radius).astype(np.float32)
        return distance

    return inside


def open_ring(gap: float) -> Shape:
    """A ring with a gap of this many degrees at its lower end."""
    half = np.deg2rad(gap) / 2

    def inside(radius: Plane, angle: Plane) -> Plane:
        band = 0.22 - np.abs(radius - 0.78)
        from_below = np.abs(np.mod(angle + np.pi / 2 + np.pi, _TURN) - np.pi)
        distance: Plane = np.minimum(band, (from_below - half) * radius) if gap else band
        return distance

    return inside


def cross(width: float) -> Shape:
    """An upright cross whose arms have this half-width."""

    def inside(radius: Plane, angle: Plane) -> Plane:
        x, y = np.abs(radius * np.cos(angle)), np.abs(radius * np.sin(angle))
        across = np.minimum(width - y, 1 - x)
        upright = np.minimum(width - x, 1 - y)
        distance: Plane = np.maximum(across, upright)
        return distance

    return inside


def superellipse(exponent: float) -> Shape:
    """|x|^p + |y|^p < 1: hollow-sided below 1, a disc at 2, nearly a square far above."""

    def inside(radius: Plane, angle: Plane) -> Plane:
        x, y = np.abs(radius * np.cos(angle)), np.abs(radius * np.sin(angle))
        norm = (x**exponent + y**exponent + 1e-12) ** (1 / exponent)
        distance: Plane = (1 - norm).astype(np.float32)
        return distance

    return inside


def crescent(shift: float) -> Shape:
    """A disc less another one of radius 0.8, moved up by `shift`."""

    def inside(radius: Plane, angle: Plane) -> Plane:
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        distance: Plane = np.minimum(1 - radius, np.hypot(x, y - shift) - 0.8).astype(np.float32)
        return distance

    return inside


def rings(count: int) -> Shape:
    """Concentric rings, `count` of them, as wide as the space between."""
    width = 1 / (2 * count)

    def inside(radius: Plane, angle: Plane) -> Plane:
        middle = (np.floor(radius / (2 * width)) * 2 + 1.5) * width
        distance: Plane = np.minimum(width / 2 - np.abs(radius - middle), 1 - radius).astype(np.float32)
        return distance

    return inside


FAMILIES: dict[str, tuple[Shape, ...]] = {
    "polygon": tuple(polygon(n) for n in (3, 4, 5, 6, 8)),
    "star": tuple(star(n) for n in (4, 5, 6, 7, 9)),
    "flower": tuple(flower(n) for n in (3, 4, 5, 6, 8)),
    "open_ring": tuple(open_ring(degrees) for degrees in (0, 35, 70, 110, 160)),
    "cross": tuple(cross(width) for width in (0.1, 0.2, 0.32, 0.46, 0.62)),
    "superellipse": tuple(superellipse(p) for p in (0.5, 0.7, 1.4, 2.2, 5.0)),
    "crescent": tuple(crescent(shift) for shift in (0.05, 0.25, 0.45, 0.7, 1.0)),
    "rings": tuple(rings(count) for count in (1, 2, 3, 4, 5)),
}
MEMBERS_PER_FAMILY = 5
NUM_MEMBERS = MEMBERS_PER_FAMILY * len(FAMILIES)


def member_shape(member: int) -> Shape:
    """The shape of a member, 0 to NUM_MEMBERS - 1; its family is ``member // MEMBERS_PER_FAMILY``."""
    family = list(FAMILIES.values())[member // MEMBERS_PER_FAMILY]
    return family[member % MEMBERS_PER_FAMILY]
