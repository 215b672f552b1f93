"""The sum tree and the prioritised sampler."""

import numpy as np
import pytest

from agents.replay import ReplayError
from agents.replay.arrays import allocate
from agents.replay.sampler import PrioritizedSampler
from agents.replay.sum_tree import SumTree, inner_sizes, padded


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 64, 100, 1023])
def test_tree_against_running_sums(count: int) -> None:
    rng = np.random.default_rng(count)
    tree = SumTree(np.zeros(padded(count)))
    naive = np.zeros(count)
    for _ in range(200):
        index = rng.integers(0, count, 5)
        value = rng.random(5) * (rng.random(5) < 0.7)
        tree.set(index, value)
        for i, v in zip(index, value, strict=True):
            naive[i] = v
        assert tree.total == pytest.approx(naive.sum(), rel=1e-12)
        np.testing.assert_array_equal(tree.leaves[:count], naive)
        if naive.sum() > 0:
            mass = rng.random(20) * naive.sum()
            expected = np.searchsorted(np.cumsum(naive), mass, side="right")
            np.testing.assert_array_equal(tree.find(mass), expected)


def test_tree_never_finds_an_empty_leaf() -> None:
    """Mass pushed past the last full leaf by rounding, or exactly between two, finds a full one."""
    tree = SumTree(np.zeros(padded(11)))
    tree.set(np.array([2, 5, 9]), np.array([0.1, 0.2, 0.3]))
    mass = np.array([0.0, 0.1, 0.1 + 0.2, np.nextafter(tree.total, 0), tree.total, tree.total * (1 + 1e-12)])
    np.testing.assert_array_equal(tree.find(mass), [2, 5, 9, 9, 9, 9])


def test_tree_rebuilds_from_leaves() -> None:
    leaves = np.random.default_rng(0).random(padded(37))
    assert SumTree(leaves).total == pytest.approx(leaves.sum(), rel=1e-12)


def test_tree_node_count() -> None:
    assert inner_sizes(padded(11)) == [6, 4, 2, 1]


def make_sampler(count: int, **exponents: float) -> PrioritizedSampler:
    options = {"priority_exponent": 0.9, "importance_exponent": 0.6} | exponents
    return PrioritizedSampler(allocate(PrioritizedSampler.specs(count), None), **options)


def test_frequencies_follow_priorities() -> None:
    """Chi-square of 10,000 draws against p^alpha / sum p^alpha."""
    sampler = make_sampler(50)
    priority = np.random.default_rng(0).random(20) * 3 + 0.05
    leaf = np.arange(20) * 2
    sampler.insert(leaf)
    sampler.update(leaf, priority)
    rng = np.random.default_rng(1)
    counts = np.zeros(50)
    for _ in range(500):
        # drawn one by one, since parts of one draw are not independent
        np.add.at(counts, np.concatenate([sampler.draw(1, rng).leaf for _ in range(20)]), 1)
    expected = priority**0.9 / (priority**0.9).sum() * counts.sum()
    assert counts.sum() == counts[leaf].sum() == 10_000
    chi_square = ((counts[leaf] - expected) ** 2 / expected).sum()
    assert chi_square < 43.8  # exceeded once in a thousand with 19 degrees of freedom
    wrong = priority**0.6 / (priority**0.6).sum() * counts.sum()  # another exponent would be noticed
    assert ((counts[leaf] - wrong) ** 2 / wrong).sum() > 43.8


def test_batch_covers_the_priorities_evenly() -> None:
    """Of B draws from equal priorities none is more than one away from its share."""
    sampler = make_sampler(8)
    sampler.insert(np.arange(8))
    drawn = sampler.draw(80, np.random.default_rng(0)).leaf
    np.testing.assert_allclose(np.bincount(drawn, minlength=8), 10, atol=1)


def test_importance_weights_by_hand() -> None:
    sampler = make_sampler(2, priority_exponent=1.0, importance_exponent=0.5)
    sampler.insert(np.array([0, 1]))
    sampler.update(np.array([0, 1]), np.array([1.0, 4.0]))
    draw = sampler.draw(100, np.random.default_rng(0))
    np.testing.assert_allclose(draw.weight, np.where(draw.leaf == 0, 1.0, 0.5), rtol=1e-6)


def test_new_sequences_get_the_largest_priority() -> None:
    sampler = make_sampler(4)
    sampler.insert(np.array([0]))
    sampler.update(np.array([0]), np.array([7.0]))
    sampler.update(np.array([0]), np.array([2.0]))
    sampler.insert(np.array([1]))
    np.testing.assert_allclose(sampler.tree.leaves, [2.0**0.9, 7.0**0.9, 0, 0])


def test_what_is_gone_stays_gone_and_zero_stays_drawable() -> None:
    sampler = make_sampler(4)
    sampler.insert(np.array([0, 1]))
    sampler.remove(np.array([0, 2]))
    sampler.update(np.array([0, 1]), np.array([5.0, 0.0]))
    assert sampler.tree.leaves[0] == 0
    assert sampler.tree.leaves[1] == pytest.approx(1e-6**0.9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_impossible_priorities_are_refused(bad: float) -> None:
    sampler = make_sampler(4)
    sampler.insert(np.array([0]))
    with pytest.raises(ReplayError, match="negative or not finite"):
        sampler.update(np.array([0]), np.array([bad]))
