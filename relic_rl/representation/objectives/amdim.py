"""AMDIM: mutual information between global and local features of two views, across scales.

Source: Bachman, Hjelm and Buchwalter, 2019 (arXiv 1906.00910), sections 3.2 to 3.5.

The scales are the encoder's features (AMDIM's 1x1), its coarsest map and the map before that. For 84x84
images they are, for `nature`, 7x7 (third convolution) and 9x9 (second), and for `impala`, 11x11 (third stage)
and 21x21 (second).

As in AMDIM's own code, the terms of a pair of scales are averaged over both directions and summed over pairs
of scales.

Departures: the encoder is not AMDIM's, whose receptive fields were limited on purpose, and has no batch
normalisation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from relic_rl.losses import amdim_nce_loss
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import Encoder
from relic_rl.representation.gather import row_offset, world_size
from relic_rl.representation.objectives.base import (
    Objective,
    ObjectiveOutput,
    accuracy,
    full_precision,
    widen,
)


class AMDIMObjective(Objective):
    """NCE between two views, summed over the scale pairs 1 -> coarse, 1 -> fine and coarse -> coarse.

    Where the source is a map, one location per image, drawn anew at each call, is the anchor. The draws come
    from a generator of the objective's own, seeded from torch's global one, and its state is part of the
    state dict. Several processes, all of the same seed, draw for all rows and take their own, as one would.

    Metrics: `global_to_coarse`, `global_to_fine`, `coarse_to_coarse`, the three terms; `accuracy`, the share
    of images whose global output scores highest, on average over locations, with its own coarse map in the
    other view.

    Args:
        critic: projects the encoder's features.
        coarse_critic: projects each location of the coarsest map.
        fine_critic: projects each location of the map before it.
    """

    def __init__(self, critic: Critic, coarse_critic: Critic, fine_critic: Critic) -> None:
        super().__init__()
        self.critic = critic
        self.coarse_critic = coarse_critic
        self.fine_critic = fine_critic
        self.generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))

    def forward(self, encoder: Encoder, views: Sequence[Tensor], groups: Tensor | None = None) -> ObjectiveOutput:
        """All scale pairs in both directions; see `Objective.forward`."""
        self.check(views, groups)
        maps = encoder.feature_maps(torch.cat(list(views)))
        whole = widen(self.critic(encoder.head(maps[-1]))).chunk(2)  # per view [B, D]
        coarse = _project(maps[-1], self.coarse_critic).chunk(2)  # per view [B, L, D]
        fine = _project(maps[-2], self.fine_critic).chunk(2)
        all_coarse, all_fine = self.candidates(coarse), self.candidates(fine)
        offset = self.offset(len(views[0]))
        terms: dict[str, Tensor] = {}
        with full_precision(whole[0]):
            for name, source, target in (
                ("global_to_coarse", whole, all_coarse),
                ("global_to_fine", whole, all_fine),
                ("coarse_to_coarse", [self._sample(view) for view in coarse], all_coarse),
            ):
                forth = amdim_nce_loss(source[0], target[1], positive_offset=offset)
                back = amdim_nce_loss(source[1], target[0], positive_offset=offset)
                terms[name] = 0.5 * (forth + back)
            hits = accuracy(whole[0].detach() @ all_coarse[1].detach().mean(dim=1).T, offset)
        loss = torch.stack(list(terms.values())).sum()
        return ObjectiveOutput(loss, {name: term.detach() for name, term in terms.items()} | {"accuracy": hits})

    def _sample(self, local: Tensor) -> Tensor:
        """One location of each image, [B, D] of [B, L, D]."""
        batch, locations, _ = local.shape
        first = row_offset(batch)
        index = torch.randint(locations, (world_size() * batch,), generator=self.generator)[first : first + batch]
        return local[torch.arange(batch, device=local.device), index.to(local.device)]

    def get_extra_state(self) -> Tensor:
        """State of the generator of locations, uint8."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Continue the stream of locations."""
        self.generator.set_state(state.cpu())


def _project(feature_map: Tensor, critic: nn.Module) -> Tensor:
    """Each location of a map [N, C, H, W] through a critic: [N, H * W, D]."""
    outputs: Tensor = widen(critic(feature_map.permute(0, 2, 3, 1).flatten(0, 2)))
    return outputs.reshape(feature_map.shape[0], -1, outputs.shape[1])
