"""`evaluate invariance`: interventions on held-out images, the critic that is used, shares of variance."""

import math
from pathlib import Path

import pytest
import torch
from image_files import write_photographs

from relic_rl.evaluate import main
from relic_rl.evaluate_kinds.invariance import _rows, compare_remarks
from relic_rl.evaluation.class_statistics import class_statistics
from relic_rl.evaluation.report import read_result as result
from relic_rl.evaluation.variance_shares import variance_share
from relic_rl.images.content_style import content_style_images
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.weights import save_critic, save_encoder

MACHINE = ["--device", "cpu", "--threads", "1", "--workers", "0"]
SMALL = [*MACHINE, "--num-images", "40", "--num-test-images", "80", "--contrast-size", "32"]
MADE_BY = {"encoder": "nature", "in_channels": 3, "image_size": [36, 36], "feature_dim": 16, "objective": "relic"}
MADE_BY |= {"objective_options": {"temperature": 0.2}}


@pytest.fixture
def encoder(tmp_path: Path):
    """One that sees luma only, so that grey is nothing to it."""
    torch.manual_seed(0)
    encoder = build_encoder("nature", in_channels=3, image_size=(36, 36), feature_dim=16)
    with torch.no_grad():
        grey = encoder.conv1.weight.mean(1, keepdim=True)
        encoder.conv1.weight.copy_(3 * grey * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1))
    save_encoder(tmp_path / "encoder.safetensors", encoder, MADE_BY)
    return encoder


def measure(tmp_path: Path, out: str, *more: str) -> dict:
    file = str(tmp_path / "encoder.safetensors")
    assert main(["invariance", "--encoder", file, *SMALL, *more, "--out", str(tmp_path / out)]) == 0
    return result(tmp_path / out)


