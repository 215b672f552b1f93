"""Corruption errors and accuracies out of distribution, by hand and against loops."""

import numpy as np
import pytest
import torch

from relic_rl.evaluation.robustness import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    count_hits,
    mean_corruption_error,
    mean_error,
)


def alexnet() -> dict[str, list[float]]:
    """Severities whose mean is AlexNet's error."""
    return {
        name: [error - 0.1, error - 0.05, error, error + 0.05, error + 0.1] for name, error in ALEXNET_ERRORS.items()
    }


def test_alexnet_has_an_mce_of_one() -> None:
    found = mean_corruption_error(alexnet(), ALEXNET_CLEAN_ERROR)
    assert found.mce == pytest.approx(1)
    assert found.relative_mce == pytest.approx(1)
    assert found.by_corruption == pytest.approx(dict.fromkeys(ALEXNET_ERRORS, 1))


def test_alexnet_s_mean_error_is_the_published_one() -> None:
    # Hendrycks and Dietterich, table 1: errors of AlexNet on noise, blur, weather and digital corruptions, per cent.
    published = [89, 89, 92, 82, 83, 79, 80, 87, 83, 82, 56, 85, 65, 72, 61]
    assert [round(100 * error) for error in ALEXNET_ERRORS.values()] == published


def test_mce_against_the_equation() -> None:
    generator = np.random.default_rng(0)
    errors = {name: generator.uniform(0.2, 0.9, 5).tolist() for name in ALEXNET_ERRORS}
    found = mean_corruption_error(errors, 0.24)
    total = relative = 0.0
    for name, row in errors.items():
        total += sum(row) / (5 * ALEXNET_ERRORS[name])
        relative += sum(error - 0.24 for error in row) / (5 * (ALEXNET_ERRORS[name] - 0.435))
    assert found.mce == pytest.approx(total / 15)
    assert found.relative_mce == pytest.approx(relative / 15)
    assert mean_error(errors) == pytest.approx(np.mean([*errors.values()]))


@pytest.mark.parametrize(
    "spoil", [lambda e: e.pop("fog"), lambda e: e["snow"].pop(), lambda e: e.update(spatter=[1.0])]
)
def test_no_mce_of_anything_else(spoil) -> None:
    errors = alexnet()
    spoil(errors)
    with pytest.raises(ValueError, match="mCE"):
        mean_corruption_error(errors, 0.3)


def test_hits_by_hand() -> None:
    # Classes of the data set: 0 means class 1; 1 means 3 or 4. Class 0, 2, 5, 6 are not its own.
    accepted = torch.zeros(2, 7, dtype=torch.bool)
    accepted[0, 1] = accepted[1, 3] = accepted[1, 4] = True
    logits = torch.tensor(
        [
            [9.0, 8, 7, 6, 5, 4, 3],  # 0 is best of all, 1 of the own
            [1.0, 9, 0, 0, 8, 7, 6],  # 1 is best, right is 3 or 4
            [0.0, 1, 2, 3, 9, 4, 5],  # 4 is best
            [9.0, 1, 8, 2, 3, 7, 6],  # best five: 0 2 5 6 4; of the own 4
        ]
    )
    targets = torch.tensor([0, 1, 1, 0])
    hits = count_hits([(logits[:3], targets[:3]), (logits[3:], targets[3:])], accepted)
    assert hits._asdict() == {"images": 4, "top1": 1, "top5": 3, "own_top1": 2, "own_top5": 4}


def test_hits_against_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 12, generator=generator)
    accepted = torch.rand(9, 12, generator=generator) < 0.15
    accepted[torch.arange(9), torch.arange(9)] = True
    accepted[:, 10:] = False
    targets = torch.randint(9, (60,), generator=generator)
    own = [c for c in range(12) if accepted[:, c].any()]
    expected = [60, 0, 0, 0, 0]
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        for place, candidates in ((1, range(12)), (3, own)):
            ranked = sorted(candidates, key=lambda c: -row[c])
            expected[place] += bool(accepted[target, ranked[0]])
            expected[place + 1] += any(bool(accepted[target, c]) for c in ranked[:5])
    assert list(count_hits([(logits, targets)], accepted)) == expected
