"""``evaluate linear`` under torchrun: the result of one process, one report, and clear words where it cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import write_photographs
from test_evaluate import MACHINE, SMALL, write_encoder

from relic_rl.evaluate import main
from relic_rl.evaluation import features
from relic_rl.evaluation.features import in_turn, own_rows
from relic_rl.evaluation.report import read_result as result
from relic_rl.runtime.distributed import Processes

LINEAR = ["--epochs", "3", "--train-batch-size", "32", "--learning-rates", "0.3", "1", "3"]


def torchrun(arguments: list[str]) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command += ["-m", "relic_rl.evaluate", *arguments]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("cache", ["--cache-features", "--no-cache-features"])
def test_two_processes_measure_what_one_does(cache: str, tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path / "encoder.safetensors")
    # 120 and 40 images in batches of 16: the last one of a split is smaller, and one process has a batch more.
    options = ["linear", "--encoder", str(encoder), *SMALL, *LINEAR, "--batch-size", "16", cache, "--out"]
    printed = torchrun([*options, str(tmp_path / "two")])
    assert printed.count("report:") == 1
    assert main([*options, str(tmp_path / "one")]) == 0
    two, one = result(tmp_path / "two"), result(tmp_path / "one")
    assert (two["processes"], one["processes"]) == (2, 1)
    assert two["metrics"] == one["metrics"]
    assert two["details"] == one["details"]
    assert len(one["details"]["labels"]["member"]["held_out_top1"]) == 3


def test_crops_of_files_and_what_is_broken(tmp_path: Path) -> None:
    root = write_photographs(tmp_path / "photographs", sound=12)
    encoder = write_encoder(tmp_path / "encoder.safetensors")
    options = ["linear", "--encoder", str(encoder), "--data", str(root), *MACHINE, "--epochs", "3", "--batch-size", "4"]
    options += ["--train-batch-size", "8", "--learning-rates", "0.3", "3", "--out"]
    torchrun([*options, str(tmp_path / "two")])
    assert main([*options, str(tmp_path / "one")]) == 0
    two, one = result(tmp_path / "two"), result(tmp_path / "one")
    assert two["data"]["broken_files"] == one["data"]["broken_files"]
    assert len(one["data"]["broken_files"]["train"]) > 2
    assert two["metrics"] == one["metrics"]
    assert two["details"] == one["details"]


def test_what_cannot_be_shared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    encoder = [
        "--encoder",
        str(write_encoder(tmp_path / "encoder.safetensors")),
        *SMALL,
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["linear", *encoder, "--train-batch-size", "33"]) == 2
    assert "--train-batch-size 33 does not split over 2 processes: give a multiple of 2" in capsys.readouterr().err
    assert main(["knn", *encoder]) == 2
    assert "evaluate knn runs as one process" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_batches_stay_those_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes, ten batches, the last one smaller; all images of batch 4 and one of batch 5 are broken."""
    count, size, broken = 38, 4, {16, 17, 18, 19, 21}
    streams, told = {}, {}
    for rank in range(3):
        rows = own_rows(count, size, Processes(rank, 3, rank))
        batches = [
            np.array([row for row in some if row not in broken]) for some in np.split(rows, range(4, len(rows), 4))
        ]
        streams[rank] = [(torch.tensor(some)[:, None].float(), some) for some in batches if len(some)]
        told[rank] = {f"{row}": "broken" for row in broken if row in rows}
    assert sorted(np.concatenate([own_rows(count, size, Processes(r, 3, r)) for r in range(3)])) == [*range(count)]

    handed: list = []  # what each gives to the others, one rank after another

    def gather(value):
        if isinstance(value, dict):
            return [*told.values()]
        handed.append(value)
        return [value]

    monkeypatch.setattr(features, "gather_to_all", gather)
    for rank in range(3):
        list(in_turn(streams[rank], count, size, told[rank], Processes(rank, 3, rank)))
    turns = len(handed) // 3
    assert turns == 4  # for ten batches
    in_order = [handed[rank * turns + turn] for turn in range(turns) for rank in range(3)]
    rows = [some[1] for some in in_order if some is not None]
    assert np.concatenate(rows).tolist() == [row for row in range(count) if row not in broken]
    assert len(rows) == 9
    assert in_order[4] is None
    assert all(known == dict.fromkeys(map(str, broken), "broken") for known in told.values())
