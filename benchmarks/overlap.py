"""Does it pay to let R2D2 act while it learns? Agent steps per second with ``--overlap on`` against ``off``.

    python benchmarks/overlap.py [--updates 16] [--turns 6] [OPTIONS OF relic_rl.train ...]

Each trains in a process of its own, in turns of so many updates with the acting between them, while the other waits;
medians over the turns, the first left out. On a CPU both halves want the same cores; on a GPU the emulators run on the
host while it learns.
"""

from __future__ import annotations

import argparse
import sys

from ppo import Worker, take_turns
from trainer import Trainer, options


def serve(overlap: str, updates: int, others: list[str]) -> None:
    """What a worker does."""
    trainer = Trainer(options("--agent", "r2d2", "--objective", "none", "--overlap", overlap, *others))
    for _ in sys.stdin:
        seconds, steps = trainer.iterate(updates)
        _ = trainer.agent.encoder  # waits for the round under way, which must not run into the other one's turn
        print(seconds, steps, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=16)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args, others = parser.parse_known_args()
    if args.serve:
        serve(args.serve, args.updates, others)
        return
    command = [sys.executable, __file__, "--updates", str(args.updates), *others, "--serve"]
    workers = {overlap: Worker([*command, overlap]) for overlap in ("off", "on")}
    medians = take_turns(workers, args.turns)
    off, on = medians["off"], medians["on"]
    print(f"--overlap off {off:.0f}, on {on:.0f} agent steps/s: {on / off:.2f} times")


if __name__ == "__main__":
    main()
