"""The R2D2 network: encoder, LSTM, dueling heads.

Source: Kapturowski et al., 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning",
sec. 2.3; dueling heads of Wang et al., 2016 (arXiv 1511.06581), eq. 9.

Departures: the previous reward enters the LSTM rescaled by h, since rewards are not clipped and those of some
games would saturate it; the forget gate's bias starts at 1.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from agents.value_rescaling import rescale
from relic_rl.representation.encoders import Encoder
from relic_rl.runtime.profile import section


class RecurrentQNetwork(nn.Module):
    """Action values of sequences of observations (T: time, B: batch, F: features, D: LSTM units, A: actions).

    The three parts are called one by one, so that the convolutions run once over all T * B images and cuDNN's
    fused LSTM over whole sequences. LSTM and heads stay in float32 also under autocast.

    Args:
        encoder: maps images to features [N, encoder.feature_dim].
        num_actions: A.
        state_size: D.
        hidden_size: units of the hidden layer of each head.
    """

    def __init__(self, encoder: Encoder, num_actions: int, *, state_size: int = 512, hidden_size: int = 512) -> None:
        super().__init__()
        self.encoder = encoder
        self.num_actions = num_actions
        self.state_size = state_size
        self.lstm = nn.LSTM(encoder.feature_dim + num_actions + 1, state_size)
        with torch.no_grad():  # gates are ordered input, forget, cell, output; the two biases are added
            biases = dict(self.lstm.named_parameters())
            biases["bias_ih_l0"][state_size : 2 * state_size] = 1.0
            biases["bias_hh_l0"][state_size : 2 * state_size] = 0.0
        self.value = _head(state_size, hidden_size, 1)
        self.advantage = _head(state_size, hidden_size, num_actions)

    def copied(self) -> RecurrentQNetwork:
        """A copy that shares nothing with this one, its LSTM's weights in one piece as cuDNN wants them."""
        copied = copy.deepcopy(self)
        copied.lstm.flatten_parameters()
        return copied

    def initial_state(self, batch_size: int) -> Tensor:
        """(h, c) at an episode's start: zeros, float32 [2, B, D]."""
        return torch.zeros(2, batch_size, self.state_size, device=next(self.parameters()).device)

    @section("encoder")
    def features(self, images: Tensor) -> Tensor:
        """Features [T, B, F] of images [T, B, C, H, W], in one pass of the encoder."""
        features: Tensor = self.encoder(images.flatten(0, 1))
        return features.view(*images.shape[:2], -1)

    @section("LSTM")
    def remember(self, features: Tensor, action_tm1: Tensor, reward_t: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run the LSTM over T rows of one episode each.

        Args:
            features: [T, B, F].
            action_tm1: int64 [T, B], the action that led to each observation; -1 for none.
            reward_t: float [T, B], the raw reward that came with it.
            state: float32 [2, B, D], (h, c) before the first row.

        Returns:
            Outputs [T, B, D] and the state after the last row, [2, B, D].
        """
        with torch.autocast(features.device.type, enabled=False):
            one_hot = action_tm1[..., None] == torch.arange(self.num_actions, device=action_tm1.device)
            inputs = torch.cat([features.float(), one_hot.float(), rescale(reward_t.float())[..., None]], dim=-1)
            outputs, (h, c) = self.lstm(inputs, (state[:1].contiguous(), state[1:].contiguous()))
        return outputs, torch.cat([h, c])

    @section("heads")
    def action_values(self, outputs: Tensor) -> Tensor:
        """Q = V + A - mean A, float32 [..., A], of outputs [..., D]; on the scale of h."""
        with torch.autocast(outputs.device.type, enabled=False):
            advantage = self.advantage(outputs)
            values: Tensor = self.value(outputs) + advantage - advantage.mean(-1, keepdim=True)
        return values


def _head(in_features: int, hidden_size: int, out_features: int) -> nn.Sequential:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(in_features, hidden_size), nn.ReLU(), nn.Linear(hidden_size, out_features))
