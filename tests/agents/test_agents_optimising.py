"""One optimiser step: clipping, and filters that keep mean zero."""

import torch

from agents.networks import ActorCritic
from agents.optimising import step
from relic_rl.representation.encoders import NatureEncoder
from relic_rl.runtime.guard import GradientGuard


def take_steps(
    count: int, *, max_norm: float = 1e9, loss: float = 1.0
) -> tuple[ActorCritic, list[torch.Tensor], list[torch.Tensor]]:
    """Steps on random gradients whose filters have means; the network, the norms, the raw gradients of the last."""
    torch.manual_seed(0)
    network = ActorCritic(NatureEncoder(image_size=(36, 36), feature_dim=6), 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    guard = GradientGuard(max_norm)
    norms, gradients = [], []
    for _ in range(count):
        gradients = [torch.randn_like(parameter) + 1 for parameter in network.parameters()]
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        norms.append(step(torch.tensor(loss), network.parameters(), optimizer, guard, {}, None, network.encoder))
    return network, norms, gradients


def largest_mean(network: ActorCritic) -> float:
    return max(float(w.detach().flatten(1).mean(1).abs().max()) for w in network.encoder.centred)


def test_filters_keep_mean_zero_and_heads_do_not() -> None:
    network, _, _ = take_steps(3)
    assert largest_mean(network) < 1e-7
    assert network.policy.weight.mean().abs() > 0.1


def test_the_norm_is_that_of_what_is_applied() -> None:
    network, norms, gradients = take_steps(1)
    centred = {id(weight) for weight in network.encoder.centred}
    means = [gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True) for gradient in gradients]
    applied = [
        gradient - mean if id(parameter) in centred else gradient
        for parameter, gradient, mean in zip(network.parameters(), gradients, means, strict=True)
    ]
    expected = torch.cat([gradient.flatten() for gradient in applied]).norm()
    torch.testing.assert_close(norms[0], expected)
    clipped, _, _ = take_steps(1, max_norm=0.5)
    kept = torch.cat([parameter.grad.flatten() for parameter in clipped.parameters() if parameter.grad is not None])
    assert kept.norm() < 0.5001


def test_a_skipped_step_leaves_the_filters_alone() -> None:
    untouched, _, _ = take_steps(0)
    network, _, _ = take_steps(1, loss=float("nan"))
    for parameter, same in zip(network.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(parameter, same)
