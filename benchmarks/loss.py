"""Time and memory of the blockwise RELIC loss against the straightforward one, value and gradient.

    python benchmarks/loss.py         # N = 16,384 on 2 threads, then N = 131,072; several minutes
    python benchmarks/loss.py --anchors 2048 --large 0 --repeats 1

Two views, D features, targets detached (the usual EMA target), KL penalty. Sides, each in its own process:

    autograd    all logits at once, log_softmax, both KL terms in one sum, .backward(), as one writes it first
    fp32, bf16  relic_loss(block_size=...), product_dtype=None and torch.bfloat16
    products    the four matrix products that a value with gradient cannot avoid, alone, block by block:
                logits of two interventions, and the gradient of the online rows from that of the logits

Printed: seconds (the median of the repeats), extra peak memory in MB (resident memory over that with the
inputs in place), and the ratios. Only a quiet machine gives numbers worth quoting: two programs with two
threads each on two cores slow each other many times over.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDES = ("autograd", "fp32", "bf16", "products fp32", "products bf16")
TEMPERATURE = 0.1
Tensors = list[Any]  # of torch.Tensor, which only the measured processes import


def resident_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status: this benchmark needs Linux")


def make_side(side: str, block_size: int) -> Callable[[Tensors, Tensors], float]:
    """A function of (online, target) that leaves gradients in online and returns the loss."""
    import torch  # noqa: PLC0415
    from torch.nn import functional  # noqa: PLC0415

    from relic_rl.losses import relic_loss  # noqa: PLC0415

    def autograd(online: Tensors, target: Tensors) -> float:
        u = [functional.normalize(x, dim=1) for x in online]
        v = [functional.normalize(x, dim=1) for x in target]
        log_p = (u[0] @ v[1].T / TEMPERATURE).log_softmax(1)
        log_q = (u[1] @ v[0].T / TEMPERATURE).log_softmax(1)
        contrastive = -(log_p.diagonal().mean() + log_q.diagonal().mean()) / 2
        both_ways = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1).mean()  # KL(p, q) + KL(q, p)
        total: torch.Tensor = contrastive + both_ways / 2
        total.backward()
        return total.item()

    def blockwise(online: Tensors, target: Tensors) -> float:
        product_dtype = torch.bfloat16 if side == "bf16" else None
        total = relic_loss(
            online, target, temperature=TEMPERATURE, block_size=block_size, product_dtype=product_dtype
        ).total
        total.backward()
        return total.item()

    def products(online: Tensors, target: Tensors) -> float:
        dtype = torch.bfloat16 if side.endswith("bf16") else torch.float32
        u, v = ([x.detach().to(dtype) for x in views] for views in (online, target))
        logits = torch.empty(block_size, len(v[0]), dtype=dtype)
        for first in range(0, len(u[0]), block_size):
            rows = slice(first, first + block_size)
            for left, right in ((0, 1), (1, 0)):
                block = logits[: len(u[left][rows])]
                torch.mm(u[left][rows], v[right].T, out=block)
                torch.mm(block, v[right])
        return float("nan")

    return {"autograd": autograd, "fp32": blockwise, "bf16": blockwise}.get(side, products)


def measure(side: str, options: argparse.Namespace) -> None:
    """Run one side here and print its numbers as JSON."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(options.threads)
    run = make_side(side, options.block_size)

    def inputs(rows: int) -> tuple[Tensors, Tensors]:
        generator = torch.Generator().manual_seed(0)
        content = torch.randn(rows, options.features, generator=generator)
        views = [content + 0.5 * torch.randn(rows, options.features, generator=generator) for _ in range(4)]
        return [view.requires_grad_() for view in views[:2]], views[2:]

    run(*inputs(64))  # loads the libraries
    online, target = inputs(options.anchors)
    before, seconds, peak = resident_mb("VmRSS"), [], 0.0
    for repeat in range(options.repeats):
        for view in online:
            view.grad = None
        start = time.perf_counter()
        loss = run(online, target)
        seconds.append(time.perf_counter() - start)
        peak = peak if repeat else resident_mb("VmHWM")
    print(json.dumps({"seconds": statistics.median(seconds), "extra_mb": peak - before, "peak_mb": peak, "loss": loss}))


def in_process(side: str, anchors: int, options: argparse.Namespace, repeats: int) -> dict[str, float]:
    """Measure a side in a fresh process."""
    command = [sys.executable, __file__, "--side", side, "--anchors", str(anchors), "--repeats", str(repeats)]
    for name in ("features", "block_size", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    numbers: dict[str, float] = json.loads(finished.stdout)
    return numbers


def compare(options: argparse.Namespace) -> None:
    """Run every side and print the table and the ratios."""
    print(
        f"N = {options.anchors}, D = {options.features}, two views, block_size {options.block_size}, "
        f"{options.threads} threads, median of {options.repeats}"
    )
    result = {}
    for side in SIDES:
        result[side] = in_process(side, options.anchors, options, options.repeats)
        print(
            f"{side:14s} {result[side]['seconds']:8.2f} s {result[side]['extra_mb']:8.0f} MB extra"
            + ("" if side.startswith("products") else f"   loss {result[side]['loss']:.6f}"),
            flush=True,
        )
    for side in ("fp32", "bf16"):
        ours, naive, bare = result[side], result["autograd"], result[f"products {side}"]
        print(
            f"{side}: {naive['seconds'] / ours['seconds']:.1f} times faster than autograd, "
            f"1/{naive['extra_mb'] / ours['extra_mb']:.0f} of its extra memory, "
            f"{ours['seconds'] / bare['seconds']:.2f} times its four matrix products"
        )
    if options.large:
        numbers = in_process("bf16", options.large, options, 1)
        print(
            f"N = {options.large}, bf16: {numbers['seconds']:.0f} s, peak of the whole process "
            f"{numbers['peak_mb'] / 1000:.2f} GB, loss {numbers['loss']:.6f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anchors", type=int, default=16_384, help="N, rows per view")
    parser.add_argument("--features", type=int, default=128, help="D")
    parser.add_argument("--block-size", type=int, default=512, help="anchor rows at a time")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each side")
    parser.add_argument("--large", type=int, default=131_072, help="N of the last run; 0 leaves it out")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        measure(options.side, options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
