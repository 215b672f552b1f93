"""ImageNet's 1,000 classes: which index means which folder of the training images.

Source: ILSVRC 2012, Russakovsky et al., 2015 (arXiv 1409.0575); `imagenet_wnids.json` beside this file.
"""

from __future__ import annotations

import functools
import json
from importlib import resources


@functools.cache
def imagenet_wnids() -> tuple[str, ...]:
    """WordNet IDs such as ``n01440764``, the names of the class folders; a class index is a place in it.

    Sorted, so that the index is also that of whoever sorts the folders of all 1,000 classes.
    """
    text = resources.files("relic_rl.images").joinpath("imagenet_wnids.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["wnids"])
