"""What does each objective know of content and style? Pretraining and evaluation of every arm on generated images.

    python benchmarks/content_style.py OUT [--seeds 3] [--epochs 10] [--threads 1]

Arms: an untrained encoder, RELIC with several weights alpha of its penalty (0 is InfoNCE), SimCLR, BYOL, AMDIM; the
same data, encoder, critic, views, optimiser and number of updates in each (the preset content-style). Judged by linear
probes of content (member, family) and of every factor of style, on the styles of training, on unseen values of every
factor at once and of each alone; and by the linear discriminant ratio. OUT/linear and OUT/ldr hold the tables: mean
and 95 % interval over seeds. What is done is not done again, so the script can be broken off and started anew.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

from relic_rl.evaluation.joining import estimate
from relic_rl.images.styles import SPLITS, STYLES

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
            run = out / _folder(arm) / f"seed{seed}"
            if (run / "result.json").is_file():
                continue
            command = [sys.executable, "-m", "relic_rl.pretrain", "--data", "content-style", *options]
            command += ["--epochs", str(epochs), "--seed", str(seed), "--threads", str(threads)]
            subprocess.run([*command, "--run-dir", str(run), "--resume", "auto"], check=True)


def evaluate(out: Path, seeds: int, threads: int) -> None:
    """The tables of all arms and seeds."""
    common = ["--data", "content-style", "--threads", str(threads)]
    kinds = {"linear": ["--label", "all", "--epochs", "20", "--ood", *SPLITS[2:]], "ldr": []}
    for kind, options in kinds.items():
        reports = []
        for seed in range(seeds):
            for arm in ["untrained", *ARMS]:
                report = out / f"{kind}-of" / _folder(arm) / f"seed{seed}"
                reports.append(str(report))
                if (report / "result.json").is_file():
                    continue
                encoder = ["--encoder", str(out / _folder(arm) / f"seed{seed}" / "encoder.safetensors")]
                if arm == "untrained":
                    encoder = ["--encoder", "untrained", "--architecture", "nature", "--image-size", "64"]
                command = [sys.executable, "-m", "relic_rl.evaluate", kind, *encoder, *common, *options]
                subprocess.run([*command, "--name", arm, "--seed", str(seed), "--out", str(report)], check=True)
        shutil.rmtree(out / kind, ignore_errors=True)
        command = [sys.executable, "-m", "relic_rl.evaluate", kind, "--compare", *reports]
        subprocess.run([*command, "--out", str(out / kind)], check=True)


def summary(out: Path, seeds: int) -> str:
    """The table in short: arms by what was measured, mean and 95 % interval over seeds."""
    lines = ["| arm | " + " | ".join(_columns({}, {})) + " |", "|---" * (len(_columns({}, {})) + 1) + "|"]
    for arm in ["untrained", *ARMS]:
        found: dict[str, list[float]] = {}
        for seed in range(seeds):
            linear, ldr = (
                json.loads((out / f"{kind}-of" / _folder(arm) / f"seed{seed}" / "result.json").read_text())["metrics"]
                for kind in ("linear", "ldr")
            )
            for column, value in _columns(linear, ldr).items():
                found.setdefault(column, []).append(value)
        cells = []
        for column, values in found.items():
            mean, half_width, _ = estimate(values)
            digits = 4 if column.startswith("LDR") else 3
            width = "n/a" if half_width is None else f"{half_width:.{digits}f}"
            cells.append(f"{mean:.{digits}f} +- {width}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _columns(linear: dict[str, float], ldr: dict[str, float]) -> dict[str, float]:
    def accuracy(*names: str) -> float:
        return sum(linear.get(f"{name}/top1", math.nan) for name in names) / len(names)

    return {
        "member": accuracy("member/test"),
        "family": accuracy("family/test"),
        "member, one factor unseen": accuracy(*(f"member/ood-{factor}" for factor in STYLES)),
        "member, all unseen": accuracy("member/ood"),
        "family, all unseen": accuracy("family/ood"),
        "style (mean of 8 factors)": accuracy(*(f"{factor}/test" for factor in STYLES)),
        "LDR of members, median": ldr.get("member/test/median", math.nan),
    }


def _folder(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    pretrain(args.out, args.seeds, args.epochs, args.threads)
    evaluate(args.out, args.seeds, args.threads)
    (args.out / "summary.md").write_text(summary(args.out, args.seeds))
    print(f"short table: {args.out / 'summary.md'}")


if __name__ == "__main__":
    main()
