"""Every shipped YAML file is found, starts with the command that uses it, and is accepted by its door."""

import re
from pathlib import Path

import pytest

from relic_rl import pretrain
from relic_rl.compare_options import CompareConfig
from relic_rl.compare_plan import make_plan
from relic_rl.pretrain_build import build_views
from relic_rl.pretrain_options import PretrainConfig
from relic_rl.runtime.config import parse_config
from relic_rl.train import base_options
from relic_rl.train_options import TrainConfig

CONFIGS = Path(__file__).parents[1] / "configs"
OPTIONS = {"train": TrainConfig, "pretrain": PretrainConfig, "compare": CompareConfig}
FILES = sorted(CONFIGS.rglob("*.y*ml"))


def test_there_are_presets_for_every_agent_and_machine() -> None:
    names = {path.stem for path in FILES}
    assert {"ppo-small", "ppo-gpu", "ppo-atari", "r2d2-small", "r2d2-gpu", "r2d2-paper"} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_preset_is_accepted(path: Path) -> None:
    kind = path.parent.name
    first = path.read_text().splitlines()[0]
    assert re.match(rf"# (python|torchrun --nproc-per-node \d+) -m relic_rl\.{kind} ", first)
    arguments = first.split(f"relic_rl.{kind} ", 1)[1].split()
    assert f"--config {path.stem}" in first
    config = parse_config(OPTIONS[kind], arguments, kind=kind)
    if kind == "train":
        assert config.agent == path.stem.split("-")[0]
    elif kind == "compare":
        plan = make_plan(config)
        assert len(plan.runs) == len({run.folder for run in plan.runs}) >= 12
    else:
        build_views(config)


def test_the_default_preset_fits_agent_and_machine() -> None:
    for agent in ("ppo", "r2d2"):
        config = parse_config(TrainConfig, ["--agent", agent, "--device", "cpu"], kind="train")
        assert base_options(config) == f"{agent}-small"


def test_r2d2_paper_holds_the_paper_s_values() -> None:
    config = parse_config(TrainConfig, ["--config", "r2d2-paper"], kind="train")
    assert (config.num_envs, config.batch_size, config.burn_in) == (256, 64, 40)
    assert (config.sequence_length, config.sequence_overlap, config.n_step) == (80, 40, 5)
    assert (config.discount, config.learning_rate, config.adam_epsilon) == (0.997, 1e-4, 1e-3)
    assert (config.target_period, config.max_grad_norm) == (2500, 40.0)
    assert (config.priority_exponent, config.importance_exponent, config.priority_eta) == (0.9, 0.6, 0.9)


def test_every_kind_of_data_has_its_preset() -> None:
    def preset(*arguments: str) -> str | None:
        return pretrain.base_options(parse_config(PretrainConfig, list(arguments), kind="pretrain"))

    assert preset() == "content-style"
    assert preset("--data", "atari") == "atari-frames"
    assert preset("--data", "/images") == "imagenet-nature"
    assert preset("--data", "/images", "--encoder", "impala") == "imagenet-impala"
    assert preset("--data", "/images", "--encoder", "resnet50") == "imagenet-resnet50-100ep"
    assert preset("--data", "/images", "--encoder", "resnet18") is None


def test_imagenet_resnet50_holds_the_family_s_values() -> None:
    config = parse_config(PretrainConfig, ["--data", "/images", "--config", "imagenet-resnet50"], kind="pretrain")
    assert (config.encoder, config.image_size, config.batch_size, config.epochs) == ("resnet50", 224, 4096, 1000)
    assert (config.optimiser, config.learning_rate, config.learning_rate_scaling) == ("lars", 0.3, "linear")
    assert (config.weight_decay, config.warmup_epochs, config.target_decay) == (1.5e-6, 10, 0.996)
    assert (config.hidden_dim, config.projection_dim, config.batch_norm) == (4096, 256, True)
