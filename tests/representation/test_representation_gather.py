"""Two processes of N/2 rows give the loss and the gradients of one process of N."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from relic_rl.representation.encoders import NatureEncoder
from relic_rl.representation.gather import gather_rows, gather_views, row_offset, world_size
from relic_rl.representation.objectives import BYOLObjective, Objective, build_objective

WORLD = 2
BATCH = 8
GROUPS = torch.tensor([0, 1, 2, 0, 1, 3, 3, 0])  # group 0 spans both processes
CASES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "relic ema": ("relic", {}, False),
    "relic online": ("relic", {"target": "online"}, False),
    "relic online, blockwise": ("relic", {"target": "online", "block_size": 3}, False),
    "relic, three views": ("relic", {"target": "online", "alpha": 0.5}, False),
    "infonce with groups": ("infonce", {}, True),
    "relic online with groups": ("relic", {"target": "online"}, True),
    "simclr": ("simclr", {"learnable_temperature": True}, False),
    "byol": ("byol", {}, False),
    "curl": ("curl", {}, False),
    "amdim": ("amdim", {}, False),
}


@pytest.fixture(autouse=True)
def one_thread():
    """As in the workers: orthogonal initialisation rounds differently on another number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(case: str) -> tuple[NatureEncoder, Objective, list[Tensor], Tensor | None]:
    """The same networks and the full batch, in every process."""
    name, options, grouped = CASES[case]
    torch.manual_seed(0)
    size = 52 if name == "amdim" else 36  # 3 x 3 locations in its coarse map, not a single one
    encoder = NatureEncoder(in_channels=1, image_size=(size, size), feature_dim=12).double()
    objective = build_objective(name, encoder, projection_dim=6, hidden_dim=9, **options)
    assert objective is not None
    objective.double()
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(0.01 * torch.randn_like(p))
    views = [
        torch.randint(0, 256, (BATCH, 1, size, size), dtype=torch.uint8) for _ in range(3 if "three" in case else 2)
    ]
    return encoder, objective, views, GROUPS if grouped else None


def loss_and_gradients(
    encoder: NatureEncoder, objective: Objective, views: list[Tensor], groups: Tensor | None
) -> list[Tensor]:
    """The loss, every metric and the gradient of every trained parameter."""
    out = objective(encoder, views, groups)
    out.loss.backward()
    trained = [*encoder.parameters(), *(p for p in objective.parameters() if p.requires_grad)]
    gradients = [p.grad for p in trained if p.grad is not None]
    assert len(gradients) == len(trained)
    metrics = out.metrics
    if isinstance(objective, BYOLObjective):
        del metrics["accuracy"]  # BYOL has no candidates: this diagnostic is of the process's own rows
    return [out.loss.detach(), *metrics.values(), *gradients]


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    try:
        results = {}
        own = slice(rank * BATCH // WORLD, (rank + 1) * BATCH // WORLD)
        for case in CASES:
            encoder, objective, views, groups = build(case)
            half = loss_and_gradients(
                encoder, objective, [view[own] for view in views], None if groups is None else groups[own]
            )
            for value in half:  # the mean over processes, as DistributedDataParallel takes it
                dist.all_reduce(value)
                value.div_(WORLD)
            results[case] = half
        rows = torch.arange(6.0).reshape(3, 2) + 10 * rank
        rows.requires_grad_()
        gathered = gather_rows(rows)
        (gathered * torch.arange(12.0).reshape(6, 2)).sum().backward()
        views = gather_views([rows.detach(), rows.detach() + 100])
        results["rows"] = [gathered.detach(), rows.grad, *views, torch.tensor(row_offset(3))]
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Tensor]]]:
    """What both processes computed, by rank."""
    folder: Path = tmp_path_factory.mktemp("gather")
    mp.spawn(worker, args=(str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("case", CASES)
def test_two_halves_are_one_whole(results, case):
    expected = loss_and_gradients(*build(case))
    for rank in range(WORLD):
        for found, value in zip(results[rank][case], expected, strict=True):
            torch.testing.assert_close(found, value, rtol=1e-8, atol=1e-12)


def test_gathered_rows_are_in_order_of_rank_and_gradient_is_summed(results):
    whole = torch.cat([torch.arange(6.0).reshape(3, 2), torch.arange(6.0).reshape(3, 2) + 10])
    weight = torch.arange(12.0).reshape(6, 2)
    for rank in range(WORLD):
        gathered, gradient, first, second, offset = results[rank]["rows"]
        assert torch.equal(gathered, whole)
        assert torch.equal(gradient, WORLD * weight[3 * rank : 3 * rank + 3])
        assert torch.equal(first, whole)
        assert torch.equal(second, whole + 100)
        assert offset == 3 * rank


def test_one_process_communicates_nothing():
    rows = torch.randn(3, 2, requires_grad=True)
    assert world_size() == 1
    assert row_offset(3) == 0
    assert gather_rows(rows) is rows
    assert all(a is b for a, b in zip(gather_views([rows, rows]), [rows, rows], strict=True))
