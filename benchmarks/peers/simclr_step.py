"""Seconds of a SimCLR step with Lightly's head and loss, for benchmarks/pretrain.py.

    python -m venv /tmp/lightly --system-site-packages   # with torch, numpy and this project's dependencies
    /tmp/lightly/bin/pip install --no-deps lightly==1.6.0
    python benchmarks/pretrain.py --peer-python /tmp/lightly/bin/python

The ResNet is this project's (torchvision's, which Lightly uses, is the same network and may not be installed); the
projection head and NT-Xent are Lightly's own, in fp32, as its SimCLR example trains. Packages on the way are empty and
torchvision a stub, as in ntxent_reference.py beside this file.
"""

import statistics
import sys
import time

import torch
from ntxent_reference import stub_packages

from relic_rl.representation.encoders import build_encoder


def import_lightly() -> tuple[type[torch.nn.Module], type[torch.nn.Module]]:
    """SimCLRProjectionHead and NTXentLoss from the installed package."""
    stub_packages()
    from lightly.loss.ntx_ent_loss import NTXentLoss  # noqa: PLC0415
    from lightly.models.modules.heads import SimCLRProjectionHead  # noqa: PLC0415

    return SimCLRProjectionHead, NTXentLoss


def main(name: str, size: int, batch: int, repeats: int) -> None:
    head_class, loss_class = import_lightly()
    torch.manual_seed(0)
    encoder = build_encoder(name, in_channels=3, image_size=(size, size))
    head = head_class(encoder.feature_dim, 512, 128)
    criterion = loss_class(temperature=0.1)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-4, weight_decay=1e-4)
    views = [torch.rand(batch, 3, size, size) for _ in range(2)]
    times = []
    for number in range(repeats + 2):
        start = time.perf_counter()
        loss = criterion(*(head(encoder(view)) for view in views))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if number >= 2:
            times.append(time.perf_counter() - start)
    print(statistics.median(times))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
