"""Which labels can be predicted at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from relic_rl.evaluation.features import FeatureSet
from relic_rl.runtime.errors import BadInput


def usable_labels(
    names: Sequence[str], train: FeatureSet, wanted: str | None, note: Callable[[str], None]
) -> list[str]:
    """Those labels that take at least two values among the training images.

    Args:
        names: of the labels asked for.
        train: features of the training images.
        wanted: what ``--label`` says; of ``all`` those that do not vary are left out, and that is told.
        note: tells the user.

    Raises:
        BadInput: nothing is left, or the one label asked for does not vary.
    """
    varied = [name for name in names if _varies(train.labelled(name)[1])]
    constant = [name for name in names if name not in varied]
    if not varied or (constant and wanted != "all"):
        raise BadInput(f"--label {constant[0]}: all training images have the same value: there is nothing to predict")
    if constant:
        note(f"left out, since they do not vary: {', '.join(constant)}")
    return varied


def any_known(truth: Tensor, known: Tensor) -> bool:
    """Whether any of some labels, int64 [M], occurs among the training images' labels, int64 [N].

    Of a style that training never shows (generated images out of distribution) none does: no accuracy can be given.
    """
    return bool(torch.isin(truth, known).any())


def _varies(values: Tensor) -> bool:
    return bool((values[1:] != values[:-1]).any())
