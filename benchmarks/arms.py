"""Pretrains an encoder with every objective and evaluates all of them: what the tables of encoders share.

What is done is not done again, so a table can be broken off and started anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from relic_rl.evaluation.joining import estimate

Arms = Mapping[str, Sequence[str]]
"""Options of ``relic_rl.pretrain`` by name."""
OBJECTIVES: Arms = {name: ["--objective", name] for name in ("relic", "infonce", "simclr", "byol", "amdim")}
UNTRAINED = "untrained"
Metrics = Mapping[str, float]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options that every table has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("out", type=Path)
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--epochs", type=int, default=10)
    made.add_argument("--threads", type=int, default=1)
    return made


def pretrain(out: Path, arms: Arms, seeds: int, options: Sequence[str]) -> None:
    """Every arm with every seed; seed by seed, so that what is there is balanced whenever it is broken off."""
    for seed in range(seeds):
        for arm, own in arms.items():
            run = out / folder(arm) / f"seed{seed}"
            if (run / "result.json").is_file():
                continue
            command = [sys.executable, "-m", "relic_rl.pretrain", *options, *own, "--seed", str(seed)]
            subprocess.run([*command, "--run-dir", str(run), "--resume", "auto"], check=True)


def evaluate(out: Path, arms: Arms, seeds: int, kind: str, options: Sequence[str], untrained: Sequence[str]) -> None:
    """One kind of evaluation of every arm and of an untrained encoder, joined in OUT/KIND.

    Args:
        out: where `pretrain` wrote.
        arms: as in `pretrain`.
        seeds: as in `pretrain`.
        kind: of ``relic_rl.evaluate``.
        options: its options.
        untrained: options that name the untrained encoder's architecture.
    """
    reports = []
    for seed in range(seeds):
        for arm in [UNTRAINED, *arms]:
            report = report_folder(out, kind, arm, seed)
            reports.append(str(report))
            if (report / "result.json").is_file():
                continue
            encoder = ["--encoder", str(out / folder(arm) / f"seed{seed}" / "encoder.safetensors")]
            if arm == UNTRAINED:
                encoder = ["--encoder", "untrained", *untrained]
            command = [sys.executable, "-m", "relic_rl.evaluate", kind, *encoder, *options]
            subprocess.run([*command, "--name", arm, "--seed", str(seed), "--out", str(report)], check=True)
    shutil.rmtree(out / kind, ignore_errors=True)
    command = [sys.executable, "-m", "relic_rl.evaluate", kind, "--compare", *reports]
    subprocess.run([*command, "--out", str(out / kind)], check=True)


def summary(
    out: Path, arms: Arms, seeds: int, kinds: Sequence[str], columns: Callable[..., Mapping[str, float]]
) -> str:
    """The table in short: arms by what was measured, mean and 95 % interval over seeds.

    Args:
        out: where `evaluate` wrote.
        arms: as in `evaluate`.
        seeds: as in `evaluate`.
        kinds: those that were evaluated.
        columns: the row of one encoder, by the metrics of each kind.
    """
    rows: dict[str, dict[str, list[float]]] = {}
    for arm in [UNTRAINED, *arms]:
        for seed in range(seeds):
            files = [report_folder(out, kind, arm, seed) / "result.json" for kind in kinds]
            metrics = [json.loads(file.read_text())["metrics"] for file in files]
            for column, value in columns(*metrics).items():
                rows.setdefault(arm, {}).setdefault(column, []).append(value)
    names = list(rows[UNTRAINED])
    lines = ["| arm | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {arm} | " + " | ".join(_cell(values, small=name.startswith("LDR")) for name, values in found.items()) + " |"
        for arm, found in rows.items()
    ]
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float], *, small: bool) -> str:
    mean, half_width, _ = estimate(values)
    digits = 4 if small else 3
    return f"{mean:.{digits}f} +- " + ("n/a" if half_width is None else f"{half_width:.{digits}f}")


def report_folder(out: Path, kind: str, arm: str, seed: int) -> Path:
    """Where one evaluation lies."""
    return out / f"{kind}-of" / folder(arm) / f"seed{seed}"


def folder(arm: str) -> str:
    """An arm's name as a folder's."""
    return arm.replace(", ", "-").replace(" ", "")
