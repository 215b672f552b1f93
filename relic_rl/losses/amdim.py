"""AMDIM's contrast of one feature vector per image with all locations of a feature map.

Source: Bachman, Hjelm and Buchwalter, 2019 (arXiv 1906.00910), sections 3.2 to 3.4.

Departures: the weight of the score penalty is 1e-3 by default.
"""

import torch
from torch import Tensor

from relic_rl.losses.products import working_dtype


def amdim_nce_loss(
    source: Tensor,
    target: Tensor,
    *,
    clip: float = 10.0,
    penalty_weight: float = 1e-3,
    positive_offset: int = 0,
) -> Tensor:
    """NCE over locations plus the score penalty, for one direction of one pair of scales.

    Raw scores are s = <u, v> / sqrt(D), clipped softly to clip * tanh(s / clip). For anchor i each location
    of its own image's target map is a positive in turn, contrasted with every location of every other image:
    mean over (i, location) of -log[ e^pos / (e^pos + sum of e^negative) ], plus penalty_weight * mean(s^2).
    AMDIM sums this over both directions of two views and over its scale pairs. With targets gathered from all
    processes and `positive_offset = rank * N`, the mean over processes is the full-batch loss.

    Args:
        source: [N, D] one vector per image: a global feature, or a local one at a sampled location (N:
            images, D: features), floating.
        target: [M, L, D] features of the other view at L locations (L = 1 for a global feature), M >= N.
        clip: c > 0, the bound of the clipped scores.
        penalty_weight: weight of the mean squared raw score.
        positive_offset: the image of source i is row positive_offset + i of the target.

    Returns:
        Scalar tensor, float32 or the inputs' wider type.

    Raises:
        ValueError: shapes do not fit together, or clip is not positive.
    """
    if source.ndim != 2 or target.ndim != 3 or source.shape[1] != target.shape[2]:
        raise ValueError(
            "amdim_nce_loss needs source [N, D] and target [M, L, D], "
            f"got {list(source.shape)} and {list(target.shape)}"
        )
    num_rows, num_candidates = source.shape[0], target.shape[0]
    if not 0 <= positive_offset <= num_candidates - num_rows:
        raise ValueError(
            f"amdim_nce_loss: {num_rows} rows at positive_offset {positive_offset} "
            f"do not fit in {num_candidates} targets"
        )
    if clip <= 0:
        raise ValueError(f"amdim_nce_loss needs clip > 0, got {clip}")
    dtype = working_dtype(source, target)
    features = source.shape[1]
    with torch.autocast(source.device.type, enabled=False):
        raw = source.to(dtype) @ target.to(dtype).reshape(-1, features).T / features**0.5
    raw = raw.reshape(num_rows, num_candidates, -1)
    scores = clip * torch.tanh(raw / clip)

    row = torch.arange(num_rows, device=source.device)
    positives = scores[row, row + positive_offset]  # [N, L]
    own_image = torch.zeros(num_rows, num_candidates, 1, dtype=torch.bool, device=source.device)
    own_image[row, row + positive_offset] = True
    negatives = scores.masked_fill(own_image, -torch.inf).flatten(1).logsumexp(dim=1, keepdim=True)  # [N, 1]
    nce = (torch.logaddexp(positives, negatives) - positives).mean()
    loss: Tensor = nce + penalty_weight * raw.square().mean()
    return loss
