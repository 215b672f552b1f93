"""Does it pay to let R2D2 act while it learns? Agent steps per second with ``--overlap on`` against ``off``.

    python benchmarks/overlap.py [--updates 16] [--turns 6] [OPTIONS OF relic_rl.train ...]

Both train in one process, in turns of so many updates with the acting between them; medians over the turns, the first
left out. On a CPU both halves want the same cores; on a GPU the emulators run on the host while it learns.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from trainer import Trainer, options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=16)
    parser.add_argument("--turns", type=int, default=6)
    args, others = parser.parse_known_args()
    rates: dict[str, list[float]] = {"off": [], "on": []}
    trainers = {
        overlap: Trainer(options("--agent", "r2d2", "--objective", "none", "--overlap", overlap, *others))
        for overlap in rates
    }
    for turn in range(args.turns + 1):
        for overlap, trainer in trainers.items():
            seconds, steps = trainer.iterate(args.updates)
            if turn:
                rates[overlap].append(steps / seconds)
    off, on = (statistics.median(rates[overlap]) for overlap in ("off", "on"))
    device = trainers["on"].config.device
    print(f"--overlap off {off:.0f}, on {on:.0f} agent steps/s, {on / off:.2f} times (device {device}, "
          f"{torch.get_num_threads()} threads)")  # fmt: skip


if __name__ == "__main__":
    main()
