"""The shape of a representation on the sphere: alignment, uniformity, effective rank.

Sources: Wang and Isola, ICML 2020 (arXiv 2005.10242), equations 1 and 2 with their default alpha = 2, t = 2; Roy and
Vetterli, EUSIPCO 2007, for the effective rank (on representations: Garrido et al., 2023, arXiv 2210.02885).

Departures: uniformity leaves out the pairs of an image with itself, which the population's value does not have; the
effective rank is that of centred, L2-normalised features, so that one common direction does not pass for rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_ROWS = 1024  # of the matrix of pairs at a time


@torch.no_grad()
def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance between the normalised features of two views, in [0, 4]; lower is better aligned.

    Args:
        first: [N, D], of one view.
        second: [N, D], of another view of the same images.
    """
    distance: Tensor = (_unit(first) - _unit(second)).square().sum(1)
    return float(distance.mean())


@torch.no_grad()
def uniformity(features: Tensor) -> float:
    """log of the mean over pairs i != j of exp(-2 ||f_i - f_j||^2), normalised features, in [-8, 0].

    Lower is more uniform; evenly spread over a sphere of high dimension it comes to about -4.

    Args:
        features: [N, D], N at least 2.

    Raises:
        ValueError: less than two rows.
    """
    count = len(features)
    if count < 2:
        raise ValueError(f"uniformity needs two images at least, got {count}")
    unit = _unit(features)
    parts = []
    for start in range(0, count, _ROWS):
        # ||a - b||^2 = 2 - 2ab, of unit rows; rounding must not make it negative.
        exponent = -2 * (2 - 2 * unit[start : start + _ROWS] @ unit.T).clamp_min(0)
        rows = torch.arange(len(exponent), device=unit.device)
        exponent[rows, rows + start] = -torch.inf
        parts.append(exponent.flatten().logsumexp(0))
    return float(torch.stack(parts).logsumexp(0)) - math.log(count * (count - 1))


@torch.no_grad()
def effective_rank(features: Tensor) -> float:
    """exp(H(p)), p the singular values of the centred, normalised features divided by their sum.

    Args:
        features: [N, D].

    Returns:
        Between 1 and min(N - 1, D); 0 where all rows are one.
    """
    unit = _unit(features)
    centred = unit - unit.mean(0)
    small = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    values = torch.linalg.eigvalsh(small).clamp_min(0)
    values = torch.where(values > values.max() * 1e-12, values, 0).sqrt()  # squares: half the digits are left
    if not float(values.sum()) > 1e-9:
        return 0.0
    share = values / values.sum()
    return math.exp(float(torch.special.entr(share).sum()))


def _unit(features: Tensor) -> Tensor:
    """Rows of unit length, in float64."""
    return functional.normalize(features.double(), dim=1)
