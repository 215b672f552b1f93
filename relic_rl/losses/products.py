"""Matrix products with narrow operands and wide results.

A product in bfloat16 that also returns bfloat16 rounds a logit of 10 to the nearest 0.06, so results are kept
in the working type (float32 or wider) while the operands are narrow: on CUDA by asking for that output type,
on a CPU by letting oneDNN use its bf16 units for a float32 product (where the processor has none, the product
stays float32).
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """Float32, or the widest type among the tensors where that is wider."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def multiply(a: Tensor, b: Tensor, product_dtype: torch.dtype | None, *, out: Tensor, accumulate: bool = False) -> None:
    """Write a @ b, or add it, to `out`; no gradient flows.

    Args:
        a: [N, D] in the working type.
        b: [D, M] in the working type.
        product_dtype: the operands' type inside the product; None means the working type.
        out: [N, M] in the working type.
        accumulate: add to what `out` holds.
    """
    narrow = product_dtype is not None and product_dtype != out.dtype
    on_bf16_units = False
    if product_dtype is not None and narrow:
        half = product_dtype in (torch.bfloat16, torch.float16) and out.dtype == torch.float32
        if half and out.is_cuda:
            product = torch.mm(a.to(product_dtype), b.to(product_dtype), out_dtype=torch.float32)
            if accumulate:
                out.add_(product)
            else:
                out.copy_(product)
            return
        on_bf16_units = half and product_dtype == torch.bfloat16 and out.device.type == "cpu"
        if not on_bf16_units:
            a, b = a.to(product_dtype).to(out.dtype), b.to(product_dtype).to(out.dtype)
    with _bf16_units() if on_bf16_units else nullcontext():
        if accumulate:
            out.addmm_(a, b)
        else:
            torch.mm(a, b, out=out)


@contextmanager
def _bf16_units() -> Iterator[None]:
    """Allow oneDNN to round the operands of float32 products to bfloat16, and put the setting back."""
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


class NarrowProduct(torch.autograd.Function):
    """a @ b.T with narrow operands, forward and backward; a [N, D], b [M, D], result [N, M]."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, a: Tensor, b: Tensor, product_dtype: torch.dtype) -> Tensor:
        """The product, in the working type."""
        ctx.save_for_backward(a, b)
        ctx.product_dtype = product_dtype  # type: ignore[attr-defined]
        out = a.new_empty(a.shape[0], b.shape[0])
        multiply(a, b.T, product_dtype, out=out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[no-untyped-def]
        """Gradients of both operands, again as narrow products."""
        a, b = ctx.saved_tensors
        grad_a = grad_b = None
        if ctx.needs_input_grad[0]:
            grad_a = torch.empty_like(a)
            multiply(grad, b, ctx.product_dtype, out=grad_a)
        if ctx.needs_input_grad[1]:
            grad_b = torch.empty_like(b)
            multiply(grad.T, a, ctx.product_dtype, out=grad_b)
        return grad_a, grad_b, None
