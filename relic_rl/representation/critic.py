"""The critic g: a fully-connected network of one or two layers between features and a loss.

Source: Mitrovic et al., ICLR 2021 (arXiv 2010.07922), section 3.

Departures: no batch normalisation by default. In reinforcement learning the batches are small and come from
few trajectories, so batch statistics would leak from one row to another and differ from update to update; for
pretraining on images, where SimCLR and BYOL rely on it, it is an option.
"""

from torch import Tensor, nn


class Critic(nn.Module):
    """Linear, or linear - (batch norm) - ReLU - linear, with torch's default initialisation.

    Args:
        in_dim: number of inputs.
        hidden_dim: hidden units of a critic of two layers.
        out_dim: number of outputs D.
        layers: 1 or 2.
        batch_norm: normalise the hidden units over the batch; two layers only.

    Raises:
        ValueError: another number of layers, batch_norm with one layer, or a dimension below 1.
    """

    def __init__(
        self, in_dim: int, hidden_dim: int, out_dim: int, layers: int = 2, *, batch_norm: bool = False
    ) -> None:
        super().__init__()
        if layers not in (1, 2):
            raise ValueError(f"a critic has 1 or 2 layers, got {layers}")
        if min(in_dim, hidden_dim, out_dim) < 1:
            raise ValueError(f"critic dimensions must be at least 1, got {in_dim}, {hidden_dim}, {out_dim}")
        if layers == 1:
            if batch_norm:
                raise ValueError("a critic of one layer has no hidden units to batch-normalise: use two layers")
            self.layers = nn.Sequential(nn.Linear(in_dim, out_dim))
            return
        normalization = [nn.BatchNorm1d(hidden_dim)] if batch_norm else []
        self.layers = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            *normalization,
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, out_dim),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Outputs [N, out_dim] for features [N, in_dim]."""
        outputs: Tensor = self.layers(features)
        return outputs
