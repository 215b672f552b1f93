"""PPO's loss: clipped surrogate, clipped value loss, entropy bonus. Pure functions of tensors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agents.networks import PolicyAndValue
from agents.rollout import PPOBatch


def anchored(output: PolicyAndValue, batch: PPOBatch) -> PPOBatch:
    """The minibatch as if ``output`` had been said when it was collected; what did act is kept as ``weight``.

    The surrogate's ratio and the clipped value are then held near ``output``, and the expectation stays that over the
    transitions of the policy that acted (Hilton et al., 2022, arXiv 2110.00641: decoupled PPO).
    """
    log_prob = torch.log_softmax(output.logits.detach(), dim=-1).gather(1, batch.action[:, None]).squeeze(1)
    weight = batch.weight * (log_prob - batch.log_prob).exp()
    return batch._replace(log_prob=log_prob, weight=weight, value=output.value.detach())


class PPOLoss(NamedTuple):
    """Scalars; everything but ``total`` is detached."""

    total: Tensor  # policy + value_coefficient * value - entropy_coefficient * entropy
    policy: Tensor
    value: Tensor
    entropy: Tensor  # nats
    approximate_kl: Tensor  # estimate of KL(old policy || new policy), nats
    clip_fraction: Tensor  # share of ratios outside the clip range


def ppo_loss(
    output: PolicyAndValue,
    batch: PPOBatch,
    *,
    clip_range: float,
    clip_value: bool,
    value_coefficient: float,
    entropy_coefficient: float,
    moments: tuple[float, float] | None = None,
) -> PPOLoss:
    """The clipped surrogate objective with its value and entropy terms, negated, a mean over the minibatch.

    The advantages are normalised over the minibatch to mean 0 and standard deviation 1 (that of the minibatch
    itself, without Bessel's correction: a minibatch of one stays finite). The value loss is half the squared
    error; with ``clip_value`` it is the larger of that and of the error of a prediction kept within
    ``clip_range`` of the old one. Where the rows are a part of a minibatch, ``moments`` are mean and standard deviation
    of all its advantages. KL is estimated by ``mean(ratio - 1 - log ratio)``, never negative.

    A transition's surrogate counts ``weight`` times: its ratio may be to another policy than the one that acted
    (Hilton et al., 2022, arXiv 2110.00641, section 3).

    Source: Schulman et al., 2017 (arXiv 1707.06347), eq. 7 and 9; value clipping and the normalisation as in
    OpenAI Baselines; the KL estimate is Schulman's k3.
    """
    log_probs = torch.log_softmax(output.logits, dim=-1)
    log_ratio = log_probs.gather(1, batch.action[:, None]).squeeze(1) - batch.log_prob
    ratio = log_ratio.exp()
    mean, deviation = moments or (batch.advantage.mean(), batch.advantage.std(correction=0))
    advantage = (batch.advantage - mean) / (deviation + 1e-8)
    clipped_ratio = ratio.clamp(1 - clip_range, 1 + clip_range)
    policy = -(batch.weight * torch.minimum(advantage * ratio, advantage * clipped_ratio)).mean()

    squared_error = (output.value - batch.return_).square()
    if clip_value:
        near_old = batch.value + (output.value - batch.value).clamp(-clip_range, clip_range)
        squared_error = torch.maximum(squared_error, (near_old - batch.return_).square())
    value = 0.5 * squared_error.mean()
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()

    total = policy + value_coefficient * value - entropy_coefficient * entropy
    with torch.no_grad():
        approximate_kl = (ratio - 1 - log_ratio).mean()
        clip_fraction = ((ratio - 1).abs() > clip_range).float().mean()
    return PPOLoss(total, policy.detach(), value.detach(), entropy.detach(), approximate_kl, clip_fraction)
