"""Shards of a prioritised replay: together they are one replay."""

import threading

import numpy as np
import pytest

from agents.replay.arrays import allocate
from agents.replay.sampler import PrioritizedSampler, shard_weights

ALPHA, BETA = 0.9, 0.6


def shards(rng: np.random.Generator) -> list[np.ndarray]:
    """Priorities p^alpha of three shards, of very different totals."""
    return [rng.random(n) ** 3 * scale for n, scale in ((7, 1.0), (5, 20.0), (9, 0.2))]


def test_expected_update_is_that_of_one_replay() -> None:
    rng = np.random.default_rng(0)
    p = shards(rng)
    gradients = [rng.normal(size=len(own)) for own in p]
    totals = np.array([own.sum() for own in p])
    least = min(own.min() for own in p)
    # One replay draws i with P(i) = p_i / S and weighs it with P(i)^-beta over the largest weight.
    everything, all_gradients = np.concatenate(p), np.concatenate(gradients)
    chance = everything / everything.sum()
    one = (chance * (chance**-BETA) / (least / everything.sum()) ** -BETA * all_gradients).sum()
    # A third of the batch comes from each shard.
    drawn = [
        (own / own.sum() * shard_weights(own, own.sum(), totals, least, BETA) * g).sum() / 3
        for own, g in zip(p, gradients, strict=True)
    ]
    assert sum(drawn) == pytest.approx(one, rel=1e-12)


def test_equal_totals_give_the_usual_weights() -> None:
    p = np.array([0.5, 1.0, 2.0])
    weights = shard_weights(p, 3.5, np.array([3.5, 3.5]), 0.5, BETA)
    np.testing.assert_allclose(weights, (p / 0.5) ** -BETA)
    assert weights.max() == 1


def make_sampler(priority: np.ndarray, gather) -> PrioritizedSampler:
    arrays = allocate(PrioritizedSampler.specs(len(priority)), None)
    sampler = PrioritizedSampler(arrays, priority_exponent=ALPHA, importance_exponent=BETA, gather=gather)
    leaf = np.arange(len(priority))
    sampler.insert(leaf)
    sampler.update(leaf, priority ** (1 / ALPHA))
    return sampler


def test_samplers_draw_together() -> None:
    """Two shards in two threads, which exchange what two processes would."""
    p = [np.array([1.0, 2.0, 3.0]), np.array([10.0, 0.5])]
    told: list[np.ndarray] = [np.zeros(3)] * 2
    barrier = threading.Barrier(2)
    draws: list = [None, None]
    samplers: list = [None, None]

    def shard(rank: int) -> None:
        def gather(own: np.ndarray) -> np.ndarray:
            told[rank] = own
            barrier.wait()
            everything = np.stack(told)
            barrier.wait()
            return everything

        samplers[rank] = make_sampler(p[rank], gather)
        draws[rank] = samplers[rank].draw(4_000, np.random.default_rng(rank))

    threads = [threading.Thread(target=shard, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank, (leaf, weight) in enumerate(draws):
        shares = np.bincount(leaf, minlength=len(p[rank])) / len(leaf)
        np.testing.assert_allclose(shares, p[rank] / p[rank].sum(), atol=1e-3)  # one from each equal part
        expected = 2 * p[rank].sum() / 16.5 * (p[rank][leaf] / 0.5) ** -BETA
        np.testing.assert_allclose(weight, expected, rtol=1e-6)
    largest = [float(sampler._largest[0]) for sampler in samplers]
    assert largest == pytest.approx([10.0 ** (1 / ALPHA)] * 2)
