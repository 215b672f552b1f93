"""The PPO network: one encoder, shared with the auxiliary head, under a policy and a value head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.profile import section


class PolicyAndValue(NamedTuple):
    """What the network says of a batch of observations (B: batch, A: actions)."""

    logits: Tensor  # float32 [B, A], unnormalised log-probabilities of the actions
    value: Tensor  # float32 [B], value of the observation


def orthogonal_linear(in_features: int, out_features: int, gain: float) -> nn.Linear:
    """A linear layer with orthogonal weights of the given gain and zero bias (PPO's initialisation)."""
    layer = nn.Linear(in_features, out_features)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class ActorCritic(nn.Module):
    """Encoder, policy head (orthogonal, gain 0.01) and value head (gain 1).

    The heads run in float32 also under autocast: ratios of probabilities are compared with a clip range of
    0.1, which eight bits of mantissa do not resolve.

    Args:
        encoder: maps images to features [B, encoder.feature_dim].
        num_actions: number of discrete actions A.
    """

    def __init__(self, encoder: Encoder, num_actions: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.policy = orthogonal_linear(encoder.feature_dim, num_actions, gain=0.01)
        self.value = orthogonal_linear(encoder.feature_dim, 1, gain=1.0)

    def forward(self, images: Tensor) -> PolicyAndValue:
        """Policy logits and value of images, uint8 or float in [0, 1], [B, C, H, W]."""
        with section("encoder"):
            features = self.encoder(images)
        return self.heads(features)

    @section("heads")
    def heads(self, features: Tensor) -> PolicyAndValue:
        """Policy logits and value of features [B, D], computed in float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            return PolicyAndValue(self.policy(features), self.value(features).squeeze(-1))


@torch.no_grad()
def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Let ``target`` have the weights of ``source``, a module of the same make."""
    for theirs, mine in zip(source.parameters(), target.parameters(), strict=True):
        mine.copy_(theirs)
