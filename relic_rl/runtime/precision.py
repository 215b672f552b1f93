"""Low precision where it pays: bf16 without hardware for it can be 500 times slower, so auto measures."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import nn

TrainingStep = Callable[[int, torch.dtype | None], None]
"""Runs a training step of a batch size under autocast to a dtype, or (None) in fp32; no effect is kept."""

_SMALL_BATCH = 4
_HOPELESS = 4.0  # bf16 this many times slower on the small batch is not tried on the full one


class PrecisionDecision(NamedTuple):
    """What is computed in, and why."""

    precision: Literal["fp32", "bf16"]
    reason: str  # one line, measured milliseconds in it

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The dtype for ``torch.autocast``; None for fp32, without autocast."""
        return torch.bfloat16 if self.precision == "bf16" else None


def decide_precision(
    requested: Literal["auto", "fp32", "bf16"],
    step: TrainingStep,
    batch_size: int,
    device: torch.device,
    *,
    min_gain: float = 1.1,
    seconds: float = 5.0,
    clock: Callable[[], float] = time.perf_counter,
) -> PrecisionDecision:
    """Choose between fp32 and bf16 autocast by timing a training step in both.

    A small batch comes first, so that a bf16 that is hopeless costs little. Of several times the least counts: what
    else the machine does can only add, and may fall on one of the two. Timings differ from run to run all the same: so
    may the choice where both are close, and a run's config.yaml records it.

    Args:
        requested: anything but ``auto`` is taken as it is.
        step: what to time; see `encoder_step`.
        batch_size: the size that training will use.
        device: where ``step`` computes.
        min_gain: bf16 must be this many times faster: below, its rounding is not worth it.
        seconds: limit of the repetitions; the first runs of each kind come on top.
        clock: seconds, for tests.
    """
    if requested != "auto":
        return PrecisionDecision(requested, f"{requested} as asked for")

    def milliseconds(size: int, dtype: torch.dtype | None) -> float:
        _synchronize(device)
        start = clock()
        step(size, dtype)
        _synchronize(device)
        return 1e3 * (clock() - start)

    def least(size: int, enough: Callable[[int, float, float], bool]) -> tuple[float, float]:
        for dtype in (None, torch.bfloat16):
            milliseconds(size, dtype)  # warm up
        fp32, bf16, times = math.inf, math.inf, 0
        while not enough(times, fp32, bf16):
            # In turns, so that whatever else the machine does falls on both.
            fp32 = min(fp32, milliseconds(size, None))
            bf16 = min(bf16, milliseconds(size, torch.bfloat16))
            times += 1
        return fp32, bf16

    small = min(_SMALL_BATCH, batch_size)
    fp32, bf16 = least(small, lambda times, fp32, bf16: times == 3 or bf16 <= _HOPELESS * fp32 < math.inf)
    if bf16 > _HOPELESS * fp32:
        return PrecisionDecision("fp32", f"auto chose fp32: {_timings(small, fp32, bf16)}")
    start = clock()
    fp32, bf16 = least(batch_size, lambda times, *_: times >= 3 and (times == 15 or clock() - start >= seconds))
    choice: Literal["fp32", "bf16"] = "bf16" if bf16 * min_gain < fp32 else "fp32"
    return PrecisionDecision(choice, f"auto chose {choice}: {_timings(batch_size, fp32, bf16)}")


def _timings(batch_size: int, fp32: float, bf16: float) -> str:
    return f"a training step of {batch_size} images took {bf16:.3g} ms in bf16, {fp32:.3g} ms in fp32"


def encoder_step(encoder: nn.Module, observation_shape: tuple[int, int, int], device: torch.device) -> TrainingStep:
    """A training step, forward and backward, of a copy of an encoder on random images; a frozen one's is forward only.

    Args:
        encoder: maps uint8 images [N, C, H, W] to features [N, D]; neither it nor its gradients change.
        observation_shape: (C, H, W).
        device: where to compute.
    """
    twin = copy.deepcopy(encoder).to(device)
    generator = torch.Generator().manual_seed(0)
    learns = any(parameter.requires_grad for parameter in twin.parameters())

    def step(batch_size: int, dtype: torch.dtype | None) -> None:
        images = torch.randint(256, (batch_size, *observation_shape), dtype=torch.uint8, generator=generator)
        twin.zero_grad(set_to_none=True)
        with autocast(device, dtype):
            features = twin(images.to(device))
        if learns:
            features.float().square().mean().backward()

    return step


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """The context of a forward pass: autocast to ``dtype``, or nothing for None."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def set_fp32_products(device: torch.device) -> str:
    """Fix what "fp32" means on CUDA, and say it: what cuDNN computes, convolutions and LSTMs, in TF32, other matrix
    products in full precision.

    These are torch's defaults. A matrix product makes the contrastive logits, which are divided by a small
    temperature: TF32's 10 bits of mantissa would show there.
    """
    if device.type != "cuda":
        return "fp32 products and convolutions in full precision"
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    return "fp32 matrix products in full precision, convolutions and LSTMs in TF32"


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
