"""What the tests of objectives share."""

import torch

from relic_rl.representation.objectives import OBJECTIVES, build_objective

TRAINED = OBJECTIVES[2:]
SMALL = {"projection_dim": 10, "hidden_dim": 14}


def build(name, encoder, **options):
    torch.manual_seed(1)
    return build_objective(name, encoder, **SMALL | options)


def apart(objective, encoder, seed=5):
    """Move the online networks away from the target, as training does."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in (*encoder.parameters(), *(p for p in objective.parameters() if p.requires_grad)):
            p.add_(0.02 * torch.randn_like(p))


def outputs(encoder, critic, view):
    """One image at a time."""
    return torch.cat([critic(encoder(image[None])) for image in view])


def unlike(small_views):
    """Two views of partly different images, so that some anchors miss their positive."""
    first, second = small_views()
    other = small_views(seed=1)[0]
    return [first, torch.cat([second[:3], other[3:]])]
