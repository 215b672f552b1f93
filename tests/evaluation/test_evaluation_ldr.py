"""Class statistics and the discriminant ratio against loops over pairs of images, worked examples and expectations."""

import math

import pytest
import torch
from torch import Tensor

from relic_rl.evaluation.class_statistics import ClassStatistics, StreamingClassStatistics, class_statistics
from relic_rl.evaluation.ldr import DiscriminantRatio, discriminant_ratio, pair_ratios


def random_features(sizes: list[int], dim: int = 5, seed: int = 0, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Classes of these sizes in a random order, with unlabelled rows among them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.full((size,), k) for k, size in enumerate(sizes)] + [torch.full((3,), -1)])
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centres = torch.randn(len(sizes) + 1, dim, generator=generator)
    features = centres[labels] + torch.randn(len(labels), dim, generator=generator) * (1 + labels[:, None] % 3) + shift
    return features, labels


def slow_ratios(features: Tensor, labels: Tensor, num_classes: int, *, correct: bool, total: bool) -> Tensor:
    """F(k, k') written from the paper, a loop over pairs of images."""
    rows = [
        [row.double() for row, label in zip(features, labels, strict=True) if label == k] for k in range(num_classes)
    ]
    means = [sum(of_class) / len(of_class) for of_class in rows]
    result = torch.full((num_classes, num_classes), math.nan, dtype=torch.float64)
    sums = [
        sum(float((a - b).square().sum()) for i, a in enumerate(of_class) for j, b in enumerate(of_class) if i != j)
        for of_class in rows
    ]
    mean_distances = [s / (len(r) * (len(r) - 1)) for s, r in zip(sums, rows, strict=True)]
    for k in range(num_classes):
        for other in range(num_classes):
            if k == other:
                continue
            above = float((means[k] - means[other]).square().sum())
            if correct:  # the mean distance within a class is twice its variance
                above -= mean_distances[k] / 2 / len(rows[k]) + mean_distances[other] / 2 / len(rows[other])
            result[k, other] = max(above, 0) / (sums[k] if total else mean_distances[k])
    return result


@pytest.mark.parametrize("correct", [True, False])
def test_ratios_are_the_definition(correct: bool) -> None:
    features, labels = random_features([4, 7, 2, 9])
    ratios, clipped = pair_ratios(class_statistics(features, labels, 4), correct_bias=correct)
    expected = slow_ratios(features, labels, 4, correct=correct, total=False)
    torch.testing.assert_close(ratios, expected, rtol=1e-9, atol=0, equal_nan=True)
    assert clipped == int((expected == 0).sum())


def test_the_paper_s_sum_and_only_for_equal_sizes() -> None:
    features, labels = random_features([5, 5, 5])
    statistics = class_statistics(features, labels, 3)
    ratios, _ = pair_ratios(statistics, correct_bias=False, denominator="sum")
    expected = slow_ratios(features, labels, 3, correct=False, total=True)
    torch.testing.assert_close(ratios, expected, rtol=1e-9, atol=0, equal_nan=True)
    with pytest.raises(ValueError, match="classes of equal size, these have 4 to 5 images: use the mean"):
        pair_ratios(class_statistics(*random_features([5, 4]), 2), denominator="sum")


def test_a_value_worked_by_hand() -> None:
    # Class 0: (0, 0), (2, 0): mean (1, 0), squared distance between its two images 4. Class 1: (4, 3), (4, 5):
    # mean (4, 4), distance 4. Means are 9 + 16 = 25 apart; of each class tr S / n = 2 / 2 = 1.
    features = torch.tensor([[0.0, 0], [2, 0], [4, 3], [4, 5]])
    statistics = class_statistics(features, torch.tensor([0, 0, 1, 1]), 2)
    raw = discriminant_ratio(statistics, correct_bias=False)
    assert (raw.median, raw.lower_quartile, raw.mean) == (25 / 4, 25 / 4, 25 / 4)
    corrected = discriminant_ratio(statistics)
    assert corrected.median == 23 / 4
    assert (corrected.pairs, corrected.classes, corrected.clipped) == (2, 2, 0)
    assert discriminant_ratio(statistics, correct_bias=False, denominator="sum").median == 25 / 8


