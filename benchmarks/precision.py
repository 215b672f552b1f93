"""Does bf16 learn as well as fp32? The same seeds in both, on a toy task and on the first steps of Pong.

    python benchmarks/precision.py OUT [--seeds 5] [--threads 1]

Everything else is the small preset's, RELIC included; on Pong nothing is annealed and the warm-up is as long as the
whole preset's, since a run squeezed into these steps learns nothing. OUT/summary.md holds the table, with the
difference taken seed by seed: an interval that holds 0 shows no difference. Runs that are done are not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import learning

ARMS = {name: ["--precision", name] for name in ("bf16", "fp32")}
OPTIONS = {
    "relic/Catch-v0": "--total-steps 50000",
    "ALE/Pong-v5": "--total-steps 200000 --warmup 0.36 --no-anneal --no-anneal-entropy --no-anneal-epochs",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    threads = ["--threads", str(args.threads)]
    options = {env: [*of_env.split(), *threads] for env, of_env in OPTIONS.items()}
    learning.compare(args.out, ARMS, args.seeds, options)


if __name__ == "__main__":
    main()
