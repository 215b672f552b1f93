"""Generated images whose causes are known: the content is a shape, everything else is style.

The paper's causal graph (Mitrovic et al., 2021, section 2) with the truth at hand: content C and style S are
drawn independently, the image is painted from both, and only C matters for the tasks. Two tasks on the same
content: its family, and the member within the family, which refines it. Every factor of style is a label too.
"""

from __future__ import annotations

import zlib

import numpy as np

from relic_rl.images.labelled import LabelledImages
from relic_rl.images.rendering import render
from relic_rl.images.shapes import FAMILIES, MEMBERS_PER_FAMILY, NUM_MEMBERS
from relic_rl.images.styles import STYLES, draw_styles

_CHUNK = 256  # images painted at a time: what is in flight stays small


def content_style_images(count: int, split: str, *, seed: int, size: int = 64) -> LabelledImages:
    """Generate one split.

    Args:
        count: number of images; every member is shown equally often, up to one.
        split: one of `styles.SPLITS`: "train"; "test", other images in the styles of training; "ood", in values
            of every factor of style that training never shows; "ood-FACTOR", in such values of one factor alone.
        seed: of the data set, from 0; each split has a stream of its own.
        size: height and width in pixels, at least 16.

    Returns:
        RGB images; labels `member` (the primary one), `family` and the factors of `STYLES`.

    Raises:
        ValueError: no images, images too small to tell the members, or no such split.
    """
    if count < 1 or size < 16:
        raise ValueError(f"content/style images: give at least 1 image of at least 16 pixels, got {count}, {size}")
    generator = np.random.default_rng([zlib.crc32(split.encode()), seed])
    member = generator.permutation(np.arange(count, dtype=np.int64) % NUM_MEMBERS)
    style = draw_styles(count, split, generator)
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = render(member[part], {name: values[part] for name, values in style.items()}, size, generator)
    labels = {"member": member, "family": member // MEMBERS_PER_FAMILY} | style
    num_classes = {"member": NUM_MEMBERS, "family": len(FAMILIES)}
    num_classes |= {name: factor.values for name, factor in STYLES.items()}
    return LabelledImages(images, labels, "member", num_classes)
