"""Builds what ``relic_rl.pretrain`` runs: views, data, networks and records, each from plain arguments."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from relic_rl.data_options import ATARI, GENERATED
from relic_rl.evaluation.online_probe import OnlineProbe
from relic_rl.images.batches import BatchPlan, ImageSource
from relic_rl.images.content_style import content_style_images
from relic_rl.images.folder import FolderSource
from relic_rl.images.memory import MemorySource
from relic_rl.objective_options import objective_from_options, used_options
from relic_rl.pretrain_learner import PretrainLearner
from relic_rl.pretrain_options import PretrainConfig
from relic_rl.representation.batch_norm import synchronise_batch_norm
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import Encoder, ResNetEncoder, build_encoder
from relic_rl.representation.objectives import Objective
from relic_rl.representation.view_recipes import (
    FIRST_VIEW,
    SECOND_VIEW,
    SMALL_VIEW,
    ViewRecipe,
    parse_recipe,
)
from relic_rl.representation.views import ViewMaker
from relic_rl.representation.weights import load_encoder_weights
from relic_rl.runtime.distributed import Processes, locally_first, odd_ranks
from relic_rl.runtime.errors import RunFailed
from relic_rl.runtime.optimisers import build_optimiser
from relic_rl.runtime.schedules import scaled_learning_rate
from relic_rl.runtime.seeding import Streams

LARGE_VIEWS = 2
FRAME_STACK = 4  # of every Atari protocol


class Networks(NamedTuple):
    """What is learned."""

    encoder: Encoder
    objective: Objective
    notes: list[str]  # for the user: what was loaded

    @property
    def critic(self) -> Critic:
        """The objective's critic on the encoder's features."""
        critic = self.objective.get_submodule("critic")
        assert isinstance(critic, Critic)
        return critic


def build_views(config: PretrainConfig) -> ViewMaker:
    """The recipes of all views, the two large ones first.

    Raises:
        ValueError: a recipe that makes no sense.
    """
    large = (parse_recipe("view1", config.view1, FIRST_VIEW), parse_recipe("view2", config.view2, SECOND_VIEW))
    for name, recipe in zip(("view1", "view2"), large, strict=True):
        if recipe.count != 1 or recipe.size not in (0, config.image_size):
            raise ValueError(f"{name}: count and size are for small_views; --image-size is the size of a large view")
    small = parse_recipe("small_views", config.small_views, SMALL_VIEW)
    recipes: list[ViewRecipe] = [*large, *[small] * small.count]
    sizes = [recipe.size or config.image_size for recipe in recipes]
    sizes[:LARGE_VIEWS] = [config.image_size] * LARGE_VIEWS
    fixed = config.encoder in ("nature", "impala")
    if fixed and set(sizes) != {config.image_size}:
        raise ValueError(f"small_views: encoder {config.encoder} takes images of one size only: set size to 0")
    return ViewMaker(tuple(recipes), tuple(sizes), grey=config.color == "grey", stack=config.stack)


def build_source(
    config: PretrainConfig,
    views: ViewMaker,
    streams: Streams,
    device: torch.device,
    processes: Processes,
    note: Callable[[str], None],
) -> ImageSource:
    """The images.

    Raises:
        ValueError: no such data, or data that the options do not fit.
    """
    pin = device.type == "cuda"
    if config.data in (ATARI, GENERATED):  # before images are made, which takes time
        check_fit(config, views, FRAME_STACK if config.data == ATARI else 3, config.num_images)
    source: ImageSource
    if config.data == GENERATED:
        size, seed = config.image_size, config.data_seed
        train = content_style_images(config.num_images, "train", seed=seed, size=size)
        test = content_style_images(config.num_test_images, "test", seed=seed, size=size)
        source = MemorySource(train, test, pin_memory=pin)
    elif config.data == ATARI:
        from relic_rl.pretrain_frames import atari_splits  # noqa: PLC0415 (engines and agents, only if needed)

        splits = locally_first(lambda: atari_splits(config, device, note), processes)
        source = MemorySource(*splits, pin_memory=pin)
    else:
        if any(recipe.shift for recipe in views.recipes):
            raise ValueError("shift is for frames of games: image files are cropped, leave it out")
        source = FolderSource(
            Path(config.data),
            views.recipes,
            views.sizes,
            eval_size=config.image_size,
            key=streams.integer("views"),
            workers=config.workers,
            pin_memory=pin,
        )
    check_fit(config, views, source.channels, source.num_images)
    return source


def check_fit(config: PretrainConfig, views: ViewMaker, channels: int, num_images: int) -> None:
    """Refuse data that the options do not fit.

    Raises:
        ValueError: steps that need colour on images without, or fewer images than a batch.
    """
    views.channels(channels)
    if channels != 3 and any(recipe.needs_colour for recipe in views.recipes):
        raise ValueError("saturation, hue and grey need colour images: set them to 0 in view1 and view2")
    if num_images < config.batch_size:
        raise ValueError(f"--batch-size {config.batch_size} is more than the {num_images} training images: lower it")


def build_networks(config: PretrainConfig, in_channels: int, streams: Streams, device: torch.device) -> Networks:
    """Encoder and objective, their weights drawn from the "init" stream, the encoder's loaded if asked.

    Raises:
        ValueError: options that do not fit together, or weights that do not fit.
    """
    torch.manual_seed(streams.integer("init"))  # layers draw from torch's global generator
    size = (config.image_size, config.image_size)
    encoder = build_encoder(config.encoder, in_channels=in_channels, image_size=size)
    notes = []
    if config.encoder_weights is not None:
        notes.append(str(load_encoder_weights(config.encoder_weights, encoder)))
    notes += encoder.lost_by_centring()
    encoder = encoder.to(device)
    if config.channels_last:
        encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    more = {"target_views": LARGE_VIEWS} if config.objective in ("relic", "infonce") else {}
    objective = objective_from_options(config, encoder, batch_norm=config.batch_norm, **more)
    assert objective is not None
    return Networks(encoder, objective, notes)


def build_plan(config: PretrainConfig, source: ImageSource, streams: Streams, processes: Processes) -> BatchPlan:
    """Which image comes when, over the whole run."""
    plan = BatchPlan(
        source.num_images,
        config.batch_size // config.accumulate,
        streams.integer("order"),
        start=0,
        stop=0,
        rank=processes.rank,
        world_size=processes.world_size,
        parts=config.accumulate,
    )
    return dataclasses.replace(plan, stop=config.epochs * plan.per_epoch)


def build_learner(
    config: PretrainConfig,
    networks: Networks,
    views: ViewMaker,
    source: ImageSource,
    plan: BatchPlan,
    streams: Streams,
    device: torch.device,
    dtype: torch.dtype | None,
) -> PretrainLearner:
    """What learns, and the schedules that it follows.

    From here on a pass of the networks in training mode is an operation of all processes together.

    Raises:
        RunFailed: the processes do not start from the same weights.
    """
    synchronise_batch_norm(networks.encoder)
    synchronise_batch_norm(networks.objective)
    peak = config.learning_rate
    if config.learning_rate_scaling == "linear":
        peak = scaled_learning_rate(config.learning_rate, config.batch_size)
    per_epoch = plan.per_epoch // config.accumulate
    optimiser = build_optimiser(
        config.optimiser,
        [networks.encoder, networks.objective],
        learning_rate=peak,
        weight_decay=config.weight_decay,
        momentum=config.momentum,
    )
    learner = PretrainLearner(
        networks.encoder,
        networks.objective,
        optimiser,
        views,
        OnlineProbe(networks.encoder.feature_dim, source.num_classes, device) if config.probe else None,
        draws_key=streams.integer("views"),
        peak_learning_rate=peak,
        warmup=round(config.warmup_epochs * per_epoch),
        total=config.epochs * per_epoch,
        parts=config.accumulate,
        batch_size=plan.batch_size,
        rows=plan.rows,
        target_decay=config.target_decay if config.target_schedule == "cosine" else None,
        max_grad_norm=config.max_grad_norm,
        device=device,
        dtype=dtype,
    )
    if odd_ranks([networks.encoder, networks.objective]):
        raise RunFailed("the processes start from different weights: do all run the same version?")
    return learner


def encoder_metadata(config: PretrainConfig, encoder: Encoder, source: ImageSource, updates: int) -> dict[str, Any]:
    """What made the weights, as their file tells it: no time, no path, no run name."""
    options = used_options(config)
    return {
        "encoder": config.encoder,
        "in_channels": encoder.in_channels,
        "image_size": list(encoder.image_size),
        "feature_dim": encoder.feature_dim,
        "normalisation": "imagenet" if isinstance(encoder, ResNetEncoder) else "pixels / 255",
        "color": "grey" if config.color == "grey" else "as the data",
        "stack": config.stack,
        "data": config.data if config.data in (ATARI, GENERATED) else "class folders",
        "data_fingerprint": source.fingerprint,
        "objective": config.objective,
        "objective_options": options,
        "views": [dataclasses.asdict(recipe) for recipe in build_views(config).recipes],
        "batch_size": config.batch_size,
        "epochs": config.epochs,
        "seed": config.seed,
        "updates": updates,
    }


def chance(config: PretrainConfig) -> tuple[str, float | None]:
    """The name of the contrastive loss, and its value where features tell nothing; None without one."""
    rows = config.batch_size // config.accumulate
    if config.objective in ("relic", "infonce", "curl"):
        return "loss/contrastive", math.log(rows)
    if config.objective == "simclr":
        return "loss/contrastive", math.log(2 * rows - 1)
    return "loss/total", None
