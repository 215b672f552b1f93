"""Batch normalisation over the rows of all processes.

Source: Ioffe and Szegedy, 2015 (arXiv 1502.03167). On CUDA torch's own SyncBatchNorm does it; it refuses CPU
tensors, for which the class below computes the same.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from relic_rl.representation.gather import world_size


class _AllSum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of what all processes want of it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        summed = grad.clone()
        dist.all_reduce(summed)
        return summed


class ProcessBatchNorm(nn.BatchNorm2d):
    """BatchNorm1d or BatchNorm2d whose statistics in training are those of all processes' rows.

    Every process must hold as many rows. The names in the state dict are those of torch's classes.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in (2, 4):
            raise ValueError(f"batch normalisation takes [N, C] or [N, C, H, W], got {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [N, C] or [N, C, H, W]."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [1, -1] + [1] * (input.ndim - 2)
        count = world_size() * input.numel() // input.shape[1]
        sums: Tensor = _AllSum.apply(wide.sum(axes))  # type: ignore[no-untyped-call]
        mean = sums / count
        centred = wide - mean.view(shape)
        # Two rounds instead of E[x^2] - E[x]^2, which cancels.
        squares: Tensor = _AllSum.apply(centred.square().sum(axes))  # type: ignore[no-untyped-call]
        variance = squares / count
        if self.running_mean is not None and self.running_var is not None:
            self._follow(mean.detach(), variance.detach(), count)
        scale = torch.rsqrt(variance + self.eps)
        normalised = centred * scale.view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics, the variance unbiased, as torch does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        unbiased = variance * (count / max(count - 1, 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """The module with its batch normalisation over all processes; itself where there is only one.

    Call it once the module is on its device and before its parameters are handed to an optimiser: parameters
    and buffers are kept, the layers around them are new.
    """
    if world_size() == 1:
        return module
    if any(tensor.is_cuda for tensor in module.state_dict().values() if isinstance(tensor, Tensor)):
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return converted
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and not isinstance(child, ProcessBatchNorm):
                setattr(parent, name, _converted(child))
    return module


def _converted(layer: nn.BatchNorm1d | nn.BatchNorm2d) -> ProcessBatchNorm:
    new = ProcessBatchNorm(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    new.weight, new.bias = layer.weight, layer.bias
    new.running_mean, new.running_var = layer.running_mean, layer.running_var
    new.num_batches_tracked = layer.num_batches_tracked
    new.train(layer.training)
    return new
