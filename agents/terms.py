"""A loss that is a sum of terms, and its gradient as the sum of theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from relic_rl.runtime.profile import section


class Term(NamedTuple):
    """Something that is added to a loss."""

    loss: Tensor  # scalar, its coefficient included
    metrics: dict[str, Tensor]  # detached scalars


def add_terms(terms: Sequence[Term]) -> Term:
    """The sum of terms; metrics that several have are added, too."""
    metrics: dict[str, Tensor] = {}
    for term in terms:
        for name, value in term.metrics.items():
            metrics[name] = metrics[name] + value if name in metrics else value
    return Term(torch.stack([term.loss for term in terms]).sum(), metrics)


def differentiate_term(
    compute: Callable[[], Term], parameters: Sequence[Tensor]
) -> tuple[Term, tuple[Tensor | None, ...]]:
    """A term, detached, and its gradient by each parameter; None by those it does not use."""
    loss, metrics = compute()
    with section("backward"):
        gradients: tuple[Tensor | None, ...] = torch.autograd.grad(loss, parameters, allow_unused=True)
    return Term(loss.detach(), metrics), gradients


def add_gradients(parameter: Tensor, gradients: Sequence[Tensor | None]) -> Tensor | None:
    """The sum of gradients by a parameter, of its memory layout, which fused optimisers rely on; None where none is."""
    given = [gradient for gradient in gradients if gradient is not None]
    if not given:
        return None
    first, *others = given
    total = torch.empty_like(parameter)
    if not others:
        return total.copy_(first)
    torch.add(first, others[0], out=total)
    for other in others[1:]:
        total += other
    return total
