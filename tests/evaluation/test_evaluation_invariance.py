"""Interventions: the loss's terms against the equations written out, and recipes that do one thing only."""

import math

import pytest
import torch
from torch.nn import functional

from relic_rl.evaluation.interventions import NOTHING, ON_FRAMES, ON_IMAGES, chosen_interventions
from relic_rl.evaluation.invariance import measure_intervention
from relic_rl.representation.view_recipes import FIRST_VIEW, SECOND_VIEW, view_draws
from relic_rl.representation.views import ViewMaker


def slow_terms(first, second, tau):
    """(R1), (R2) for two views by loops: InfoNCE, KL, accuracy."""
    a, b = (functional.normalize(view.double(), dim=1) for view in (first, second))
    count = len(a)
    contrastive = kl = right = 0.0
    for i in range(count):
        scores = [[float(u[i] @ v[j]) / tau for j in range(count)] for u, v in ((a, b), (b, a))]
        p, q = ([math.exp(s) / sum(map(math.exp, row)) for s in row] for row in scores)
        contrastive -= (math.log(p[i]) + math.log(q[i])) / 2
        kl += sum(x * math.log(x / y) + y * math.log(y / x) for x, y in zip(p, q, strict=True)) / 2
        right += sum(row[i] > max(row[:i] + row[i + 1 :]) for row in scores) / 2
    return contrastive / count, kl / count, right / count


def test_terms_are_the_equations() -> None:
    torch.manual_seed(0)
    base = torch.randn(12, 5)
    first, second = base + 0.5 * torch.randn(12, 5), base + 0.5 * torch.randn(12, 5)
    found = measure_intervention(first, second, temperature=0.3)
    expected = slow_terms(first, second, 0.3)
    assert (found.contrastive, found.kl, found.accuracy) == pytest.approx(expected, rel=1e-4)
    assert 0 < found.accuracy < 1
    assert found.chance == pytest.approx(math.log(12))
    distances = (functional.normalize(first, dim=1) - functional.normalize(second, dim=1)).square().sum(1)
    assert found.alignment == pytest.approx(float(distances.mean()), rel=1e-5)

    halves = measure_intervention(first, second, temperature=0.3, contrast_size=5)  # two sets, two images left out
    both = [slow_terms(first[s], second[s], 0.3) for s in (slice(0, 5), slice(5, 10))]
    assert (halves.contrastive, halves.kl) == pytest.approx(
        [(x + y) / 2 for x, y in zip(*both, strict=True)][:2], rel=1e-4
    )
    assert halves.chance == pytest.approx(math.log(5))
    assert halves.images == 12

    matrix = torch.randn(5, 3)
    with_critic = measure_intervention(first, second, lambda features: features @ matrix, temperature=0.3)
    expected = slow_terms(first @ matrix, second @ matrix, 0.3)
    assert (with_critic.contrastive, with_critic.kl) == pytest.approx(expected[:2], rel=1e-4)
    assert with_critic.alignment == found.alignment


def test_no_change_and_nothing_but_change() -> None:
    torch.manual_seed(0)
    features = torch.randn(200, 6)
    still = measure_intervention(features, features)
    assert (still.kl, still.alignment, still.accuracy) == (0, 0, 1)
    assert still.style_share == pytest.approx(0)
    noise = measure_intervention(features, torch.randn(200, 6))
    assert noise.style_share > 0.8
    assert noise.contrastive > noise.chance
    dead = measure_intervention(torch.ones(8, 3), torch.ones(8, 3))
    assert (dead.contrastive, dead.kl, dead.accuracy) == (pytest.approx(dead.chance), 0, 0)
    assert math.isnan(dead.style_share)
    # Half of the variance: f = image + rest, both standard normal.
    half = measure_intervention(features + torch.randn(200, 6), features + torch.randn(200, 6))
    assert half.style_share == pytest.approx(0.5, abs=0.07)
    with pytest.raises(ValueError, match="two images or more"):
        measure_intervention(features[:1], features[:1])


def views_of(name: str, images: torch.Tensor) -> list[torch.Tensor]:
    recipes = (ON_FRAMES if name in ("shift", "intensity") else ON_IMAGES)[name]
    maker = ViewMaker(recipes, (images.shape[-1],) * 2)
    return maker(images, view_draws(3, 0, 2, len(images), slice(None)))


@pytest.mark.parametrize("name", [*ON_IMAGES, "shift", "intensity"])
def test_every_intervention_changes_every_image(name: str) -> None:
    images = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, second = views_of(name, images)
    if name != "all":
        torch.testing.assert_close(first, images / 255)
    changed = (first - second).abs().flatten(1).amax(1) > 1e-3
    assert changed.any() if name == "blur" else changed.all()  # the weakest blur is nothing to see


def test_interventions_do_what_they_are_called() -> None:
    images = torch.randint(40, 200, (4, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    _, flipped = views_of("flip", images)
    torch.testing.assert_close(flipped, images.flip(-1) / 255)
    _, grey = views_of("grey", images)
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    _, brighter = views_of("brightness", images)
    ratio = (brighter / (images / 255)).clamp_max(2)
    inside = brighter < 1
    for i in range(4):
        values = ratio[i][inside[i]]
        assert float(values.max() - values.min()) < 1e-3
    _, hue = views_of("hue", images)
    torch.testing.assert_close(hue.amax(1), images.amax(1) / 255, rtol=0, atol=2e-3)  # value of HSV stays
    _, solarised = views_of("solarise", images)
    dark = images / 255 < 0.5
    torch.testing.assert_close(solarised[dark], (images / 255)[dark])
    frames = torch.randint(0, 256, (4, 4, 24, 24), dtype=torch.uint8)
    first, second = ViewMaker(ON_FRAMES["all"], (24, 24))(frames, view_draws(0, 0, 2, 4, slice(None)))
    assert not torch.equal(first, second)


def test_names() -> None:
    assert list(chosen_interventions((), frames=False)) == list(ON_IMAGES)
    assert list(chosen_interventions((), frames=True)) == ["shift", "intensity", "all"]
    assert chosen_interventions(["hue", "all"], frames=False)["all"] == (FIRST_VIEW, SECOND_VIEW)
    assert not NOTHING.needs_colour
    assert not NOTHING.crops
    with pytest.raises(ValueError, match="did you mean solarise"):
        chosen_interventions(["solarize"], frames=False)
    with pytest.raises(ValueError, match="no intervention 'hue' on frames: choose of shift"):
        chosen_interventions(["hue"], frames=True)
    with pytest.raises(ValueError, match="twice"):
        chosen_interventions(["hue", "hue"], frames=False)
