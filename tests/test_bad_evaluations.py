"""Whatever is wrong with a command line of `relic_rl.evaluate`: one line, exit code 2, nothing made or changed."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from image_files import picture
from imagenet_layouts import write_imagenet
from PIL import Image

from relic_rl.evaluate import available_kinds, main
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.weights import save_encoder

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("bad_evaluations.yaml").read_text())
FRESH = ["--encoder", "untrained", "--architecture", "nature", "--image-size", "36"]


class Payload:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("owned", "w"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hostile")

    def write_encoder(name: str, **metadata: Any) -> None:
        encoder = build_encoder("nature", in_channels=3, image_size=(36, 36), feature_dim=16)
        made_by = {"encoder": "nature", "in_channels": 3, "image_size": [36, 36], "feature_dim": 16}
        save_encoder(home / f"{name}.safetensors", encoder, made_by | metadata)

    write_encoder("sound")
    write_encoder("strange", encoder="vit")
    write_encoder("wide", in_channels=10**9)
    write_encoder("flat", image_size=[36, 40])
    write_encoder("lying", encoder="impala")
    (home / "garbage.safetensors").write_bytes(np.random.default_rng(0).bytes(5_000))
    (home / "code.safetensors").write_bytes(pickle.dumps({"code": Payload()}))
    torch.save({"code": torch.ones(2)}, home / "weights.pt")
    torch.save({"conv1.weight": torch.ones(2), "code": Payload()}, home / "code.pth")
    (home / "taken").mkdir()
    (home / "taken" / "result.json").write_text("{}")
    (home / "empty").mkdir()
    alone = ("only-train/train/a", "other-classes/train/a", "other-classes/val/b", "only-class/train/a")
    for folder in (*alone, "only-class/val/a"):
        (home / folder).mkdir(parents=True)
        Image.fromarray(picture(0)).save(home / folder / "0.png")
    write_imagenet(home / "imagenet", train=2, val=1)
    return home


def test_every_kind_that_is_told_an_encoder_has_some() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    kinds = {case["arguments"][0] for case in CASES if case["arguments"]}
    assert set(available_kinds()) - {"play"} <= kinds


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_refused(case: dict[str, Any], hostile: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(hostile)
    before = {str(path): path.lstat().st_mtime_ns for path in hostile.rglob("*")}
    given = [argument.replace("LONG", "x" * 300) for argument in case["arguments"]]
    given += FRESH if case.get("fresh") else []
    if len(given) > 2 and "--compare" not in given and "--device" not in given:
        given += ["--device", "cpu"]
    given += ["--out", "made/deep"] if given and "--out" not in given else []
    assert main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert error[:-1].isprintable()
    assert len(error.encode()) < 400
    assert case["says"] in error
    assert {str(path): path.lstat().st_mtime_ns for path in hostile.rglob("*")} == before
