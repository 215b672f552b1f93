"""Options of ``python -m relic_rl.evaluate robustness``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relic_rl.data_options import ATARI, GENERATED
from relic_rl.evaluate_kinds.linear_options import Options as LinearOptions
from relic_rl.runtime.config import option


@dataclass(frozen=True)
class Options(LinearOptions):
    """Robustness of the linear classifier: corrupted images and data sets out of distribution.

    The classifier is that of linear evaluation, fitted to the training images of --data; its options apply.
    """

    imagenet_c: str | None = option(None, "folder of ImageNet-C, [GROUP/]CORRUPTION/SEVERITY/WNID/FILE: mCE")
    imagenet_r: str | None = option(None, "folder of ImageNet-R, WNID/FILE")
    imagenet_a: str | None = option(None, "folder of ImageNet-A, WNID/FILE")
    imagenet_v2: str | None = option(None, "folder of one of ImageNetV2's three sets, INDEX/FILE")
    objectnet: str | None = option(None, "folder of ObjectNet, with images/ and mappings/")
    own_corruptions: Literal["auto", "yes", "no"] = option(
        "auto", "corrupt the test images ourselves, 15 kinds at 5 severities; auto: where there is no --imagenet-c"
    )
    num_corrupted: int = option(
        5_000, "test images that are corrupted, at most", min=1, when={"own_corruptions": ("auto", "yes")}
    )

    @property
    def variants(self) -> dict[str, str]:
        """Folders of the data sets out of distribution that are given, by the data set's name."""
        folders = {
            "imagenet-r": self.imagenet_r,
            "imagenet-a": self.imagenet_a,
            "imagenet-v2": self.imagenet_v2,
            "objectnet": self.objectnet,
        }
        return {name: folder for name, folder in folders.items() if folder is not None}

    @property
    def corrupts(self) -> bool:
        """Whether test images are corrupted here."""
        return self.own_corruptions == "yes" or (self.own_corruptions == "auto" and self.imagenet_c is None)

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        yield from super().problems()
        if self.label == "all":
            yield "--label all: robustness is of one classifier; name one label"
        if not self.corrupts and self.num_corrupted != 5_000:
            yield "--num-corrupted has no effect where the images of --imagenet-c are used: leave it out"
        given = [*self.variants, *(["imagenet-c"] if self.imagenet_c is not None else [])]
        if given and self.data in (ATARI, GENERATED):
            yield f"--{given[0]} needs a classifier of ImageNet's classes: give --data DIR with train/WNID/FILE"
