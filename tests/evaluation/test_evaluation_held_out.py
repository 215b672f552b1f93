"""Held-out images: every index on one side, groups as wholes."""

import numpy as np
import pytest
import torch

from relic_rl.evaluation.held_out import at_the_edge, held_out


def test_single_images() -> None:
    learn, judge = held_out(50, 0.1, np.random.default_rng(0))
    assert len(judge) == 5
    assert sorted([*learn.tolist(), *judge.tolist()]) == list(range(50))
    assert learn.tolist() == sorted(learn.tolist())
    assert judge.tolist() != held_out(50, 0.1, np.random.default_rng(1))[1].tolist()
    assert [len(part) for part in held_out(2, 0.5, np.random.default_rng(0))] == [1, 1]
    assert [len(part) for part in held_out(3, 0.01, np.random.default_rng(0))] == [2, 1]


@pytest.mark.parametrize("seed", range(5))
def test_groups_are_not_parted(seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = torch.from_numpy(generator.integers(0, 12, 200) * 7)
    learn, judge = held_out(200, 0.2, generator, groups)
    assert sorted([*learn.tolist(), *judge.tolist()]) == list(range(200))
    assert not set(groups[learn].tolist()) & set(groups[judge].tolist())
    largest = int(torch.bincount(groups).max())
    assert 40 <= len(judge) < 40 + largest


def test_few_groups() -> None:
    learn, judge = held_out(10, 0.9, np.random.default_rng(0), torch.tensor([3] * 5 + [1] * 5))
    assert {len(learn), len(judge)} == {5}
    learn, judge = held_out(10, 0.2, np.random.default_rng(0), torch.full((10,), 4))  # one alone tells nothing
    assert (len(learn), len(judge)) == (8, 2)


def test_the_edge_of_a_sweep() -> None:
    assert at_the_edge(30.0, {1.0: 0.2, 30.0: 0.7, 10.0: 0.5})
    assert at_the_edge(1.0, {1.0: 0.8, 30.0: 0.7, 10.0: 0.5})
    assert not at_the_edge(10.0, {1.0: 0.2, 30.0: 0.3, 10.0: 0.5})
    assert not at_the_edge(1.0, {1.0: 1.0, 10.0: 1.0, 30.0: 0.3})  # no slope that goes on
    assert not at_the_edge(1.0, {1.0: 1.0})
    assert not at_the_edge(1.0, {})
