"""Does PPO learn as well when acting lags by one rollout? The same seeds with ``--overlap on`` and ``off``.

    python benchmarks/overlap_learning.py OUT [--seeds 8] [--threads 1] [-- OPTION OF relic_rl.train ...]

Everything else is the classical setting's, RELIC included, on Catch. OUT/summary.md holds the table, with the
difference taken seed by seed: an interval that holds 0 shows no difference. Runs that are done are not done again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import learning

ARMS = {f"overlap {name}": ["--overlap", name] for name in ("on", "off")}
STEPS = "120000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    args = parser.parse_args(own)
    options = [
        "--config",
        "ppo-atari",
        "--total-steps",
        STEPS,
        "--threads",
        str(args.threads),
        *sys.argv[len(own) + 2 :],
    ]
    learning.compare(args.out, ARMS, args.seeds, {"relic/Catch-v0": options})


if __name__ == "__main__":
    main()
