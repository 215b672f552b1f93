"""Several processes: who is who, what they agree on, gradients as one process would have them."""

import os
import socket
import time
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from relic_rl.runtime import distributed
from relic_rl.runtime.distributed import Processes, launched_processes, local_device
from relic_rl.runtime.errors import BadInput, RunFailed

WORLD = 2


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def rows() -> torch.Tensor:
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(1))


def worker(rank: int, folder: str, port: int) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(WORLD), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with distributed.process_group(Processes(rank, WORLD, rank), torch.device("cpu")):
        agree(rank, folder)
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    (Path(folder) / f"{rank}.threads").write_text("\n".join(threads))


def agree(rank: int, folder: str) -> None:
    net = network()
    if rank == 1:
        with torch.no_grad():
            net.weight.add_(1)
    differs = distributed.odd_ranks([net])
    model = distributed.parallel(net, torch.device("cpu"))
    same = distributed.odd_ranks([net])
    own = rows()[4 * rank : 4 * rank + 4]
    for i, part in enumerate(own.chunk(2)):
        with distributed.accumulate(model, last=i == 1):
            (model(part).square().mean() / 2).backward()
    results = {
        "differs": (differs, same),
        "gradient": net.weight.grad,
        "largest": distributed.largest([10 + rank, 5 - rank]),
        "mean": distributed.mean_over_processes(torch.tensor([1.0, 3.0]) * (rank + 1)),
        "writer": distributed.from_writer({"rank": rank}),
        "all": distributed.gather_to_all(f"rank {rank}"),
    }
    one_first(rank, folder)
    torch.save(results, f"{folder}/{rank}.pt")
    if rank == 1:  # goes away without a word
        return

    def wait_for_the_other() -> None:
        with distributed.failures_of_others(None):
            for _ in range(3):
                distributed.largest([1])

    with pytest.raises(RunFailed, match="another process is gone"):
        wait_for_the_other()
    (Path(folder) / "told").touch()


def one_first(rank: int, folder: str) -> None:
    """Rank 0 keeps something, slowly, and the other finds it; where rank 0 fails, both hear of it and none waits."""
    place = Path(folder) / "kept"

    def keep() -> bool:
        if place.exists():
            return True
        time.sleep(0.3)
        place.touch()
        return False

    assert distributed.locally_first(keep, Processes(rank, WORLD, rank)) == (rank == 1)

    def fail() -> None:
        if rank == 0:
            raise BadInput("the first fails")

    with pytest.raises(BadInput, match="the first fails"):
        distributed.together(lambda: distributed.locally_first(fail, Processes(rank, WORLD, rank)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    mp.spawn(worker, args=(str(folder), port), nprocs=WORLD)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    assert (folder / "told").exists()
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of threads")
def test_no_thread_of_the_group_outlives_it(folder):
    """One that does may abort the process while the interpreter shuts down: a finished run would count as failed."""
    for rank in range(WORLD):
        assert "gloo" not in (folder / f"{rank}.threads").read_text()


def test_gradients_are_those_of_one_process(results):
    net = network()
    net(rows()).square().mean().backward()
    for found in results:
        torch.testing.assert_close(found["gradient"], net.weight.grad)


def test_what_processes_agree_on(results):
    for found in results:
        assert found["differs"] == ([1], [])  # all start from the writer's weights
        assert found["largest"] == [11, 5]
        assert found["mean"].tolist() == [1.5, 4.5]
        assert found["writer"] == {"rank": 0}
        assert found["all"] == ["rank 0", "rank 1"]


def test_one_process_agrees_with_itself():
    net = network()
    assert distributed.parallel(net, torch.device("cpu")) is net
    assert distributed.largest([3, 1]) == [3, 1]
    assert distributed.from_writer("a") == "a"
    assert distributed.gather_to_all(1) == [1]
    assert not distributed.odd_ranks([net])
    values = torch.ones(2)
    assert distributed.mean_over_processes(values) is values
    with distributed.accumulate(net, last=False), distributed.process_group(Processes(), torch.device("cpu")):
        pass


def test_who_is_who(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert launched_processes() == Processes(0, 1, 0)
    assert launched_processes().is_writer
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert launched_processes() == Processes(5, 8, 1)
    assert not launched_processes().is_writer
    for rank in ("8", "x"):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(BadInput, match="torchrun"):
            launched_processes()


def test_each_process_takes_its_device(monkeypatch: pytest.MonkeyPatch):
    several = Processes(3, 4, 1)
    assert local_device("cuda:2", Processes()) == "cuda:2"
    assert local_device("cpu", several) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert local_device("auto", several) == "cuda:1"
    with pytest.raises(BadInput, match="give auto"):
        local_device("cuda:2", several)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device("auto", several) == "auto"


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="shapes"), distributed.failures_of_others(None):
        raise RuntimeError("shapes do not match")
