"""Natural-image augmentation: each step against a slow version by hand, draws that repeat, recipes by name."""

import colorsys
import math
from dataclasses import replace

import kornia
import numpy as np
import pytest
import torch
from torch.nn import functional

from relic_rl.representation import colour_jitter
from relic_rl.representation.colour_jitter import to_grey
from relic_rl.representation.crops import CROP_DRAWS, crop_boxes
from relic_rl.representation.natural_augmentation import crop_view, mirror, recolour
from relic_rl.representation.view_recipes import (
    FIRST_VIEW,
    SECOND_VIEW,
    SMALL_VIEW,
    VIEW_DRAWS,
    ViewDraws,
    ViewRecipe,
    parse_recipe,
    view_draws,
)

NOTHING = ViewRecipe(crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=0, jitter=0, grey=0, blur=0)


def draws(batch: int = 6, seed: int = 0, **columns) -> ViewDraws:
    (made,) = view_draws(seed, 0, 1, batch, slice(0, batch))
    return made


def photographs(batch: int = 6, size: int = 20, channels: int = 3) -> torch.Tensor:
    coarse = torch.rand(batch, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    return functional.interpolate(coarse, size=(size, size), mode="bilinear")


# ---------------------------------------------------------------------------------------------- boxes


def test_boxes_lie_inside_and_have_the_area_and_shape_asked_for():
    uniform = np.random.default_rng(0).random((4000, CROP_DRAWS))
    height, width = np.full(4000, 300.0), np.full(4000, 400.0)
    top, left, tall, wide = crop_boxes(uniform, height, width, (0.08, 1.0), (3 / 4, 4 / 3)).T
    assert min(top.min(), left.min()) >= 0
    assert (top + tall).max() <= 1 + 1e-12
    assert (left + wide).max() <= 1 + 1e-12
    assert 0.08 - 1e-9 <= (tall * wide).min() < 0.085
    shape = wide * 400 / (tall * 300)
    assert shape.min() >= 3 / 4 - 1e-9
    assert shape.max() <= 4 / 3 + 1e-9
    assert abs(np.log(shape).mean()) < 0.05  # wide boxes fit a wide image more often


def test_boxes_follow_a_slow_version():
    uniform = np.random.default_rng(1).random((50, CROP_DRAWS))
    for row, (height, width) in zip(uniform, [(30, 200), (100, 100)] * 25, strict=True):
        expected = None
        for i in range(4):
            area = (0.3 + 0.7 * row[i]) * height * width
            ratio = math.exp(math.log(0.5) + (math.log(2) - math.log(0.5)) * row[4 + i])
            h, w = math.sqrt(area / ratio), math.sqrt(area * ratio)
            if h <= height and w <= width:
                expected = (row[8] * (height - h), row[9] * (width - w), h, w)
                break
        if expected is None:  # the middle, as wide as the widest shape allows
            h, w = height, min(width, 2 * height)
            expected = (0, (width - w) / 2, h, w)
        box = crop_boxes(row[None], np.array([height]), np.array([width]), (0.3, 1.0), (0.5, 2.0))[0]
        assert np.allclose(box * [height, width, height, width], expected)


# -------------------------------------------------------------------------------------- the steps


def test_nothing_is_the_identity():
    images = (photographs() * 255).to(torch.uint8)
    view = recolour(crop_view(images, NOTHING, draws(), (20, 20)), NOTHING, draws())
    torch.testing.assert_close(view, images.float() / 255)


def test_a_crop_is_the_box_resized():
    """Against a direct evaluation of bilinear interpolation at every output pixel."""
    images, made = photographs(3), draws(3)
    recipe = replace(NOTHING, crop_area=(0.2, 0.6), crop_ratio=(0.8, 1.25), flip=0.5)
    found = crop_view(images, recipe, made, (7, 7))
    boxes = crop_boxes(made.crop, np.full(3, 20), np.full(3, 20), recipe.crop_area, recipe.crop_ratio)
    for i, (top, left, tall, wide) in enumerate(boxes):
        flipped = made.uniform[i, CROP_DRAWS] < 0.5
        for r in range(7):
            for c in range(7):
                y = (top + tall * (r + 0.5) / 7) * 20 - 0.5
                x = (left + wide * ((6 - c if flipped else c) + 0.5) / 7) * 20 - 0.5
                y, x = min(max(y, 0), 19), min(max(x, 0), 19)
                y0, x0 = min(int(y), 18), min(int(x), 18)
                a, b = y - y0, x - x0
                corner = images[i, :, y0 : y0 + 2, x0 : x0 + 2]
                weights = torch.tensor([[(1 - a) * (1 - b), (1 - a) * b], [a * (1 - b), a * b]])
                torch.testing.assert_close(found[i, :, r, c], (corner * weights).sum((1, 2)).float(), atol=2e-5, rtol=0)


def test_mirror_and_shift():
    images, made = photographs(32), draws(32)
    mirrored = mirror(images, replace(NOTHING, flip=0.5), made)
    flags = made.uniform[:, CROP_DRAWS] < 0.5
    assert 5 < flags.sum() < 27
    for i in range(32):
        assert torch.equal(mirrored[i], images[i].flip(-1) if flags[i] else images[i])
    shifted = crop_view(images, replace(NOTHING, shift=4), made, (20, 20))
    padded = functional.pad(images, (4, 4, 4, 4), mode="replicate")
    windows = {(dy, dx) for dy in range(9) for dx in range(9)}
    for i in range(32):
        gaps = {w: (padded[i, :, w[0] : w[0] + 20, w[1] : w[1] + 20] - shifted[i]).abs().max() for w in windows}
        assert min(gaps.values()) < 1e-5


def test_colours_against_the_definitions():
    images, made = photographs(8), draws(8)
    amount = {name: 2 * made.column(i).astype(np.float64) - 1 for i, name in ((2, "b"), (3, "c"), (4, "s"), (5, "h"))}
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)

    def factor(name, strength):
        return torch.tensor(1 + strength * amount[name], dtype=torch.float32).view(-1, 1, 1, 1)

    def only(**strengths):
        quiet = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
        return recolour(images.clone(), replace(NOTHING, jitter=1.0, **(quiet | strengths)), made)

    grey = (images * luma).sum(1, keepdim=True)
    torch.testing.assert_close(only(brightness=0.4), (images * factor("b", 0.4)).clamp(0, 1))
    mean = grey.mean((2, 3), keepdim=True)
    blended = (images * factor("c", 0.4) + mean * (1 - factor("c", 0.4))).clamp(0, 1)
    torch.testing.assert_close(only(contrast=0.4), blended, atol=1e-5, rtol=0)
    blended = (images * factor("s", 0.2) + grey * (1 - factor("s", 0.2))).clamp(0, 1)
    torch.testing.assert_close(only(saturation=0.2), blended, atol=1e-5, rtol=0)
    turned = only(hue=0.1)
    for i in range(8):
        h, s, v = colorsys.rgb_to_hsv(*images[i, :, 3, 4].tolist())
        expected = colorsys.hsv_to_rgb((h + 0.1 * amount["h"][i]) % 1, s, v)
        assert turned[i, :, 3, 4].tolist() == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(to_grey(images), grey, atol=1e-5, rtol=0)


