"""Which image comes when: every epoch shows all, processes share, a late start continues."""

from itertools import chain

import numpy as np

from relic_rl.images.batches import BatchPlan
from relic_rl.images.content_style import content_style_images
from relic_rl.images.memory import MemorySource


def numbers(plan: BatchPlan) -> list[list[int]]:
    return [spec.indices.tolist() for spec in plan]


def test_an_epoch_shows_every_image_once() -> None:
    plan = BatchPlan(num_images=24, batch_size=6, seed=0, start=0, stop=8)
    assert plan.per_epoch == 4
    batches = numbers(plan)
    assert sorted(chain(*batches[:4])) == sorted(chain(*batches[4:])) == list(range(24))
    assert batches[:4] != batches[4:]
    assert len(plan) == 8


def test_what_is_left_over_changes() -> None:
    plan = BatchPlan(num_images=10, batch_size=4, seed=1, start=0, stop=2 * 30)
    batches = numbers(plan)
    left = [set(range(10)) - set(batches[2 * i]) - set(batches[2 * i + 1]) for i in range(30)]
    assert all(len(rest) == 2 for rest in left)
    assert set().union(*left) == set(range(10))


def test_seeds_differ_and_repeat() -> None:
    def make(seed):
        return numbers(BatchPlan(num_images=50, batch_size=10, seed=seed, start=0, stop=5))

    assert make(0) == make(0)
    assert make(0) != make(1)


def test_processes_share_batches_and_a_late_start_continues() -> None:
    whole = numbers(BatchPlan(num_images=30, batch_size=8, seed=2, start=0, stop=9))
    parts = [numbers(BatchPlan(30, 8, 2, 0, 9, rank, 4)) for rank in range(4)]
    assert [list(chain(*(part[i] for part in parts))) for i in range(9)] == whole
    assert numbers(BatchPlan(30, 8, 2, 4, 9)) == whole[4:]
    assert numbers(BatchPlan(30, 8, 2, 9, 9)) == []


def test_images_in_memory_are_served_as_they_are() -> None:
    train = content_style_images(40, "train", seed=0, size=16)
    source = MemorySource(train, content_style_images(12, "test", seed=0, size=16))
    plan = BatchPlan(source.num_images, 8, seed=0, start=0, stop=5)
    for spec, batch in zip(plan, source.batches(plan), strict=True):
        assert np.array_equal(batch.images.numpy(), train.images[spec.indices])
        assert np.array_equal(batch.labels.numpy(), train.labels["member"][spec.indices])
    assert (source.num_images, source.num_classes, source.channels) == (40, 40, 3)
    assert len(source.test_sample(100).rows) == 12
    assert len(source.reference_sample(7).rows) == 7
    assert source.fingerprint == train.fingerprint()
