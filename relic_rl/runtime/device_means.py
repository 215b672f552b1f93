"""Means of metrics that stay on the device until a row of the log asks for them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from relic_rl.runtime.distributed import gather_numbers


class DeviceMeans:
    """Sums 0-d tensors by name; adding one does not wait for the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Count metrics in."""
        for name, value in metrics.items():
            number = value.detach().to(torch.float32)
            self._sums[name] = self._sums[name] + number if name in self._sums else number
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Means over what was counted since the last call, and over all processes, which must call it together."""
        names = sorted(self._sums)
        if not names:
            return {}
        means = torch.stack([self._sums[name] / self._counts[name] for name in names]).cpu()
        self._sums.clear()
        self._counts.clear()
        return dict(zip(names, gather_numbers(means).mean(0).tolist(), strict=True))
