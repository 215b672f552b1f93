"""Style interventions one at a time: which pair of views shows what a single augmentation does.

The first view is the image as it is; the second has the one step done to it, for certain and with the strength drawn
as in training (Grill et al., 2020, arXiv 2006.07733, appendix B; on frames of games Schwarzer et al., 2021, arXiv
2007.05929). `all` is the pair of views that training draws. An encoder that is invariant answers alike whichever of
the two views it is asked with.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from relic_rl.representation.augmentation import INTENSITY_SCALE, SHIFT_PIXELS
from relic_rl.representation.view_recipes import FIRST_VIEW, SECOND_VIEW, ViewRecipe

WHOLE = (1.0, 1.0)
NOTHING = ViewRecipe(
    WHOLE, WHOLE, flip=0.0, jitter=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0, blur=0.0
)
"""Shows the image as it is."""
_FRAMES = replace(NOTHING, shift=SHIFT_PIXELS, intensity=INTENSITY_SCALE)

ON_IMAGES: dict[str, tuple[ViewRecipe, ViewRecipe]] = {
    "crop": (NOTHING, replace(NOTHING, crop_area=FIRST_VIEW.crop_area, crop_ratio=FIRST_VIEW.crop_ratio)),
    "flip": (NOTHING, replace(NOTHING, flip=1.0)),
    "brightness": (NOTHING, replace(NOTHING, jitter=1.0, brightness=FIRST_VIEW.brightness)),
    "contrast": (NOTHING, replace(NOTHING, jitter=1.0, contrast=FIRST_VIEW.contrast)),
    "saturation": (NOTHING, replace(NOTHING, jitter=1.0, saturation=FIRST_VIEW.saturation)),
    "hue": (NOTHING, replace(NOTHING, jitter=1.0, hue=FIRST_VIEW.hue)),
    "grey": (NOTHING, replace(NOTHING, grey=1.0)),
    "blur": (NOTHING, replace(NOTHING, blur=1.0)),
    "solarise": (NOTHING, replace(NOTHING, solarise=1.0)),
    "all": (FIRST_VIEW, SECOND_VIEW),
}
"""The two views of each intervention on colour images."""

ON_FRAMES: dict[str, tuple[ViewRecipe, ViewRecipe]] = {
    "shift": (NOTHING, replace(NOTHING, shift=SHIFT_PIXELS)),
    "intensity": (NOTHING, replace(NOTHING, intensity=INTENSITY_SCALE)),
    "all": (_FRAMES, _FRAMES),
}
"""Likewise on frames of games."""


def chosen_interventions(names: Sequence[str], *, frames: bool) -> dict[str, tuple[ViewRecipe, ViewRecipe]]:
    """The interventions of these names and their views, in this order.

    Args:
        names: keys of ON_FRAMES or ON_IMAGES; none for all of them.
        frames: whether the images are frames of games.

    Raises:
        ValueError: a name is unknown or given twice.
    """
    possible = ON_FRAMES if frames else ON_IMAGES
    for name in names:
        if name not in possible:
            nearest = difflib.get_close_matches(name, possible, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"choose of {', '.join(possible)}"
            raise ValueError(f"no intervention {name[:60]!r} on {'frames' if frames else 'images'}: {hint}")
    if len(set(names)) < len(names):
        raise ValueError("an intervention is named twice: name each once")
    return {name: possible[name] for name in names or possible}
