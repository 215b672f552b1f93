"""On a GPU: the augmentations do what they do on a CPU, and every objective gives the CPU's loss and gradient."""

import pytest
import torch

from relic_rl.representation.augmentation import FrameAugmentation, random_shift
from relic_rl.representation.objectives import OBJECTIVES, build_objective

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_shift_moves_each_sample_by_a_whole_offset():
    y, x = torch.arange(20)[:, None], torch.arange(24)
    images = (100 * y + x).expand(64, 2, -1, -1).cuda()
    moved = random_shift(images, 4, torch.Generator("cuda").manual_seed(0)).cpu()
    down, right = moved[:, 0, 10, 12] // 100 - 10, moved[:, 0, 10, 12] % 100 - 12
    assert (down.min(), down.max(), right.min(), right.max()) == (-4, 4, -4, 4)
    for sample, (a, b) in enumerate(zip(down, right, strict=True)):
        expected = 100 * (y + a).clamp(0, 19) + (x + b).clamp(0, 23)
        assert torch.equal(moved[sample], expected.expand(2, -1, -1))


def test_augmentation_stays_on_the_device_and_repeats():
    images = torch.randint(0, 256, (8, 4, 84, 84), dtype=torch.uint8, device="cuda")
    first = FrameAugmentation()(images, torch.Generator("cuda").manual_seed(3))
    again = FrameAugmentation()(images, torch.Generator("cuda").manual_seed(3))
    assert first.is_cuda
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", OBJECTIVES[2:])
def test_loss_and_gradient_are_those_of_the_cpu(small_encoder, small_views, name):
    found = []
    for device in ("cpu", "cuda"):
        encoder = small_encoder().double().to(device)
        objective = build_objective(name, encoder, projection_dim=10, hidden_dim=14).double()
        loss = objective(encoder, [view.to(device) for view in small_views()]).loss
        loss.backward()
        objective.update_target(encoder)
        found.append((loss.detach().cpu(), encoder.conv1.weight.grad.cpu()))
    for on_cpu, on_cuda in zip(*found, strict=True):
        torch.testing.assert_close(on_cuda, on_cpu, rtol=1e-7, atol=1e-12)
