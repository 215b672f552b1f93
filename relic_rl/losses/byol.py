"""BYOL: regression of one view's prediction on the other view's target projection.

Source: Grill et al., 2020 (arXiv 2006.07733), equation 2.

Departures: none in the term itself. The paper's loss is the SUM of the two swapped terms; this function is
one term, so the caller adds the two. Averaging them instead halves the effective learning rate.
"""

from torch import Tensor
from torch.nn import functional

from relic_rl.losses.products import working_dtype


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """One of BYOL's two terms: mean over rows of 2 - 2 cos(prediction_i, target_i), in [0, 4].

    BYOL's loss is `byol_loss(q(z_1), z_2') + byol_loss(q(z_2), z_1')`, with z' from the target network.
    Nothing is detached here: the caller detaches the target. With each process holding N rows of its own, the
    mean over processes is the full-batch loss; no gather is needed.

    Args:
        prediction: [N, D] predictor outputs of one view (N: rows, D: features), floating.
        target: [N, D] target projections of the other view, floating.

    Returns:
        Scalar tensor, float32 or the inputs' wider type.

    Raises:
        ValueError: the two shapes differ or are not [N, D].
    """
    if prediction.ndim != 2 or prediction.shape != target.shape:
        raise ValueError(
            f"byol_loss needs two tensors of one shape [N, D], got {list(prediction.shape)} and {list(target.shape)}"
        )
    dtype = working_dtype(prediction, target)
    cosine = functional.cosine_similarity(prediction.to(dtype), target.to(dtype), dim=1)
    return (2.0 - 2.0 * cosine).mean()
