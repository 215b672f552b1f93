"""An encoder as acting uses it: its weights stay until the next update, so they are rounded once for all steps."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from relic_rl.representation.encoders import Encoder


class ActingEncoder:
    """Features to the bit as the encoder's under autocast, without autocast's cast of every weight at every call.

    ``benchmarks/acting.py`` measures what that saves.

    Args:
        encoder: the one that learns; without buffers.
        dtype: of autocast, within which this is called; None: the encoder itself is used.
    """

    def __init__(self, encoder: Encoder, dtype: torch.dtype | None) -> None:
        self._encoder = self._rounded = encoder
        if dtype is None:
            return
        self._rounded = copy.deepcopy(encoder).requires_grad_(False)
        for name, parameter in self._rounded.named_parameters():
            if name != encoder.input_weight:  # it is scaled before it is rounded
                parameter.data = parameter.data.to(dtype)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the encoder's weights; due whenever it has learned."""
        if self._rounded is not self._encoder:
            for ours, theirs in zip(self._rounded.parameters(), self._encoder.parameters(), strict=True):
                ours.copy_(theirs)

    def __call__(self, images: Tensor) -> Tensor:
        """Features [N, D] of images [N, C, H, W]."""
        features: Tensor = self._rounded(images)
        return features
