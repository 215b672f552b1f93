"""The fifteen corruptions: each against what its definition says, and all of them the same wherever an image comes."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_files import picture
from scipy import ndimage

from relic_rl.evaluation import blurs, weather
from relic_rl.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt, corrupt_batch
from relic_rl.evaluation.robustness import ALEXNET_ERRORS


def photograph(seed: int, size: int = 40) -> np.ndarray:
    """Blobs with a fine pattern on them, uint8 [3, size, size]."""
    noise = np.random.default_rng(seed).normal(0, 25, (size, size))
    pattern = ndimage.gaussian_filter(noise, 0.7) * 2
    return np.clip(picture(seed, size, size) + pattern[..., None], 0, 255).astype(np.uint8).transpose(2, 0, 1).copy()


def photographs(count: int = 12) -> np.ndarray:
    return np.stack([photograph(seed) for seed in range(count)])


def constant(value: int, size: int = 32) -> np.ndarray:
    return np.full((3, size, size), value, dtype=np.uint8)


def test_they_are_imagenet_c_s() -> None:
    assert list(CORRUPTIONS) == list(ALEXNET_ERRORS)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_severity_is_worse_than_the_one_before(name: str) -> None:
    images = photographs()
    by_severity = [corrupt_batch(images, name, s).astype(float) for s in SEVERITIES]
    distance = [np.sqrt(np.square(changed - images).mean()) for changed in by_severity]
    assert distance[0] > 1
    # ImageNet-C's own severities of snow and fog differ in kind as well as in strength.
    pairs = [(0, 4)] if name in ("snow", "fog", "frost") else [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert all(distance[more] > 0.98 * distance[less] for less, more in pairs), distance
    assert distance[4] > distance[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_it_depends_on_the_image_alone_and_not_on_its_company(name: str) -> None:
    images = photographs(3)
    together = corrupt_batch(images, name, 3)
    with ThreadPoolExecutor(2) as pool:
        others = corrupt_batch(images[::-1].copy(), name, 3, pool=pool)[::-1]
    assert together.dtype == np.uint8
    assert together.shape == images.shape
    assert np.array_equal(together, others)
    assert np.array_equal(together[1], corrupt(images[1], name, 3))


RANDOM = {"gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "snow", "frost", "fog"}
RANDOM |= {"elastic_transform"}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_seed_changes_what_is_random(name: str) -> None:
    image = photograph(0)
    assert np.array_equal(corrupt(image, name, 5), corrupt(image, name, 5, seed=1)) is (name not in RANDOM)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 4])
def test_stacks_of_frames_are_corrupted_too(name: str, channels: int) -> None:
    images = np.repeat(photograph(0)[:1], channels, axis=0)
    changed = corrupt(images, name, 5)
    assert changed.shape == images.shape
    assert not np.array_equal(changed, images)
    if name not in ("gaussian_noise", "shot_noise", "impulse_noise"):
        assert all(np.array_equal(plane, changed[0]) for plane in changed)  # one weather over equal frames


def test_noises_have_the_spread_that_they_say() -> None:
    grey = constant(128, 96)
    assert corrupt(grey, "gaussian_noise", 2).astype(float).std() / 255 == pytest.approx(0.12, rel=0.03)
    photons = corrupt(constant(51, 96), "shot_noise", 1).astype(float) / 255  # 0.2 of 60: Poisson of 12
    assert photons.mean() == pytest.approx(0.2, rel=0.03)
    assert photons.std() == pytest.approx(12**0.5 / 60, rel=0.05)
    extremes = corrupt(grey, "impulse_noise", 5)
    assert (extremes == 0).mean() == pytest.approx(0.135, abs=0.01)
    assert (extremes == 255).mean() == pytest.approx(0.135, abs=0.01)


def test_filter_against_loops() -> None:
    generator = np.random.default_rng(0)
    image = generator.random((2, 7, 6)).astype(np.float32)
    kernel = generator.random((5, 5)).astype(np.float32)
    found = blurs.filtered(image, kernel)
    for channel in range(2):
        expected = ndimage.correlate(image[channel].astype(float), kernel.astype(float), mode="reflect")
        assert found[channel] == pytest.approx(expected, abs=1e-5)


def test_disc_and_streak() -> None:
    disc = blurs.disc(3.0)
    assert disc.shape == (7, 7)
    assert disc.sum() == pytest.approx(1)
    assert disc[3, 3] == pytest.approx(1 / (np.pi * 9), rel=0.02)  # a whole pixel's share of the circle
    assert disc[0, 0] < 1e-4
    y, x = np.mgrid[-3:4, -3:4]
    assert (disc * (y**2 + x**2)).sum() == pytest.approx(9 / 2 + 1 / 3, rel=0.03)  # r^2 / 2, and of the sharing
    assert blurs.disc(0.3)[1, 2] > 0.04  # less than a pixel wide, and felt nevertheless
    line = blurs.streak(4, 2.0, 0.0)
    middle = len(line) // 2
    assert line.sum() == pytest.approx(1)
    assert line[middle, middle:].sum() == pytest.approx(1)  # all of it to the right
    assert line[middle, middle + 4] / line[middle, middle + 2] == pytest.approx(np.exp(-16 / 8 + 4 / 8), rel=0.1)
    down = blurs.streak(4, 2.0, 90.0)
    assert down[middle:, middle].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "name", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "contrast", "elastic_transform", "pixelate"]
)
def test_what_only_moves_pixels_leaves_one_colour_alone(name: str) -> None:
    image = constant(130)
    image[1] = 20
    assert np.abs(corrupt(image, name, 5).astype(int) - image).max() <= 1


def test_enlarging_keeps_the_middle() -> None:
    image = np.zeros((1, 21, 21), dtype=np.float32)
    image[0, 10, 10] = 1
    twice = blurs.enlarged(image, 2.0)
    assert twice[0, 10, 10] == pytest.approx(1)
    assert twice[0, 10, 9] == twice[0, 10, 11] == pytest.approx(0.5)
    assert np.array_equal(blurs.enlarged(image, 1.0), image)


def test_contrast_by_hand() -> None:
    image = constant(0, 8)
    image[:, :4] = 200
    changed = corrupt(image, "contrast", 2)  # mean 100, share 0.3
    assert set(np.unique(changed)) == {70, 130}


def test_brightness_keeps_hue_and_saturation() -> None:
    image = constant(0, 8)
    image[0], image[1], image[2] = 102, 51, 0  # value 0.4
    changed = corrupt(image, "brightness", 3)[:, 0, 0]  # value 0.7
    assert changed.tolist() == pytest.approx([178.5, 89.25, 0], abs=1)
    assert corrupt(constant(0, 8), "brightness", 1)[0, 0, 0] == pytest.approx(25.5, abs=1)  # black becomes grey
    assert corrupt(constant(200, 8), "brightness", 5).min() == 255


def test_pixelate_makes_squares() -> None:
    changed = corrupt(photograph(0), "pixelate", 5)  # a quarter: 10 x 10 squares of 4 pixels
    squares = changed.reshape(3, 10, 4, 10, 4)
    assert np.array_equal(squares, np.broadcast_to(squares[:, :, :1, :, :1], squares.shape))


def test_fog_is_added_and_dimmed() -> None:
    black = corrupt(constant(0), "fog", 3)
    assert black.max() == 0  # dimmed to the brightest value that there was
    image = constant(255)
    changed = corrupt(image, "fog", 1).astype(float) / 255
    assert changed.min() == pytest.approx(1 / 2.5, abs=0.01)  # (1 + 1.5 * 0) / (1 + 1.5)
    assert changed.max() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("decay", [1.4, 2.0])
def test_clouds_fill_their_range(decay: float) -> None:
    cloud = weather.fractal(20, 31, decay, np.random.default_rng(0))
    assert cloud.shape == (20, 31)
    assert (cloud.min(), cloud.max()) == (0, 1)
    neighbours = np.abs(np.diff(cloud, axis=1)).mean()
    assert neighbours < 0.5 * np.abs(cloud - np.random.default_rng(1).permutation(cloud.ravel()).reshape(20, 31)).mean()
