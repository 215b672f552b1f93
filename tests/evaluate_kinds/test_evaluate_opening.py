"""Features that were kept are used for the same only: whatever they depend on is part of their name."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from relic_rl.evaluate_kinds.data import Splits
from relic_rl.evaluate_kinds.encoders import LoadedEncoder
from relic_rl.evaluate_kinds.knn_options import Options
from relic_rl.evaluate_kinds.linear import choice
from relic_rl.evaluate_kinds.opening import Evaluation
from relic_rl.images.labelled import LabelledImages
from relic_rl.images.splits import MemorySplit
from relic_rl.representation.views import ViewMaker
from relic_rl.runtime.seeding import Streams


class Seen(nn.Module):
    """Features that say what was seen: channels, height, mean, and the precision of a product."""

    feature_dim = 4

    def forward(self, images: Tensor) -> Tensor:
        about = torch.tensor([float(images.shape[1]), float(images.shape[2])]).expand(len(images), 2)
        third = torch.full((len(images), 1), 1 / 3) @ torch.ones(1, 1)
        return torch.cat([about, images.float().mean(dim=(1, 2, 3))[:, None], third.float()], dim=1)


def evaluation(pixels: np.ndarray, content: str = "weights") -> Evaluation:
    labels = {"a": np.zeros(len(pixels), dtype=np.int64)}
    split = MemorySplit(LabelledImages(pixels, labels, "a", {"a": 1}))
    return Evaluation(
        kind="knn",
        options=Options(encoder="x"),
        name="x",
        device=torch.device("cpu"),
        dtype=None,
        encoder=LoadedEncoder(Seen(), "nature", 12, ViewMaker((), ()), "x", content, {}, ()),
        splits=Splits("content-style", {"test": split}, {"a": 1}, "a"),
        folder=None,
        streams=Streams(0),
    )


PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3, 12, 12), dtype=np.uint8)
CHANGES = {
    "images": lambda one: evaluation(PIXELS[::-1].copy()),
    "image size": lambda one: dataclasses.replace(one, encoder=dataclasses.replace(one.encoder, image_size=16)),
    "grey": lambda one: viewed(one, grey=True),
    "stack": lambda one: viewed(one, stack=2),
    "precision": lambda one: dataclasses.replace(
        one, dtype=torch.bfloat16, options=dataclasses.replace(one.options, precision="bf16")
    ),
}


def viewed(one: Evaluation, **how) -> Evaluation:
    views = dataclasses.replace(one.encoder.views, **how)
    return dataclasses.replace(one, encoder=dataclasses.replace(one.encoder, views=views))


@pytest.mark.parametrize("change", CHANGES)
def test_features_of_something_else_are_not_taken(own_cache, change):
    one = evaluation(PIXELS)
    first = one.features("test").features.clone()
    assert torch.equal(one.features("test").features, first)
    other = CHANGES[change](one)
    found = other.features("test").features.clone()
    assert not torch.equal(found, first)
    fresh = dataclasses.replace(other, options=dataclasses.replace(other.options, cache_features=False))
    assert torch.equal(fresh.features("test").features, found)
    assert len(list((own_cache / "features").iterdir())) == 2


def test_features_of_other_weights_are_not_taken(own_cache):
    for content in ("weights", "others", "weights"):
        evaluation(PIXELS, content).features("test")
    assert len(list((own_cache / "features").iterdir())) == 2


def test_an_edge_of_the_sweep_is_told_and_recorded(capsys):
    one = evaluation(PIXELS)
    inside = {0.1: 0.2, 1.0: 0.5, 10.0: 0.3}
    expected = {"learning_rate": 1.0, "held_out_top1": inside, "learning_rate_at_the_edge": False}
    assert choice(one, "class", 1.0, inside) == expected
    assert capsys.readouterr().out == ""
    assert choice(one, "class", 1.0, {0.1: 0.2, 1.0: 0.5})["learning_rate_at_the_edge"] is True
    told = capsys.readouterr().out
    assert told == "class: 1 is at the edge of --learning-rates: a wider sweep may do better\n"
