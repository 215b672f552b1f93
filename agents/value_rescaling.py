"""The squashing of values that lets one learning rate serve rewards of any size.

Source: Pohlen et al., 2018, "Observe and Look Further" (arXiv 1805.11593), sec. 3.2 and proposition A.2; used
by Kapturowski et al., 2019 (R2D2), sec. 2.3.
"""

from __future__ import annotations

from torch import Tensor

EPSILON = 1e-3


def rescale(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, of a float tensor of any shape."""
    return x.sign() * ((x.abs() + 1).sqrt() - 1) + epsilon * x


def unrescale(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """The inverse of `rescale`.

    With r = sqrt(|z| + 1) for h(z) = x, epsilon r^2 + r = |x| + 1 + epsilon. Its root is written with the
    difference of square roots turned into a quotient, 2 c / (1 + sqrt(1 + 4 epsilon c)), c = |x| + 1 +
    epsilon: the textbook form subtracts nearly equal numbers and loses half the digits of float32.
    """
    c = x.abs() + (1 + epsilon)
    root = 2 * c / (1 + (1 + 4 * epsilon * c).sqrt())
    # |z| = r^2 - 1 = (r - 1)(r + 1)
    return x.sign() * (root - 1) * (root + 1)
