"""The auxiliary loss: two views, each augmented anew, by the given stream; every k-th update."""

import torch
from ppo_fakes import SHAPE, SpyObjective, TinyEncoder, make_auxiliary


def noise(images, generator):
    return images.float() / 255 + torch.randn(images.shape, generator=generator)


def test_two_views_from_the_stream():
    objective = SpyObjective()
    generator = torch.Generator().manual_seed(3)
    auxiliary = make_auxiliary(objective, augmentation=noise, generator=generator)
    frames = torch.randint(0, 256, (6, *SHAPE), dtype=torch.uint8)
    groups = torch.arange(6)
    torch.manual_seed(0)
    encoder = TinyEncoder()
    output = auxiliary(encoder, frames, groups)
    twin = torch.Generator().manual_seed(3)
    first, second = objective.views[0]
    assert torch.equal(first, noise(frames, twin))
    assert torch.equal(second, noise(frames, twin))
    assert not torch.equal(first, second)
    assert objective.groups[0] is groups
    assert output.loss.item() == SpyObjective()(encoder, [first, second]).loss.item()


def test_due_every_k_updates_from_the_first():
    for every in (1, 3):
        auxiliary = make_auxiliary(SpyObjective(), every=every)
        assert [k for k in range(7) if auxiliary.due(k)] == list(range(0, 7, every))


def test_no_groups_unless_given():
    objective = SpyObjective()
    make_auxiliary(objective)(TinyEncoder(), torch.zeros(2, *SHAPE, dtype=torch.uint8))
    assert objective.groups == [None]