def test_streaming_is_exact() -> None:
    features, labels = random_features([40, 3, 70, 1, 0, 25], shift=1e4)  # far from zero, where E[x^2] - E[x]^2 fails
    exact = class_statistics(features, labels, 6)
    for batch in (1, 7, 64, 1000):
        streaming = StreamingClassStatistics(6)
        for start in range(0, len(features), batch):
            streaming.update(features[start : start + batch], labels[start : start + batch])
        for one, other in zip(streaming.result(), exact, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
    assert exact.counts.tolist() == [40, 3, 70, 1, 0, 25]
    assert torch.isnan(exact.variances).tolist() == [False, False, False, True, True, False]
    of_class = features[labels == 2].double()
    torch.testing.assert_close(exact.variances[2], of_class.var(0).sum(), rtol=1e-9, atol=0)
    torch.testing.assert_close(exact.means[2], of_class.mean(0))


def test_the_correction_takes_the_bias_away() -> None:
    """The mean numerator over many small samples is the distance of the true means; uncorrected it is too large."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0, 0], [0.5, 0, 0]])
    trials = 4000
    found = {True: 0.0, False: 0.0}
    for _ in range(trials // 100):
        noise = torch.randn(100, 2, 4, 3, generator=generator)
        for features in centres[None, :, None] + noise:
            statistics = class_statistics(features.flatten(0, 1), torch.arange(2).repeat_interleave(4), 2)
            spread = 2 * statistics.variances[0]
            distance = (statistics.means[0] - statistics.means[1]).square().sum()
            found[False] += float(distance) / trials
            found[True] += float(distance - statistics.variances.sum() / 4) / trials
            ratios, _ = pair_ratios(statistics)
            expected = (distance - statistics.variances.sum() / 4).clamp_min(0) / spread
            assert torch.isclose(ratios[0, 1], expected)
    assert found[True] == pytest.approx(0.25, abs=0.05)
    assert found[False] == pytest.approx(0.25 + 3 / 4 + 3 / 4, abs=0.05)


def test_what_is_left_out_is_counted() -> None:
    features = torch.tensor([[0.0], [1], [5], [6], [2], [0.1], [0.1], [0.1], [0.4], [0.6]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1, 2, 3, 3, 3, 5, 5])
    found = discriminant_ratio(class_statistics(features, labels, 7))
    assert (found.classes, found.too_few, found.without_spread, found.pairs) == (3, 1, 1, 6)
    assert found.clipped == 2  # classes 0 and 5 have one mean, 0.5
    assert found.quantiles[0] == 0
    with pytest.raises(ValueError, match=r"needs two classes .* there are 1 \(and 2 with two images\)"):
        discriminant_ratio(class_statistics(features[[0, 1, 5, 6]], labels[[0, 1, 5, 6]], 7))


def test_quantiles_and_scale() -> None:
    features, labels = random_features([6, 5, 8, 4, 9])
    found = discriminant_ratio(class_statistics(features, labels, 5))
    ratios, _ = pair_ratios(class_statistics(features, labels, 5))
    values = ratios[~ratios.isnan()]
    for value, share in ((found.median, 0.5), (found.lower_quartile, 0.25), (found.upper_quartile, 0.75)):
        assert value == pytest.approx(float(values.quantile(share)), rel=1e-12)
    assert found.mean == pytest.approx(float(values.mean()))
    assert len(found.quantiles) == 101
    scaled = discriminant_ratio(class_statistics(37 * features, labels, 5))
    assert isinstance(scaled, DiscriminantRatio)
    assert scaled.median == pytest.approx(found.median, rel=1e-5)


def test_bad_features_are_refused() -> None:
    streaming = StreamingClassStatistics(2)
    with pytest.raises(ValueError, match="no images"):
        streaming.result()
    with pytest.raises(ValueError, match="not finite"):
        streaming.update(torch.tensor([[1.0], [torch.nan]]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"lie in \[-1, 2\), got 0 to 2"):
        class_statistics(torch.ones(2, 1), torch.tensor([0, 2]), 2)
    with pytest.raises(ValueError, match=r"features must be \[N, D\]"):
        class_statistics(torch.ones(2, 1), torch.tensor([0]), 2)
    assert isinstance(class_statistics(torch.ones(0, 3), torch.ones(0, dtype=torch.int64), 2), ClassStatistics)
