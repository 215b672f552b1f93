"""Which labels can be predicted at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relic_rl.runtime.errors import BadInput


def usable_labels(
    names: Sequence[str], train: Mapping[str, NDArray[np.int64]], wanted: str | None, note: Callable[[str], None]
) -> list[str]:
    """Those labels that take at least two values among the training images.

    Args:
        names: of the labels asked for.
        train: labels of the training images, int64 [N] by name, -1 where there is none.
        wanted: what ``--label`` says; of ``all`` those that do not vary are left out, and that is told.
        note: tells the user.

    Raises:
        BadInput: nothing is left, or the one label asked for does not vary.
    """
    varied = [name for name in names if _varies(train[name])]
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


def _varies(values: NDArray[np.int64]) -> bool:
    known = values[values >= 0]
    return bool((known != known[:1]).any())
