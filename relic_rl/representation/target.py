"""The target branch h: an exponential moving average of encoder and critic.

Source: Grill et al., 2020 (arXiv 2006.07733), section 3.1; used by RELIC as its target network.
"""

import copy

import torch
from torch import Tensor, nn


class TargetNetwork(nn.Module):
    """An averaged copy of an encoder and its critic, equal to them at first; nothing in it receives gradient.

    Args:
        encoder: the online encoder.
        critic: the online critic.
        decay: d, the fraction of the old average that an update keeps, in [0, 1].

    Raises:
        ValueError: decay outside [0, 1].
    """

    def __init__(self, encoder: nn.Module, critic: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"target_decay is the fraction of the old target kept, in [0, 1]; got {decay}")
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.critic = copy.deepcopy(critic).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Target outputs [N, D], without gradient, of images [N, C, H, W]."""
        outputs: Tensor = self.critic(self.encoder(images))
        return outputs

    @torch.no_grad()
    def update(self, encoder: nn.Module, critic: nn.Module) -> None:
        """Target <- d * target + (1 - d) * online for parameters; buffers (batch-norm statistics) are copied.

        Call it once after each completed optimiser step.
        """
        averages: list[Tensor] = [*self.parameters()]
        parameters: list[Tensor] = [*encoder.parameters(), *critic.parameters()]
        torch._foreach_lerp_(averages, parameters, 1.0 - self.decay)
        for own, theirs in zip(self.buffers(), [*encoder.buffers(), *critic.buffers()], strict=True):
            own.copy_(theirs)
