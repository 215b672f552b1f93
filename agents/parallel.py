"""An agent's updates over several processes: each computes on its own rows, gradients are averaged.

`Averaged` makes whatever computes a loss the forward pass of a module, which DistributedDataParallel wraps: buckets of
gradients travel while the backward pass of the layers below goes on. A single process pays nothing.

A checkpoint of several processes holds once what they have in common and of each what is its own (`split_state`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from relic_rl.runtime.distributed import Processes, copy_from_writer, parallel

T = TypeVar("T")
State = dict[str, Any]


class _Computation(nn.Module):
    """Holds what a loss has parameters in; its forward pass is whatever computes that loss."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, compute: Callable[[], T]) -> T:
        return compute()


class Averaged:
    """Computations whose gradients, in one module, are averaged over all processes between `join` and `release`.

    Args:
        part: the module; each computation must use all of its parameters.
    """

    def __init__(self, part: nn.Module) -> None:
        self._computation = _Computation(part)
        self._model: nn.Module | None = None

    def __call__(self, compute: Callable[[], T]) -> T:
        """What ``compute`` returns; the backward pass of it averages the gradients."""
        if self._model is None:
            return compute()
        result: T = self._model(compute)
        return result

    def join(self, processes: Processes, device: torch.device, followers: Sequence[nn.Module] = ()) -> None:
        """Average from now on; all processes call it together, and have the writer's weights then.

        Args:
            processes: this one among all; nothing is done for a single one.
            device: where the modules are.
            followers: modules beside it that must be alike too, such as target networks.
        """
        if processes.are_several:
            copy_from_writer([self._computation, *followers])
            self._model = parallel(self._computation, device)

    def release(self) -> None:
        """Let go of the other processes: gradients are this process's own from now on."""
        self._model = None


def split_state(state: State, own: Sequence[str]) -> tuple[State, State]:
    """A state without some of its entries, and these alone.

    Args:
        state: nested dicts; left as it is.
        own: the entries, as paths ("learner.generator"); those that are not there are passed over.
    """
    rest: State = dict(state)
    taken: State = {}
    for path in own:
        name, _, below = path.partition(".")
        if name not in rest:
            continue
        if below:
            rest[name], part = split_state(rest[name], [below])
            taken[name] = taken.get(name, {}) | part
        else:
            taken[name] = rest.pop(name)
    return rest, taken


def join_state(state: State, own: State) -> State:
    """The state that `split_state` took apart."""
    joined = dict(state)
    for name, value in own.items():
        joined[name] = join_state(joined[name], value) if name in joined and isinstance(value, dict) else value
    return joined
