"""What a resumed run must share with the one that it continues."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from relic_rl.runtime.checkpoint import Loaded
from relic_rl.runtime.errors import BadInput
from relic_rl.train import main
from relic_rl.train_options import TrainConfig
from relic_rl.train_resume import FIXED, continue_options, resumable_options

MADE_WITH = TrainConfig(env="relic/Catch-v0", precision="bf16", num_envs=4)
SMALL = ["--env", "relic/Catch-v0", "--device", "cpu", "--num-envs", "4", "--num-steps", "8", "--num-minibatches", "2"]
SMALL += ["--aux-batch-size", "8", "--eval-episodes", "0", "--threads", "1"]


def loaded(**state: object) -> Loaded:
    return Loaded({"options": resumable_options(MADE_WITH), **state}, Path("step-000000000005.ckpt"), [])


def test_the_decision_on_precision_is_kept_unless_another_is_asked_for() -> None:
    for asked, taken in (("auto", "bf16"), ("fp32", "fp32"), ("bf16", "bf16")):
        config = dataclasses.replace(MADE_WITH, precision=asked)
        assert continue_options(config, loaded()) == dataclasses.replace(MADE_WITH, precision=taken)


def test_a_round_under_way_needs_the_overlap_it_was_made_with() -> None:
    r2d2 = dataclasses.replace(MADE_WITH, agent="r2d2", overlap="on")
    saved = loaded(options=resumable_options(r2d2))
    assert continue_options(dataclasses.replace(r2d2, overlap="auto"), saved) == r2d2
    with pytest.raises(BadInput, match="--overlap is off, the checkpoint was made with on"):
        continue_options(dataclasses.replace(r2d2, overlap="off"), saved)


def test_ppo_decides_on_overlap_anew() -> None:
    saved = loaded(options=resumable_options(dataclasses.replace(MADE_WITH, overlap="on")))
    for asked in ("auto", "on", "off"):
        config = dataclasses.replace(MADE_WITH, overlap=asked)
        assert continue_options(config, saved) == config


@pytest.mark.parametrize("name", FIXED)
def test_what_the_state_depends_on_must_stay(name: str) -> None:
    value = getattr(MADE_WITH, name)
    other = value + 1 if type(value) is int else not value if type(value) is bool else f"other {value}"
    with pytest.raises(BadInput) as caught:
        continue_options(dataclasses.replace(MADE_WITH, **{name: other}), loaded())
    assert f"--{name.replace('_', '-')} is {other}, the checkpoint was made with {value}" in str(caught.value)


def test_the_rest_may_change() -> None:
    config = dataclasses.replace(MADE_WITH, learning_rate=0.5, total_steps=7, alpha=3.0)
    assert continue_options(config, loaded()) == config


@pytest.mark.parametrize("options", [None, 3, {}, {"env": "Pong"}, {**resumable_options(MADE_WITH), "new": 1}])
def test_options_of_another_version(options: object) -> None:
    with pytest.raises(BadInput, match="another version"):
        continue_options(MADE_WITH, loaded(options=options))


def test_weights_a_run_began_with_are_not_needed_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main([*SMALL, "--precision", "fp32", "--total-steps", "32", "--run-dir", str(first)]) == 0
    weights = first / "encoder.safetensors"
    start = ["--encoder-weights", str(weights), "--precision", "fp32", "--total-steps", "32"]
    assert main([*SMALL, *start, "--run-dir", str(second)]) == 0
    weights.unlink()
    assert main(["--resume", str(second), "--total-steps", "64"]) == 0
    kept = yaml.safe_load((second / "config.yaml").read_text())
    assert (kept["encoder_weights"], kept["total_steps"]) == (str(weights), 64)
