"""Generated content/style images: every factor as labelled, independent, unseen where it must be."""

import numpy as np
import pytest

from relic_rl.images.content_style import content_style_images
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.rendering import hsv_to_rgb, render
from relic_rl.images.shapes import FAMILIES, MEMBERS_PER_FAMILY, NUM_MEMBERS, member_shape
from relic_rl.images.styles import STYLES


@pytest.fixture(scope="module")
def splits() -> dict[str, LabelledImages]:
    return {split: content_style_images(1200, split, seed=3, size=32) for split in ("train", "test", "ood")}


def test_every_factor_is_a_label_and_members_are_balanced(splits):
    for images in splits.values():
        assert images.images.shape == (1200, 3, 32, 32)
        assert set(images.labels) == {"member", "family", *STYLES}
        assert set(np.bincount(images.labels["member"], minlength=NUM_MEMBERS)) == {1200 // NUM_MEMBERS}
        assert np.array_equal(images.labels["family"], images.labels["member"] // MEMBERS_PER_FAMILY)
    assert len(FAMILIES) * MEMBERS_PER_FAMILY == NUM_MEMBERS == 40


def test_unseen_values_are_unseen(splits):
    for name, factor in STYLES.items():
        shown = {split: set(images.labels[name].tolist()) for split, images in splits.items()}
        assert shown["train"] == shown["test"] == set(range(factor.values)) - set(factor.unseen)
        assert shown["ood"] == set(factor.unseen)


@pytest.mark.parametrize("name", STYLES)
def test_one_factor_alone_unseen(name):
    labels = content_style_images(600, f"ood-{name}", seed=3, size=16).labels
    for other, factor in STYLES.items():
        unseen = set(factor.unseen)
        assert set(labels[other].tolist()) == (unseen if other == name else set(range(factor.values)) - unseen)


def test_factors_are_independent(splits):
    names = ["member", *STYLES]
    values = np.stack([splits["train"].labels[name] for name in names]).astype(float)
    correlation = np.corrcoef(values) - np.eye(len(names))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(1200)


def test_the_same_seed_gives_the_same_pixels_and_each_split_its_own(splits):
    again = content_style_images(1200, "train", seed=3, size=32)
    assert again.fingerprint() == splits["train"].fingerprint()
    assert content_style_images(40, "train", seed=4, size=32).fingerprint() != again.fingerprint()
    shared = (splits["train"].images[:50, None] == splits["test"].images[None, :50]).all(axis=(2, 3, 4))
    assert not shared.any()


def test_labels_say_what_is_painted():
    """One factor at a time: what the pixels show moves with the label."""
    style = {name: np.full(64, factor.values // 2) for name, factor in STYLES.items()}
    style |= {"texture": np.zeros(64, int), "background": np.zeros(64, int), "noise": np.zeros(64, int)}
    disc = np.full(64, 28)

    def painted(**changes):
        generator = np.random.default_rng(0)
        values = style | {name: np.full(64, value) for name, value in changes.items()}
        return render(disc, values, 64, generator).astype(float)

    def mask(images):  # the ground is plain: what differs from the corner's hue is the shape
        ratio = images / images.sum(axis=1, keepdims=True)
        return np.abs(ratio - ratio[:, :, :1, :1]).sum(axis=1) > 0.05

    small, large = mask(painted(scale=0)).mean(), mask(painted(scale=5)).mean()
    assert large > 2 * small
    columns = np.arange(64)
    left = (mask(painted(position=4)) * columns).sum() / mask(painted(position=4)).sum()
    right = (mask(painted(position=7)) * columns).sum() / mask(painted(position=7)).sum()
    assert right > left + 10
    quiet, loud = painted(noise=0)[:, :, :4, :4], painted(noise=4)[:, :, :4, :4]
    assert loud.std(axis=(2, 3)).mean() > 3 * quiet.std(axis=(2, 3)).mean()
    bright_side = painted(lighting=0)  # light from the right, as cos(0) = 1
    assert bright_side[..., -8:].mean() > 1.2 * bright_side[..., :8].mean()


def test_shapes_are_what_they_are_called():
    half = 2.71  # coordinates from -1.355 to 1.355: shapes reach 1
    axis = (np.arange(400, dtype=np.float32) - 199.5) / 400 * half
    x, y = np.meshgrid(axis, -axis)
    shapes = [member_shape(member)(np.hypot(x, y), np.arctan2(y, x)) > 0 for member in range(NUM_MEMBERS)]
    area = [shape.sum() * (half / 400) ** 2 for shape in shapes]
    for i, corners in enumerate((3, 4, 5, 6, 8)):
        assert area[i] == pytest.approx(corners / 2 * np.sin(2 * np.pi / corners), rel=0.02)
    assert area[15] == pytest.approx(np.pi * (1 - 0.56**2), rel=0.02)  # a closed ring
    assert area[15] > area[16] > area[17] > area[18] > area[19]
    assert area[20] == pytest.approx(4 * 2 * 0.1 - 4 * 0.1**2, rel=0.05)  # a cross of arms 0.2 wide
    for first in range(NUM_MEMBERS):
        assert (shapes[first] != shapes[first][:, ::-1]).mean() < 0.002  # a mirror image is the same content
        for second in range(first):
            assert (shapes[first] != shapes[second]).mean() > 0.005


def test_colours_by_hand():
    hue = np.array([0, 1 / 3, 2 / 3, 1 / 6], dtype=np.float32)[:, None, None]
    one = np.ones_like(hue)
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]
    assert np.allclose(hsv_to_rgb(hue, one, one)[:, :, 0, 0], expected, atol=1e-5)
    assert np.allclose(hsv_to_rgb(hue, 0 * one, 0.5 * one), 0.5)


def test_random_projections_do_not_solve_it():
    """A linear probe on pixels is near chance on members: 1 in 40."""
    train, test = (content_style_images(2000, split, seed=0, size=32) for split in ("train", "test"))
    features = [s.images.reshape(2000, -1).astype(np.float64) / 255 - 0.5 for s in (train, test)]
    targets = np.eye(NUM_MEMBERS)[train.labels["member"]]
    gram = features[0] @ features[0].T
    weights = np.linalg.solve(gram + 100 * np.eye(2000), targets)
    predicted = (features[1] @ features[0].T @ weights).argmax(axis=1)
    assert (predicted == test.labels["member"]).mean() < 0.1


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        content_style_images(0, "train", seed=0)
    with pytest.raises(ValueError, match="16 pixels"):
        content_style_images(10, "train", seed=0, size=8)
    with pytest.raises(ValueError, match="ood-texture"):
        content_style_images(10, "ood-textures", seed=0)


def test_labelled_images_are_checked_and_taken_from(splits):
    images = splits["train"]
    part = images.take(np.array([5, 2]))
    assert np.array_equal(part.images[1], images.images[2])
    assert part.labels["member"][0] == images.labels["member"][5]
    with pytest.raises(ValueError, match="uint8"):
        LabelledImages(images.images.astype(np.float32), images.labels, "member", images.num_classes)
    with pytest.raises(ValueError, match="no label 'class'"):
        LabelledImages(images.images, images.labels, "class", images.num_classes)
    with pytest.raises(ValueError, match="family"):
        LabelledImages(images.images, images.labels, "member", images.num_classes | {"family": 2})
