"""Tensors in a few plain numbers, for a record of what was seen."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def summarize_tensor(tensor: Tensor) -> dict[str, Any]:
    """Shape, dtype, and of its elements: how many are nan or infinite; least, greatest and mean of the finite ones.

    Returns:
        Plain values for JSON: ``min``, ``max`` and ``mean`` are None if no element is finite.
    """
    values = tensor.detach().double()
    finite = values[torch.isfinite(values)]
    some = finite.numel() > 0
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "nan": int(torch.isnan(values).sum()),
        "infinite": int(torch.isinf(values).sum()),
        "min": finite.min().item() if some else None,
        "max": finite.max().item() if some else None,
        "mean": finite.mean().item() if some else None,
    }
