"""The styles of generated images: factors that say nothing about the content, and the values each may take.

Every factor has values that training (and the in-distribution test) draws from, and values that only the
out-of-distribution test shows. A value is a kind (of texture, of background) or a bin of a quantity, within
which the quantity itself is drawn evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "test", "ood"]


@dataclass(frozen=True)
class StyleFactor:
    """One factor of style.

    Attributes:
        values: how many values it has; a label is one of 0 to ``values - 1``.
        unseen: the values kept from training.
    """

    values: int
    unseen: tuple[int, ...]

    def draw(self, count: int, split: Split, generator: np.random.Generator) -> NDArray[np.int64]:
        """Values int64 [count], evenly from those of the split."""
        allowed = self.unseen if split == "ood" else tuple(v for v in range(self.values) if v not in self.unseen)
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
