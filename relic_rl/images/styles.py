"""The styles of generated images: factors that say nothing about the content, and the values each may take.

Every factor has values that training (and the in-distribution test) draws from, and values that only the
out-of-distribution test shows. A value is a kind (of texture, of background) or a bin of a quantity, within
which the quantity itself is drawn evenly.

Splits: "train"; "test", other images in the styles of training; "ood", in unseen values of every factor at once;
"ood-FACTOR", in unseen values of this factor alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class StyleFactor:
    """One factor of style.

    Attributes:
        values: how many values it has; a label is one of 0 to ``values - 1``.
        unseen: the values kept from training.
    """

    values: int
    unseen: tuple[int, ...]

    def draw(self, count: int, unseen: bool, generator: np.random.Generator) -> NDArray[np.int64]:
        """Values int64 [count], evenly from the unseen ones or from those of training."""
        allowed = self.unseen if unseen else tuple(v for v in range(self.values) if v not in self.unseen)
        return generator.choice(np.array(allowed, dtype=np.int64), size=count)


STYLES: dict[str, StyleFactor] = {
    "colour": StyleFactor(12, (2, 5, 8, 11)),  # hue of the shape, a twelfth of the circle each
    "texture": StyleFactor(8, (5, 6)),  # of the shape: see rendering.texture
    "background": StyleFactor(8, (3, 6)),  # kind of background: see rendering.background
    "background_colour": StyleFactor(12, (0, 3, 6, 9)),  # its hue
    "lighting": StyleFactor(8, (1, 5)),  # direction of the light, an eighth of the circle each
    "position": StyleFactor(16, (0, 3, 12, 15)),  # cell of a 4 x 4 grid; unseen: the corners
    "scale": StyleFactor(6, (0, 5)),  # radius, six bins from small to large
    "noise": StyleFactor(5, (4,)),  # strength of pixel noise
}
SPLITS = ("train", "test", "ood", *(f"ood-{name}" for name in STYLES))


def draw_styles(count: int, split: str, generator: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Values int64 [count] of every factor, as a split of `SPLITS` shows them.

    Raises:
        ValueError: no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r} of content/style images: give one of {', '.join(SPLITS)}")
    return {name: factor.draw(count, split in ("ood", f"ood-{name}"), generator) for name, factor in STYLES.items()}
