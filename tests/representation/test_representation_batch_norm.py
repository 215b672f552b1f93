"""Batch normalisation over two processes of N/2 rows is that of one process of N."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from relic_rl.representation.batch_norm import ProcessBatchNorm, synchronise_batch_norm

WORLD = 2
KINDS = ("rows", "maps", "evaluation", "plain average")


def build(kind: str) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    if kind == "maps":
        net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Tanh())
        inputs = torch.randn(8, 2, 5, 5)
    else:
        momentum = None if kind == "plain average" else 0.1
        net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=momentum), nn.Tanh())
        inputs = torch.randn(8, 4) * torch.linspace(0.1, 3, 8)[:, None] + 100
    net = net.double()
    with torch.no_grad():
        net[1].weight.uniform_(0.5, 2)
        net[1].bias.normal_()
    return net, inputs.double()


def results_of(net: nn.Sequential, inputs: Tensor, share: float) -> dict[str, Tensor]:
    inputs = inputs.clone().requires_grad_()
    outputs = [net(inputs), net(2 * inputs)]
    loss = sum((out**3).flatten(1).sum(1).mean() for out in outputs) * share
    loss.backward()
    values = {"output": outputs[0].detach(), "input gradient": inputs.grad}
    values |= {name: p.grad for name, p in net.named_parameters()}
    return values | {name: b.clone() for name, b in net.named_buffers()}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    found = {}
    for kind in KINDS:
        net, inputs = build(kind)
        names = list(net.state_dict())
        net = synchronise_batch_norm(net)
        assert isinstance(net[1], ProcessBatchNorm)
        assert list(net.state_dict()) == names
        net.train(kind != "evaluation")
        own = inputs[4 * rank : 4 * rank + 4]
        values = results_of(net, own, share=1.0)
        for name, _ in net.named_parameters():  # the mean over processes, as DistributedDataParallel takes it
            dist.all_reduce(values[name])
            values[name] /= WORLD
        values["input gradient"] /= WORLD
        found[kind] = values
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("batch_norm")
    mp.spawn(worker, args=(str(folder),), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("kind", KINDS)
def test_two_halves_are_one_whole(results, kind):
    net, inputs = build(kind)
    net.train(kind != "evaluation")
    expected = results_of(net, inputs, share=1.0)
    for name, value in expected.items():
        if name in ("output", "input gradient"):
            found = torch.cat([results[rank][kind][name] for rank in range(WORLD)])
            torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-11)
        else:
            for rank in range(WORLD):
                torch.testing.assert_close(results[rank][kind][name], value, rtol=1e-9, atol=1e-11)


def test_one_process_keeps_torch_s_layers():
    net, _ = build("maps")
    assert synchronise_batch_norm(net) is net
    assert type(net[1]) is nn.BatchNorm2d
    layer = ProcessBatchNorm(3)
    torch.testing.assert_close(layer(torch.ones(4, 3)), nn.BatchNorm1d(3)(torch.ones(4, 3)))
    with pytest.raises(ValueError, match="takes"):
        layer(torch.ones(4, 3, 2))
