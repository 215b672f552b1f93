"""Shares of variance against the textbook's sums of squares and known causes; geometry against loops."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from relic_rl.evaluation.class_statistics import class_statistics
from relic_rl.evaluation.geometry import alignment, effective_rank, uniformity
from relic_rl.evaluation.variance_shares import variance_share


def slow_share(features: np.ndarray, labels: np.ndarray) -> float:
    """ICC(1) by the sums of squares of each feature, added up."""
    values = np.unique(labels)
    between = within = 0.0
    for column in features.T.astype(np.float64):
        groups = [column[labels == value] for value in values]
        grand = column.mean()
        ms_between = sum(len(g) * (g.mean() - grand) ** 2 for g in groups) / (len(groups) - 1)
        ms_within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (len(column) - len(groups))
        n0 = (len(column) - sum(len(g) ** 2 for g in groups) / len(column)) / (len(groups) - 1)
        between += (ms_between - ms_within) / n0
        within += ms_within
    between = max(between, 0.0)
    return between / (between + within)


def test_shares_are_the_analysis_of_variance() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 6, 90)
    effects = generator.normal(size=(6, 7))
    features = effects[labels] + generator.normal(size=(90, 7))
    found = variance_share(class_statistics(torch.from_numpy(features), torch.from_numpy(labels), 8))
    assert found.share == pytest.approx(slow_share(features, labels), rel=1e-9)
    assert 0.3 < found.share < 0.7
    nothing = variance_share(class_statistics(torch.from_numpy(features), torch.from_numpy(labels[::-1].copy()), 8))
    assert nothing.share < 0.1


def test_shares_are_unbiased_where_groups_are_small() -> None:
    """40 values of two images each that explain a third: plain between over total would say two thirds."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40).repeat_interleave(2)
    between = within = 0.0
    for _ in range(50):
        effect = torch.randn(40, 3, generator=generator)
        rest = torch.randn(80, 3, generator=generator) * math.sqrt(2)
        found = variance_share(class_statistics(effect[labels] + rest, labels, 40))
        between, within = between + found.between, within + found.within
    assert between / (between + within) == pytest.approx(1 / 3, abs=0.03)


def test_a_share_worked_by_hand() -> None:
    # Values 0, 2 | 4, 6: group means 1 and 5, MSB = 2 * (4 + 4) = 16, MSW = (2 + 2) / 2 = 2, so Var(a) = (16 - 2) / 2.
    found = variance_share(class_statistics(torch.tensor([[0.0], [2], [4], [6]]), torch.tensor([0, 0, 1, 1]), 2))
    assert found == (7.0, 2.0, 7 / 9)
    same = variance_share(class_statistics(torch.ones(4, 2), torch.tensor([0, 0, 1, 1]), 2))
    assert math.isnan(same.share)
    for labels in ([0, 0, 0, 0], [0, 1, 2, 3]):
        with pytest.raises(ValueError, match="shares of variance need two values"):
            variance_share(class_statistics(torch.rand(4, 2), torch.tensor(labels), 4))


def test_alignment_and_uniformity_are_their_definitions() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(9, 4), torch.randn(9, 4)
    a, b = functional.normalize(first.double(), dim=1), functional.normalize(second.double(), dim=1)
    by_hand = sum(float((x - y).square().sum()) for x, y in zip(a, b, strict=True)) / 9
    assert alignment(first, second) == pytest.approx(by_hand, rel=1e-12)
    assert alignment(first, -first) == pytest.approx(4)
    pairs = [math.exp(-2 * float((x - y).square().sum())) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    assert uniformity(first) == pytest.approx(math.log(sum(pairs) / len(pairs)), rel=1e-9)
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0)
    assert uniformity(torch.tensor([[1.0, 0], [-1, 0]])) == pytest.approx(-8)
    with pytest.raises(ValueError, match="two images"):
        uniformity(torch.ones(1, 3))


def test_uniformity_over_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    whole = uniformity(features)
    monkeypatch.setattr("relic_rl.evaluation.geometry._ROWS", 7)
    assert uniformity(features) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_effective_rank_is_its_definition(shape: tuple[int, int]) -> None:
    features = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    unit = functional.normalize(features.double(), dim=1)
    values = torch.linalg.svdvals(unit - unit.mean(0))
    share = values / values.sum()
    share = share[share > 1e-9]
    assert effective_rank(features) == pytest.approx(math.exp(-float((share * share.log()).sum())), rel=1e-6)


def test_effective_rank_of_known_spectra() -> None:
    axes = torch.cat([torch.eye(8), -torch.eye(8)])[:, :5]  # five axes; the rows of the others are zero
    assert effective_rank(axes) == pytest.approx(5, rel=1e-6)
    assert effective_rank(torch.tensor([[1.0, 0], [-1, 0]])) == pytest.approx(1)
    assert effective_rank(torch.ones(4, 3)) == 0
