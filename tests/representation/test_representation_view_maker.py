"""From a batch of images to views as an encoder takes them, by the stated rule."""

from dataclasses import replace

import pytest
import torch

from relic_rl.representation.natural_augmentation import crop_view, recolour
from relic_rl.representation.view_recipes import FIRST_VIEW, SECOND_VIEW, SMALL_VIEW, ViewRecipe, view_draws
from relic_rl.representation.views import ViewMaker

QUIET = ViewRecipe(crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0, jitter=0, grey=0, blur=0)
RECIPES = (FIRST_VIEW, SECOND_VIEW, replace(SMALL_VIEW, count=1))


def batch() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_each_view_follows_its_recipe_and_its_draws():
    draws = view_draws(1, 2, 3, 5, slice(0, 5))
    views = ViewMaker(RECIPES, (40, 40, 20))(batch(), draws)
    assert [tuple(view.shape) for view in views] == [(5, 3, 40, 40), (5, 3, 40, 40), (5, 3, 20, 20)]
    for view, recipe, numbers, size in zip(views, RECIPES, draws, (40, 40, 20), strict=True):
        expected = recolour(crop_view(batch(), recipe, numbers, (size, size)), recipe, numbers)
        assert torch.equal(view, expected)
        assert view.dtype == torch.float32
        assert not view.requires_grad
        assert float(view.min()) >= 0
        assert float(view.max()) <= 1
    assert not torch.equal(views[0], views[1])


def test_crops_made_elsewhere_are_only_mirrored_and_recoloured():
    maker = ViewMaker((replace(QUIET, flip=0.5), QUIET), (48, 48))
    draws = view_draws(1, 0, 2, 5, slice(0, 5))
    crops = [batch(), batch().flip(-2)]
    first, second = maker(crops, draws)
    torch.testing.assert_close(second, crops[1].float() / 255)
    flipped = torch.tensor([torch.equal(a, b) for a, b in zip(first, first, strict=True)])
    assert flipped.all()
    for image, view in zip(crops[0].float() / 255, first, strict=True):
        assert torch.allclose(view, image) or torch.allclose(view, image.flip(-1))


def test_an_agent_s_input_is_grey_and_stacked():
    maker = ViewMaker((QUIET, QUIET), (48, 48), grey=True, stack=4)
    view, _ = maker(batch(), view_draws(0, 0, 2, 5, slice(0, 5)))
    luma = (batch().float() / 255 * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
    assert view.shape == (5, 4, 48, 48)
    for channel in range(4):
        torch.testing.assert_close(view[:, channel], luma, atol=1e-5, rtol=0)
    assert maker.channels(3) == 4
    assert ViewMaker((QUIET,), (48,), stack=2).channels(3) == 6
    with pytest.raises(ValueError, match="made grey"):
        maker.channels(4)


def test_plain_images_are_only_resized():
    maker = ViewMaker(RECIPES, (48, 48, 20))
    torch.testing.assert_close(maker.plain(batch(), 48), batch().float() / 255)
    small = maker.plain(batch(), 24)
    mean = batch().float().mean((2, 3)) / 255
    torch.testing.assert_close(small.mean((2, 3)), mean, atol=0.01, rtol=0)
