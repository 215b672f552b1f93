"""Contrast sets: which columns of the logits an anchor is compared with, and where its positive is.

Sources: RELIC (arXiv 2010.07922), whose contrast set has M points; ReLICv2 (arXiv 2201.05119), which
subsamples the negatives of each anchor; groups, for frames of one trajectory, are this project's own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

EXCLUDED_LOGIT = -1e30
"""Logit of a candidate that is left out. Its probability is exactly zero, and so is its product with its
log-probability, which stays finite: -inf would make 0 * inf = nan in the divergences and in their
gradients."""


@dataclass(frozen=True)
class Candidates:
    """The contrast sets of N anchors within M candidate columns.

    Attributes:
        num_anchors: N.
        num_candidates: M >= N + positive_offset.
        positive_offset: the positive of anchor i is column positive_offset + i.
        anchor_group: int64 [N] or None; candidates of the anchor's own group are left out, its positive
            excepted.
        target_group: int64 [M], given with anchor_group.
        negatives: int64 [N, K] or None; where given, only these columns and the positive stay.
    """

    num_anchors: int
    num_candidates: int
    positive_offset: int = 0
    anchor_group: Tensor | None = None
    target_group: Tensor | None = None
    negatives: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        n, m = self.num_anchors, self.num_candidates
        if not 0 <= self.positive_offset <= m - n:
            raise ValueError(
                f"{n} anchors at positive_offset {self.positive_offset} do not fit in {m} candidates: "
                "each anchor's positive needs a column"
            )
        if (self.anchor_group is None) != (self.target_group is None):
            raise ValueError("anchor_group and target_group belong together: give both or neither")
        for name, group, size in (
            ("anchor_group", self.anchor_group, n),
            ("target_group", self.target_group, m),
        ):
            if group is not None and group.shape != (size,):
                raise ValueError(f"{name} needs shape [{size}], got {list(group.shape)}")
        if self.negatives is not None and (self.negatives.ndim != 2 or self.negatives.shape[0] != n):
            raise ValueError(f"negatives needs shape [{n}, K], got {list(self.negatives.shape)}")

    def positive(self, rows: slice, device: torch.device) -> Tensor:
        """Columns of the positives of these anchors, int64 [rows]."""
        first, last, _ = rows.indices(self.num_anchors)
        return torch.arange(first, last, device=device) + self.positive_offset

    def excluded(self, rows: slice, positive: Tensor) -> Tensor | None:
        """What these anchors leave out, bool [rows, M]; None where nothing is."""
        excluded = None
        if self.anchor_group is not None and self.target_group is not None:
            excluded = self.anchor_group[rows, None] == self.target_group[None, :]
        if self.negatives is not None:
            kept = self.negatives[rows]
            outside = torch.ones(kept.shape[0], self.num_candidates, dtype=torch.bool, device=kept.device)
            outside.scatter_(1, kept, False)
            excluded = outside if excluded is None else excluded | outside
        return None if excluded is None else excluded.scatter_(1, positive[:, None], False)


def sample_negatives(
    num_anchors: int,
    num_candidates: int,
    count: int,
    *,
    positive_offset: int = 0,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw `count` different candidates for each anchor, uniformly among those that are not its positive.

    Args:
        num_anchors: N.
        num_candidates: M.
        count: K, at most M - 1.
        positive_offset: the positive of anchor i is column positive_offset + i.
        generator: source of randomness, on `device`.
        device: where the result lies.

    Returns:
        int64 [N, K], for `relic_loss(negatives=...)`.

    Raises:
        ValueError: count is not between 1 and M - 1.
    """
    if not 1 <= count <= num_candidates - 1:
        raise ValueError(
            f"cannot draw {count} negatives from {num_candidates} candidates: at most {num_candidates - 1}"
        )
    drawn = []
    rows_at_once = 1024  # random keys for all [N, M] at once would defeat the blockwise loss
    for first in range(0, num_anchors, rows_at_once):
        row = torch.arange(first, min(first + rows_at_once, num_anchors), device=device)
        keys = torch.rand(len(row), num_candidates, generator=generator, device=device)
        keys.scatter_(1, row[:, None] + positive_offset, -1.0)  # never among the largest
        drawn.append(keys.topk(count, dim=1).indices)
    return torch.cat(drawn)
