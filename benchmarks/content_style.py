"""What does each objective know of content and style? Pretraining runs of every arm on the generated images.

    python benchmarks/content_style.py OUT [--seeds 3] [--epochs 10] [--threads 1]

Arms: an untrained encoder, RELIC with several weights alpha of its penalty (0 is InfoNCE), SimCLR, BYOL, AMDIM; the same
data, encoder, critic, views, optimiser and number of updates in each (the preset content-style). A run that is done is
not done again, so the script can be broken off and started anew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ARMS: dict[str, list[str]] = {
    "relic": ["--objective", "relic"],
    "infonce": ["--objective", "infonce"],
    "simclr": ["--objective", "simclr"],
    "byol": ["--objective", "byol"],
    "amdim": ["--objective", "amdim"],
    "relic, alpha 3": ["--objective", "relic", "--alpha", "3"],
    "relic, alpha 0.3": ["--objective", "relic", "--alpha", "0.3"],
    "relic, alpha 10": ["--objective", "relic", "--alpha", "10"],
}


def pretrain(out: Path, seeds: int, epochs: int, threads: int) -> None:
    """Every arm with every seed; seed by seed, so that what is there is balanced whenever it is broken off."""
    for seed in range(seeds):
        for arm, options in ARMS.items():
            run = out / arm.replace(", ", "-").replace(" ", "") / f"seed{seed}"
            if (run / "result.json").is_file():
                continue
            command = [sys.executable, "-m", "relic_rl.pretrain", "--data", "content-style", *options]
            command += ["--epochs", str(epochs), "--seed", str(seed), "--threads", str(threads)]
            subprocess.run([*command, "--run-dir", str(run), "--resume", "auto"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    pretrain(args.out, args.seeds, args.epochs, args.threads)


if __name__ == "__main__":
    main()