def test_an_encoder_of_luma_is_invariant_to_grey_and_to_nothing_else(encoder, tmp_path, capsys):
    found = measure(tmp_path, "out")
    metrics = found["metrics"]
    order = measure(tmp_path, "order", "--interventions", "all", "grey")["metrics"]
    assert {name: metrics[name] for name in order} == pytest.approx(order, rel=1e-5, abs=1e-6)
    assert metrics["grey/kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["grey/alignment"] == pytest.approx(0, abs=1e-6)
    assert metrics["grey/style_share"] == pytest.approx(0, abs=1e-6)
    assert metrics["grey/accuracy"] == 1
    for name in ("crop", "flip", "brightness", "contrast", "hue", "solarise", "all"):
        assert metrics[f"{name}/alignment"] > 1e-4, name
        assert metrics[f"{name}/kl"] > 0
    assert metrics["all/contrastive"] > metrics["grey/contrastive"]
    assert found["details"]["interventions"]["all"]["chance"] == pytest.approx(math.log(32))
    assert found["details"]["temperature"] == 0.2
    images = content_style_images(80, "test", seed=0, size=36)
    features = encoder(torch.from_numpy(images.images) / 255).detach()
    share = variance_share(class_statistics(features, torch.from_numpy(images.labels["position"]), 16)).share
    assert metrics["variance/position"] == pytest.approx(share, rel=1e-4)
    assert metrics["variance/style (1 - member)"] == pytest.approx(1 - metrics["variance/member"])
    out = capsys.readouterr().out
    assert "critic: none, cosine of the features themselves; temperature 0.2" in out
    assert (tmp_path / "out" / "kl.png").exists()


def test_the_critic_beside_the_encoder_is_used_if_it_is_its_own(encoder, tmp_path, capsys):
    critic = Critic(16, 8, 4)
    save_critic(tmp_path / "critic.safetensors", critic, MADE_BY)
    few = ["--interventions", "hue", "all", "--temperature", "0.5"]
    own = measure(tmp_path, "own", *few)
    assert own["details"]["critic"] == str(tmp_path / "critic.safetensors")
    assert own["details"]["temperature"] == 0.5
    assert list(own["details"]["interventions"]) == ["hue", "all"]
    cosine = measure(tmp_path, "cosine", *few, "--critic", "cosine")
    assert cosine["metrics"]["hue/kl"] != own["metrics"]["hue/kl"]
    assert cosine["metrics"]["hue/alignment"] == own["metrics"]["hue/alignment"]

    save_critic(tmp_path / "critic.safetensors", critic, MADE_BY | {"seed": 1})
    refused = ["invariance", "--encoder", str(tmp_path / "encoder.safetensors"), *SMALL, "--out", str(tmp_path / "no")]
    capsys.readouterr()
    assert main(refused) == 2
    assert "was not made with this encoder" in capsys.readouterr().err
    forced = measure(tmp_path, "forced", *few, "--critic", str(tmp_path / "critic.safetensors"))
    assert forced["metrics"] == own["metrics"]
    save_critic(tmp_path / "critic.safetensors", Critic(15, 8, 4), MADE_BY)
    assert main(refused) == 2
    assert "critic of 15 features" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_images_are_drawn_from_all_over_the_split():
    rows = _rows(1000, 50)
    assert len(set(rows.tolist())) == 50
    assert 300 < rows.mean() < 700
    assert (rows == _rows(1000, 50)).all()
    assert sorted(_rows(7, 50).tolist()) == list(range(7))


def test_joined_and_the_same_again(encoder, tmp_path, capsys):
    few = ["--interventions", "crop"]
    first, again = measure(tmp_path, "a", *few), measure(tmp_path, "b", *few, "--batch-size", "19")
    assert again["metrics"] == pytest.approx(first["metrics"], rel=1e-4)
    fresh = ["--encoder", "untrained", "--architecture", "nature", "--image-size", "36", *few]
    for out, size in (("c", "32"), ("d", "16")):
        assert main(["invariance", *fresh, *SMALL, "--contrast-size", size, "--out", str(tmp_path / out)]) == 0
    joined = ["--compare", str(tmp_path / "a"), "--out", str(tmp_path / "all")]
    assert main([*joined, "--compare", str(tmp_path / "a"), str(tmp_path / "c")]) == 0
    assert {"kl.png", "variance.png", "metrics.png"} <= {path.name for path in (tmp_path / "all").iterdir()}
    told = "relic: no critic, temperature 0.2; untrained: no critic, temperature 0.1"
    assert f"Not asked alike ({told})" in (tmp_path / "all" / "table.md").read_text()
    capsys.readouterr()
    assert main(["--compare", str(tmp_path / "a"), str(tmp_path / "d"), "--out", str(tmp_path / "mixed")]) == 2
    assert "contrast_size" in capsys.readouterr().err
    assert not (tmp_path / "mixed").exists()


def test_remarks_only_where_encoders_were_asked_in_different_ways():
    def asked(name, critic, temperature):
        return {"name": name, "details": {"critic": critic, "temperature": temperature}}

    alike = [asked("a", "runs/a/critic.safetensors", 0.1), asked("b", "runs/b/critic.safetensors", 0.1)]
    assert compare_remarks(alike) == ""
    assert "a: its critic, temperature 0.1 and its critic, temperature 0.2; b" in compare_remarks(
        [*alike, asked("a", "runs/c/critic.safetensors", 0.2)]
    )


def test_class_folders_through_an_agent_s_encoder(tmp_path):
    root = write_photographs(tmp_path / "photographs", sound=4)
    encoder = build_encoder("nature", in_channels=4, image_size=(36, 36), feature_dim=16)
    save_encoder(tmp_path / "encoder.safetensors", encoder, MADE_BY | {"in_channels": 4})
    arguments = ["--encoder", str(tmp_path / "encoder.safetensors"), "--data", str(root), *MACHINE]
    out = tmp_path / "out"
    assert main(["invariance", *arguments, "--contrast-size", "4", "--batch-size", "3", "--out", str(out)]) == 0
    metrics = result(out)["metrics"]
    assert metrics["grey/alignment"] == pytest.approx(0, abs=1e-5)  # it sees luma
    assert "variance/class" in metrics
    assert "variance/style (1 - member)" not in metrics


def test_frames_of_games(tmp_path):
    arguments = ["--encoder", "untrained", "--architecture", "nature", "--data", "atari", "--games", "pong", *MACHINE]
    arguments += ["--num-images", "16", "--num-test-images", "16", "--contrast-size", "8", "--out", str(tmp_path / "o")]
    assert main(["invariance", *arguments]) == 0
    found = result(tmp_path / "o")
    assert list(found["details"]["interventions"]) == ["shift", "intensity", "all"]
    assert found["metrics"]["variance/game"] is None  # one game only
