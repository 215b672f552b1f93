"""Does it pay to let an agent act while it learns? Agent steps per second with ``--overlap on`` against ``off``.

    python benchmarks/overlap.py [--updates 96] [--turns 6] [OPTIONS OF relic_rl.train ...]

Each trains in a process of its own, in turns of so many updates with the acting between them, while the other is
stopped, with whatever it has under way; medians over the turns, the first left out.
"""

from __future__ import annotations

import argparse
import sys

from ppo import take_turns
from trainer import Trainer, options


def serve(overlap: str, updates: int, others: list[str]) -> None:
    """What a worker does."""
    trainer = Trainer(options("--overlap", overlap, *others))
    for _ in sys.stdin:
        seconds, steps = trainer.iterate(updates, finish=False)
        print(seconds, steps, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=96)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args, others = parser.parse_known_args()
    if args.serve:
        serve(args.serve, args.updates, others)
        return
    command = [sys.executable, __file__, "--updates", str(args.updates), *others, "--serve"]
    medians = take_turns({overlap: [*command, overlap] for overlap in ("off", "on")}, args.turns)
    off, on = medians["off"], medians["on"]
    print(f"--overlap off {off:.0f}, on {on:.0f} agent steps/s: {on / off:.2f} times")


if __name__ == "__main__":
    main()
