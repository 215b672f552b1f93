"""What two processes of this machine take to average gradients and to gather outputs: the constants of a cost model.

    python benchmarks/exchanges.py [--repeats 200]

For tensors of several sizes the median time of an all-reduce, of an all-gather of rows and of the exchange of a few
numbers, between two processes over gloo on this machine. A line through the smallest and the largest all-reduce gives
seconds per message and bytes per second, which docs/scaling.md puts into its model. To be run on a machine that does
nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

SIZES = (1_000, 100_000, 1_000_000, 1_700_000, 6_700_000)  # numbers in float32; 1.7 M: PPO with the Nature encoder


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Of a call that all processes make together."""
    times = []
    for _ in range(repeats):
        dist.barrier()
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(rank: int, port: int, repeats: int, file: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    points = []
    for size in SIZES:
        numbers = torch.ones(size)
        points.append((4 * size, median_seconds(lambda n=numbers: dist.all_reduce(n), repeats)))
    rows, gathered = torch.ones(32, 2, 128), [torch.empty(32, 2, 128) for _ in range(2)]
    gather = median_seconds(lambda: dist.all_gather(gathered, rows), repeats)
    few = torch.ones(3)
    small = median_seconds(lambda: dist.all_reduce(few), repeats)
    if rank == 0:
        Path(file).write_text(json.dumps({"all_reduce": points, "gather": gather, "few": small}))
    dist.destroy_process_group()


def between_two(repeats: int) -> dict[str, float]:
    """Seconds per message, bytes per second, and what else was measured; printed as well."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        mp.spawn(measure, args=(port, repeats, str(file)), nprocs=2)
        found = json.loads(file.read_text())
    for size, seconds in found["all_reduce"]:
        print(f"all-reduce of {size / 1e6:.2f} MB: {1e3 * seconds:.2f} ms")
    (x0, y0), (x1, y1) = found["all_reduce"][0], found["all_reduce"][-1]
    slope = (y1 - y0) / (x1 - x0)
    latency = y0 - slope * x0
    print(f"a line through both ends: {1e3 * latency:.2f} ms + bytes / {1 / slope / 1e9:.2f} GB/s")
    print(f"gather of two views of 64 outputs of 128 numbers: {1e3 * found['gather']:.2f} ms")
    print(f"three numbers: {1e3 * found['few']:.2f} ms")
    return {"latency": latency, "bandwidth": 1 / slope, "gather": found["gather"], "few": found["few"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200)
    between_two(parser.parse_args().repeats)


if __name__ == "__main__":
    main()
