"""Images per second of pretraining: loading, augmentation and the training step, apart and together.

    python benchmarks/pretrain.py [--encoder resnet18] [--image-size 96] [--batch-size 64] [--workers 1] [--device auto]
                                  [--peer-python /tmp/lightly/bin/python]

Photographs are made up, 500 x 375 pixels in JPEG, as large as ImageNet's. The step is SimCLR's (two views, NT-Xent, a
critic of two layers with batch normalisation, AdamW), precision as `auto` decides. It is timed against a
straightforward one: the same network in fp32, channels first, a pass per view, NT-Xent as a cross-entropy over the
2N x 2N similarities. Both take turns in one process, so that whatever else the machine does falls on both; printed is
the ratio of medians. With --peer-python, Lightly's head and loss run the same step in a virtual environment of their
own (`benchmarks/peers/simclr_step.py` says how to make it). On a GPU the step's share of the device's matrix peak is
printed too: the step's multiplications over the rate that an 8192^3 product reaches in the same precision.
"""

import argparse
import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from relic_rl.images.batches import BatchPlan
from relic_rl.images.folder import FolderSource
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.objectives import build_objective
from relic_rl.representation.view_recipes import FIRST_VIEW, SECOND_VIEW, view_draws
from relic_rl.representation.views import ViewMaker
from relic_rl.runtime.device import device_name, resolve_device
from relic_rl.runtime.optimisers import build_optimiser
from relic_rl.runtime.precision import autocast, decide_precision, encoder_step, set_fp32_products

PROJECTION, HIDDEN = 128, 512
PEER = Path(__file__).parent / "peers" / "simclr_step.py"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--photographs", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peer-python")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    device = resolve_device(arguments.device)
    set_fp32_products(device)
    size, batch = arguments.image_size, arguments.batch_size
    torch.manual_seed(0)
    encoder = build_encoder(arguments.encoder, in_channels=3, image_size=(size, size)).to(device)
    timed = encoder_step(encoder, (3, size, size), device)
    precision = decide_precision("auto", timed, batch, device)
    print(f"{device_name(device)}; {precision.reason}")

    with tempfile.TemporaryDirectory() as folder:
        make_photographs(Path(folder), arguments.photographs)
        source = FolderSource(
            Path(folder), [FIRST_VIEW, SECOND_VIEW], [size] * 2, eval_size=size, key=0, workers=arguments.workers
        )
        endless = iter(source.batches(BatchPlan(source.num_images, batch, seed=0, start=0, stop=10**6)))
        crops = next(endless).images
        maker = ViewMaker((FIRST_VIEW, SECOND_VIEW), (size, size))
        draws = view_draws(0, 0, 2, batch, slice(0, batch))

        def load() -> None:
            next(endless)

        def augment() -> list[Tensor]:
            assert isinstance(crops, list)
            return maker([view.to(device) for view in crops], draws)

        views = augment()
        ours = make_step(encoder, precision.autocast_dtype, device)
        plain = make_plain_step(encoder, device)

        def whole() -> None:
            images = next(endless).images
            assert isinstance(images, list)
            ours(maker([view.to(device) for view in images], draws))

        print("| what | images/s |\n|---|---|")
        steps = {"training step": lambda: ours(views), "plain fp32 step": lambda: plain(views)}
        rates = take_turns(steps, arguments.repeats, device)
        apart = {f"loading, {arguments.workers} workers": load, "augmentation": augment, "together": whole}
        for name, action in apart.items():
            rates |= take_turns({name: action}, arguments.repeats, device)
        for name, seconds in rates.items():
            print(f"| {name} | {batch / seconds:,.0f} |")
        ratio = rates["plain fp32 step"] / rates["training step"]
        print(f"the step is {ratio:.2f} times as fast as the plain one")
        if device.type == "cuda":
            share = matrix_share(lambda: ours(views), rates["training step"], precision.autocast_dtype, device)
            print(f"it reaches {share:.0%} of the device's matrix peak")
    if arguments.peer_python:
        command = [arguments.peer_python, str(PEER), arguments.encoder, str(size), str(batch), str(arguments.repeats)]
        root = Path(__file__).resolve().parents[1]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": str(root)}, stdout=subprocess.PIPE, text=True, check=True
        )
        print(f"Lightly's head and loss, fp32: {batch / float(done.stdout.split()[-1]):,.0f} images/s (not in turns)")
    sys.stdout.flush()


def make_photographs(folder: Path, count: int) -> None:
    """JPEG files of smooth colours with noise, 500 x 375, in four classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / "train" / str(number % 4) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(path, quality=90)


def make_step(encoder: nn.Module, dtype: torch.dtype | None, device: torch.device) -> Callable[[list[Tensor]], None]:
    """The project's step: one pass for both views, kernels channels-last, autocast."""
    network = build_encoder_like(encoder, channels_last=True)
    objective = build_objective("simclr", network, projection_dim=PROJECTION, hidden_dim=HIDDEN, batch_norm=True)
    optimiser = build_optimiser("adamw", [network, objective], learning_rate=1e-4, weight_decay=1e-4)

    def step(views: list[Tensor]) -> None:
        optimiser.zero_grad(set_to_none=True)
        with autocast(device, dtype):
            loss = objective(network, views).loss
        loss.backward()
        optimiser.step()

    return step


def make_plain_step(encoder: nn.Module, device: torch.device) -> Callable[[list[Tensor]], None]:
    """SimCLR as one writes it down: fp32, a pass per view, a cross-entropy over all similarities."""
    network = build_encoder_like(encoder, channels_last=False)
    head = nn.Sequential(
        nn.Linear(network.feature_dim, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PROJECTION)
    ).to(device)
    optimiser = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=1e-4, weight_decay=1e-4)

    def step(views: list[Tensor]) -> None:
        z = functional.normalize(torch.cat([head(network(view)) for view in views]), dim=1)
        similarity = (z @ z.T / 0.1).fill_diagonal_(float("-inf"))
        labels = torch.arange(len(z), device=device).roll(len(z) // 2)
        loss = functional.cross_entropy(similarity, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def build_encoder_like(encoder: nn.Module, *, channels_last: bool) -> nn.Module:
    """A copy with the same weights."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return copy.deepcopy(encoder).to(memory_format=layout)


def take_turns(actions: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each action, two runs to warm up, then in turns."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(repeats + 2):
        for name, action in actions.items():
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            action()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number >= 2:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def matrix_share(step: Callable[[], None], seconds: float, dtype: torch.dtype | None, device: torch.device) -> float:
    """Multiplications of the step per second over those of a large matrix product in the same precision."""
    with FlopCounterMode(display=False) as counter:
        step()
    side = 8192
    a = torch.randn(side, side, device=device, dtype=dtype or torch.float32)
    product = take_turns({"product": lambda: a @ a}, 9, device)["product"]
    return (counter.get_total_flops() / seconds) / (2 * side**3 / product)


if __name__ == "__main__":
    main()