def test_colours_against_kornia():
    """At every pixel, saturated, grey and black ones included."""
    images = photographs(8, size=16)
    images[0, 1] = images[0, 0]  # two channels are largest or smallest at once
    images[1] = images[1, :1]
    images[2] = 0
    images[3] = (images[3] > 0.5).float()
    strengths = torch.linspace(0.3, 1.7, 8)
    for ours, theirs, values, angle in (
        (colour_jitter.adjust_brightness, kornia.enhance.adjust_brightness_accumulative, strengths, 1),
        (colour_jitter.adjust_contrast, kornia.enhance.adjust_contrast_with_mean_subtraction, strengths, 1),
        (colour_jitter.adjust_saturation, kornia.enhance.adjust_saturation_with_gray_subtraction, strengths, 1),
        (colour_jitter.adjust_hue, kornia.enhance.adjust_hue, torch.linspace(-0.5, 0.5, 8), 2 * math.pi),
    ):
        torch.testing.assert_close(ours(images.clone(), values), theirs(images, values * angle), atol=2e-6, rtol=0)


def test_every_image_grey():
    images, made = photographs(3), draws(3)
    view = recolour(images.clone(), replace(NOTHING, grey=1.0, blur=0.5, blur_sigma=(5.0, 9.0), solarise=0.5), made)
    torch.testing.assert_close(view[:, :1].expand_as(view), view)


def test_views_leave_their_images_alone():
    images = photographs()
    before = images.clone()
    for recipe in (replace(NOTHING, jitter=1.0, flip=0.5), FIRST_VIEW):
        recolour(crop_view(images, recipe, draws(), (20, 20)), recipe, draws())
        recolour(mirror(images, recipe, draws()), recipe, draws())
        assert torch.equal(images, before)


def test_only_the_drawn_images_change():
    images, made = photographs(64), draws(64)
    for name, column in (("grey", 6), ("blur", 7), ("solarise", 9), ("jitter", 1)):
        view = recolour(images.clone(), replace(NOTHING, blur_sigma=(5.0, 9.0), **{name: 0.3}), made)
        changed = (view - images).abs().amax((1, 2, 3)) > 1e-4
        assert np.array_equal(changed.numpy(), made.column(column) < 0.3)
        assert 8 <= changed.sum() <= 32


