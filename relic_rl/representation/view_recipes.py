"""What makes a view of an image: options by name, and the random numbers that a batch of views consumes.

Source of the two recipes: Grill et al., 2020, BYOL (arXiv 2006.07733), appendix B, which RELIC's authors took
over (ReLICv2, arXiv 2201.05119, appendix): the same crop and colours, but blur in every first view and in a
tenth of the second ones, solarisation in a fifth of the second ones. Small crops: Caron et al., 2020, SwAV
(arXiv 2006.09882), section 3.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from relic_rl.representation.crops import CROP_DRAWS

PHOTOMETRIC_DRAWS = 13
VIEW_DRAWS = CROP_DRAWS + PHOTOMETRIC_DRAWS
"""Uniform numbers that one view of one image consumes, whatever its recipe."""


@dataclasses.dataclass(frozen=True)
class ViewRecipe:
    """One view's augmentation. Probabilities are in [0, 1]; 0 leaves a step out.

    Attributes:
        crop_area: share of the image's area that a random resized crop shows; [1, 1] with `crop_ratio` [1, 1]
            shows the whole image.
        crop_ratio: width / height of the crop in pixels.
        flip: probability of mirroring left and right.
        jitter: probability of the four changes of colour, in a random order.
        brightness: factor in 1 +- brightness.
        contrast: factor in 1 +- contrast, around the image's mean grey.
        saturation: factor in 1 +- saturation.
        hue: turn in +- hue, in circles; at most 0.5.
        grey: probability of taking the colour away.
        blur: probability of a Gaussian blur.
        blur_sigma: its standard deviation, in pixels of a 224-pixel image, scaled to the view's size.
        solarise: probability of inverting what is brighter than `solarise_threshold`.
        solarise_threshold: in [0, 1].
        shift: largest random shift in pixels, the border repeated: for frames of games, instead of a crop.
        intensity: strength of a random factor on the brightness, for frames of games.
        count: number of views of this recipe (small crops; 1 for a large view).
        size: height and width of the view in pixels; 0 for the encoder's.
    """

    crop_area: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0
    solarise_threshold: float = 0.5
    shift: int = 0
    intensity: float = 0.0
    count: int = 1
    size: int = 0

    def __post_init__(self) -> None:
        for name in ("flip", "jitter", "grey", "blur", "solarise", "solarise_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies in [0, 1], got {getattr(self, name)}")
        limits = {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5, "intensity": 0.5}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} lies in [0, {most}], got {getattr(self, name)}")
        if not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise ValueError(f"crop_area is a least and a greatest share in (0, 1], got {list(self.crop_area)}")
        for name in ("crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ValueError(f"{name} is a least and a greatest value above 0, got {[low, high]}")
        if self.shift < 0 or self.size < 0 or self.count < 0:
            raise ValueError(f"shift, size and count are at least 0, got {self.shift}, {self.size}, {self.count}")

    @property
    def crops(self) -> bool:
        """Whether the view shows less than the whole image."""
        return self.crop_area != (1.0, 1.0) or self.crop_ratio != (1.0, 1.0)

    @property
    def needs_colour(self) -> bool:
        """Whether a step means something on RGB images only."""
        return (self.jitter > 0 and (self.saturation > 0 or self.hue > 0)) or self.grey > 0


FIRST_VIEW = ViewRecipe(blur=1.0)
SECOND_VIEW = ViewRecipe(blur=0.1, solarise=0.2)
SMALL_VIEW = ViewRecipe(crop_area=(0.05, 0.14), count=0, size=96)
"""No small crops unless asked for, `count` of them."""


def parse_recipe(block: str, settings: Sequence[str], base: ViewRecipe) -> ViewRecipe:
    """A recipe by its options' names.

    Args:
        block: the recipe's own name, for messages.
        settings: each ``name=value``, the value a number or ``[least, greatest]``; a later one wins.
        base: what is not set.

    Raises:
        ValueError: unknown name, value of a wrong type or out of range; the message names the block.
    """
    fields = {field.name: field for field in dataclasses.fields(ViewRecipe)}
    changes: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if name not in fields or not equals:
            nearest = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest and equals else f"write NAME=VALUE, of {', '.join(fields)}"
            raise ValueError(f"{block}: unknown option {setting!r}: {hint}")
        changes[name] = _value(block, name, text, fields[name].default)
    try:
        return dataclasses.replace(base, **changes)
    except ValueError as error:
        raise ValueError(f"{block}: {error}") from error


class ViewDraws(NamedTuple):
    """The random numbers of one view of a batch, on the CPU.

    Attributes:
        uniform: float32 [B, VIEW_DRAWS], from [0, 1).
        order: of the four changes of colour, the same for the whole batch.
    """

    uniform: NDArray[np.float32]
    order: tuple[int, ...]

    @property
    def crop(self) -> NDArray[np.float32]:
        """What the crop consumes, [B, CROP_DRAWS]."""
        return self.uniform[:, :CROP_DRAWS]

    def column(self, index: int) -> NDArray[np.float32]:
        """One of the PHOTOMETRIC_DRAWS numbers of every image, [B]."""
        return self.uniform[:, CROP_DRAWS + index]


def view_draws(key: int, batch_number: int, num_views: int, batch_size: int, rows: slice) -> list[ViewDraws]:
    """The random numbers of all views of a batch: a pure function of its arguments.

    Nothing is kept from batch to batch, so a resumed run draws what the unbroken one would have drawn, and the
    processes of a distributed run draw what one process would have drawn for their rows.

    Args:
        key: of the stream, at least 0.
        batch_number: how many batches came before in the whole run.
        num_views: V.
        batch_size: rows of the batch over all processes.
        rows: those that this process works on.
    """
    generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, batch_number]))
    orders = [tuple(generator.permutation(4).tolist()) for _ in range(num_views)]
    uniform = generator.random((num_views, batch_size, VIEW_DRAWS), dtype=np.float32)
    return [ViewDraws(numbers[rows], order) for numbers, order in zip(uniform, orders, strict=True)]


def _value(block: str, name: str, text: str, default: Any) -> Any:
    """The value that a text gives to an option, of the default's type."""
    pair = isinstance(default, tuple)
    wanted = "[LEAST, GREATEST]" if pair else "an integer" if isinstance(default, int) else "a number"
    try:
        value = yaml.safe_load(text)
        if pair:
            low, high = value
            return float(low), float(high)
        if isinstance(value, bool) or (isinstance(default, int) and not isinstance(value, int)):
            raise TypeError
        return type(default)(value)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ValueError(f"{block}: {name} is {text.strip()[:40]!r}: give {wanted}") from error
