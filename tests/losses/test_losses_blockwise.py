"""The blockwise form: the dense form's numbers, without its matrices."""

import itertools

import pytest
import torch
from losses_slow_reference import views
from torch.utils._python_dispatch import TorchDispatchMode

from relic_rl.losses import relic_loss, sample_negatives

DIVERGENCES = ["kl", "reverse_kl", "symmetric_kl", "js", "total_variation", "hellinger", "chi2", "renyi(0.5)"]


class LargestTensor(TorchDispatchMode):
    """Records the most elements of any tensor that an operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def losses(block_size, **options):
    """Output and gradients of a case of three views, two of them large, with all options on."""
    online, target = views(3, 13, 6, seed=0), views(2, 20, 6, seed=1)
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    out = relic_loss(online, target, temperature=tau, block_size=block_size, positive_offset=3, **options)
    return out, [*online, *target, tau]


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("stop", [None, "first", "second"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_equals_the_dense_form(divergence, stop, masked, alpha):
    options = dict(divergence=divergence, penalty_stop_gradient=stop, alpha=alpha)
    if masked:
        generator = torch.Generator().manual_seed(0)
        options["negatives"] = sample_negatives(13, 20, 9, positive_offset=3, generator=generator)
        options["anchor_group"] = torch.randint(0, 4, (13,), generator=generator)
        options["target_group"] = torch.randint(0, 4, (20,), generator=generator)
    dense, dense_inputs = losses(None, **options)
    for block_size in (1, 5, 13, 100):
        blocks, inputs = losses(block_size, **options)
        torch.testing.assert_close(tuple(blocks), tuple(dense), rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(
            torch.autograd.grad(blocks.total, inputs),
            torch.autograd.grad(dense.total, dense_inputs, retain_graph=True),
            rtol=1e-10,
            atol=1e-12,
        )


@pytest.mark.parametrize("divergence", ["kl", "js"])
@pytest.mark.parametrize(
    "wanted", [weights for weights in itertools.product((0.0, 1.0, -2.0), repeat=3) if any(weights)]
)
def test_any_mixture_of_the_outputs_can_be_differentiated(divergence, wanted):
    def gradients(block_size):
        out, inputs = losses(block_size, divergence=divergence)
        terms = [weight * term for weight, term in zip(wanted, out[:3], strict=True) if weight]
        return torch.autograd.grad(sum(terms), inputs)

    torch.testing.assert_close(gradients(5), gradients(None), rtol=1e-10, atol=1e-12)


def test_upstream_scale_and_repeated_backward():
    out, inputs = losses(5)
    dense, dense_inputs = losses(None)
    for scale in (3.0, -0.5):
        ours = torch.autograd.grad(scale * out.total, inputs, retain_graph=True)
        theirs = torch.autograd.grad(scale * dense.total, dense_inputs, retain_graph=True)
        torch.testing.assert_close(ours, theirs)


def test_without_grad_mode_nothing_is_recorded():
    with torch.no_grad():
        out, _ = losses(5)
    assert not any(term.requires_grad for term in out)
    torch.testing.assert_close(tuple(out), tuple(term.detach() for term in losses(None)[0]))


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("grouped", [False, True])
def test_no_square_matrix_is_ever_alive(divergence, grouped):
    rows, block_size = 600, 16
    online, target = (
        views(2, rows, 4, seed=0, dtype=torch.float32),
        views(2, rows, 4, seed=1, dtype=torch.float32),
    )
    group = torch.arange(rows) // 4
    groups = dict(anchor_group=group, target_group=group) if grouped else {}
    with LargestTensor() as largest:
        relic_loss(online, target, divergence=divergence, block_size=block_size, **groups).total.backward()
    assert largest.elements <= 2 * block_size * rows
    with LargestTensor() as largest:
        relic_loss(online, target, divergence=divergence, **groups).total.backward()
    assert largest.elements >= rows * rows


@pytest.mark.parametrize("product_dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("block_size", [None, 100])
def test_narrow_products(product_dtype, block_size):
    online, target = (
        views(2, 300, 64, seed=0, dtype=torch.float32),
        views(2, 300, 64, seed=1, dtype=torch.float32),
    )
    before = torch.backends.mkldnn.matmul.fp32_precision
    narrow = relic_loss(online, target, product_dtype=product_dtype, block_size=block_size)
    wide = relic_loss(online, target)
    ours = torch.autograd.grad(narrow.total, online + target)
    theirs = torch.autograd.grad(wide.total, online + target)
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert narrow.total.dtype == torch.float32
    torch.testing.assert_close(narrow.total, wide.total, rtol=2e-3, atol=0)
    for narrow_gradient, wide_gradient in zip(ours, theirs, strict=True):
        assert narrow_gradient.dtype == torch.float32
        assert (narrow_gradient - wide_gradient).norm() < 0.02 * wide_gradient.norm()


@pytest.mark.parametrize("block_size", [None, 100])
def test_product_type_is_obeyed(block_size):
    online, target = views(2, 300, 64, seed=0), views(2, 300, 64, seed=1)
    wide = relic_loss(online, target, block_size=block_size)
    for product_dtype, smallest, largest in ((torch.float32, 1e-10, 1e-6), (torch.bfloat16, 1e-6, 1e-2)):
        narrow = relic_loss(online, target, product_dtype=product_dtype, block_size=block_size)
        assert narrow.total.dtype == torch.float64
        assert smallest < (narrow.total / wide.total - 1).abs() < largest