def test_blur_and_solarise_against_slow_versions():
    images, made = photographs(2, size=40), draws(2)
    solarised = recolour(images.clone(), replace(NOTHING, solarise=1.0, solarise_threshold=0.6), made)
    expected = torch.where(images >= 0.6, 1 - images, images)
    torch.testing.assert_close(solarised, expected)
    view = recolour(images.clone(), replace(NOTHING, blur=1.0, blur_sigma=(5.0, 12.0)), made)
    for i in range(2):
        sigma = (5 + 7 * float(made.column(8)[i])) * 40 / 224
        offsets = torch.arange(-2, 3)  # a kernel of 5: a tenth of 40 pixels, and odd
        weights = torch.exp(-(offsets**2) / (2 * sigma**2))
        weights /= weights.sum()
        patch = images[i, 1, 18:23, 10:15]
        assert float(view[i, 1, 20, 12]) == pytest.approx(float(weights @ patch @ weights), abs=1e-5)


def test_intensity_scales_whole_images():
    images, made = photographs(500), draws(500)
    ratio = (recolour(images.clone(), replace(NOTHING, intensity=0.05), made) / images).amax((1, 2, 3))
    assert 0.9 - 1e-4 <= ratio.min() < 0.92
    assert float(ratio.std()) == pytest.approx(0.05 * 0.88, rel=0.15)  # a normal, cut at two deviations


def test_grey_stacks_take_what_needs_no_colour():
    frames = photographs(4, channels=4)
    recipe = replace(NOTHING, jitter=1.0, saturation=0.0, hue=0.0, blur=1.0)
    assert recolour(frames.clone(), recipe, draws(4)).shape == frames.shape
    with pytest.raises(ValueError, match="4 channels"):
        recolour(frames, FIRST_VIEW, draws(4))


# --------------------------------------------------------------------------------- draws and recipes


def test_draws_are_a_pure_function_of_key_and_number():
    def numbers(*arguments):
        return np.stack([d.uniform for d in view_draws(*arguments)])

    whole = numbers(7, 5, 2, 12, slice(0, 12))
    assert whole.shape == (2, 12, VIEW_DRAWS)
    assert np.array_equal(whole, numbers(7, 5, 2, 12, slice(0, 12)))
    halves = [numbers(7, 5, 2, 12, slice(6 * rank, 6 * rank + 6)) for rank in (0, 1)]
    assert np.array_equal(np.concatenate(halves, axis=1), whole)
    orders = [[d.order for d in view_draws(7, 5, 2, 12, rows)] for rows in (slice(0, 6), slice(6, 12))]
    assert orders[0] == orders[1]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders[0])
    for other in (numbers(8, 5, 2, 12, slice(0, 12)), numbers(7, 6, 2, 12, slice(0, 12)), whole[::-1]):
        assert np.abs(other - whole).mean() > 0.2


def test_the_paper_s_recipes():
    assert (FIRST_VIEW.blur, FIRST_VIEW.solarise) == (1.0, 0.0)
    assert (SECOND_VIEW.blur, SECOND_VIEW.solarise) == (0.1, 0.2)
    for recipe in (FIRST_VIEW, SECOND_VIEW):
        assert (recipe.crop_area, recipe.flip, recipe.jitter, recipe.grey) == ((0.08, 1.0), 0.5, 0.8, 0.2)
        assert (recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue) == (0.4, 0.4, 0.2, 0.1)
    assert SMALL_VIEW.count == 0


def test_recipes_by_name():
    recipe = parse_recipe("view1", ["blur=0.25", "crop_area=[0.5, 1]", "shift=3", "blur=0.5"], FIRST_VIEW)
    assert (recipe.blur, recipe.crop_area, recipe.shift) == (0.5, (0.5, 1.0), 3)
    assert recipe.grey == FIRST_VIEW.grey
    for settings, word in (
        (["blurr=1"], "did you mean blur?"),
        (["blur"], "NAME=VALUE"),
        (["blur=much"], "a number"),
        (["blur=1.5"], r"\[0, 1\]"),
        (["shift=1.5"], "an integer"),
        (["crop_area=0.5"], "LEAST"),
        (["crop_area=[0.5, 2]"], r"\(0, 1\]"),
        (["hue=0.6"], "hue"),
        (["blur_sigma=[0, 1]"], "above 0"),
        (["count=-1"], "at least 0"),
    ):
        with pytest.raises(ValueError, match=f"view1.*{word}"):
            parse_recipe("view1", settings, FIRST_VIEW)
