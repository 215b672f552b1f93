"""CURL: bilinear contrast of queries and keys.

Source: Laskin, Srinivas and Abbeel, 2020 (arXiv 2004.04136), section 4.4 and its pseudocode.

Departures: none. Features are not normalised and there is no temperature, as in the paper.
"""

import torch
from torch import Tensor
from torch.nn import functional

from relic_rl.losses.products import working_dtype


def curl_loss(query: Tensor, key: Tensor, weight: Tensor, *, positive_offset: int = 0) -> Tensor:
    """Cross-entropy of the logits q W k^T, less each row's maximum, against the query's own key.

    Subtracting the row maximum changes neither value nor gradient; CURL does it for stability and so does
    this code. Nothing is detached here: the caller detaches keys of an averaged (EMA) encoder. With keys
    gathered from all processes and `positive_offset = rank * N`, the mean over processes is the full-batch
    loss.

    Args:
        query: [N, D] features of the first crop (N: rows, D: features), floating, not normalised.
        key: [M, D] features of the second crop, M >= N + positive_offset.
        weight: [D, D] the learned bilinear form W.
        positive_offset: the key of query i is row positive_offset + i.

    Returns:
        Scalar tensor, float32 or the inputs' wider type; ln M where W is zero.

    Raises:
        ValueError: shapes do not fit together.
    """
    if query.ndim != 2 or key.ndim != 2 or weight.shape != (query.shape[1], key.shape[1]):
        raise ValueError(
            "curl_loss needs query [N, D], key [M, D] and weight [D, D], got "
            f"{list(query.shape)}, {list(key.shape)} and {list(weight.shape)}"
        )
    if not 0 <= positive_offset <= key.shape[0] - query.shape[0]:
        raise ValueError(
            f"curl_loss: {query.shape[0]} queries at positive_offset {positive_offset} "
            f"do not fit in {key.shape[0]} keys"
        )
    dtype = working_dtype(query, key, weight)
    with torch.autocast(query.device.type, enabled=False):
        logits = query.to(dtype) @ weight.to(dtype) @ key.to(dtype).T
    logits = logits - logits.amax(dim=1, keepdim=True).detach()
    positive = torch.arange(query.shape[0], device=query.device) + positive_offset
    return functional.cross_entropy(logits, positive)
