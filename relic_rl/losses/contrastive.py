"""NT-Xent, SimCLR's loss: each of 2N outputs picks its other view among all 2N - 1 others.

Source: Chen et al., 2020 (arXiv 2002.05709), equation 1. InfoNCE, whose candidates are the other view's
outputs only, is `relic_rl.losses.info_nce_loss`.

Departures: none.
"""

import torch
from torch import Tensor
from torch.nn import functional

from relic_rl.losses.products import working_dtype


def nt_xent_loss(
    z_1: Tensor,
    z_2: Tensor,
    *,
    temperature: float | Tensor = 0.5,
    candidates_1: Tensor | None = None,
    candidates_2: Tensor | None = None,
    positive_offset: int = 0,
) -> Tensor:
    """Mean over the 2N outputs of -log[ exp(s_ip/tau) / sum_{k != i} exp(s_ik/tau) ], s the cosine
    similarity.

    Across processes: each passes its own rows as z_1 and z_2, the rows gathered from all (with gradient) as
    candidates, and `positive_offset = rank * N`; the mean over processes is then the full-batch loss.

    Args:
        z_1: [N, D] outputs of the first view (N: rows, D: features), floating; normalised here.
        z_2: [N, D] outputs of the second view.
        temperature: tau > 0, a float or a 0-d tensor that receives gradient.
        candidates_1: [M, D] outputs of the first view over the full batch; None means z_1.
        candidates_2: [M, D] the same for the second view; None means z_2.
        positive_offset: row i of z_1 and z_2 is row positive_offset + i of the candidates.

    Returns:
        Scalar tensor, float32 or the inputs' wider type.

    Raises:
        ValueError: shapes do not fit together, or only one of the candidates is given.
    """
    if (candidates_1 is None) != (candidates_2 is None):
        raise ValueError("nt_xent_loss needs candidates_1 and candidates_2 together, or neither")
    candidates_1 = z_1 if candidates_1 is None else candidates_1
    candidates_2 = z_2 if candidates_2 is None else candidates_2
    if z_1.ndim != 2 or z_1.shape != z_2.shape or candidates_1.shape != candidates_2.shape:
        raise ValueError(
            "nt_xent_loss needs views of one shape [N, D], got "
            f"{list(z_1.shape)} and {list(z_2.shape)}, "
            f"candidates {list(candidates_1.shape)} and {list(candidates_2.shape)}"
        )
    num_rows, num_candidates = z_1.shape[0], candidates_1.shape[0]
    if not 0 <= positive_offset <= num_candidates - num_rows:
        raise ValueError(
            f"nt_xent_loss: {num_rows} rows at positive_offset {positive_offset} "
            f"do not fit in {num_candidates} candidates"
        )
    dtype = working_dtype(z_1, z_2, candidates_1, candidates_2)
    anchors = functional.normalize(torch.cat([z_1, z_2]).to(dtype), dim=1)
    candidates = functional.normalize(torch.cat([candidates_1, candidates_2]).to(dtype), dim=1)
    with torch.autocast(z_1.device.type, enabled=False):
        logits = anchors @ candidates.T / temperature
    row = torch.arange(num_rows, device=z_1.device) + positive_offset
    itself = torch.cat([row, row + num_candidates])
    other_view = torch.cat([row + num_candidates, row])
    return functional.cross_entropy(logits.scatter(1, itself[:, None], -torch.inf), other_view)
