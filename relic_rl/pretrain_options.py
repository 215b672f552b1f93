"""Every option of ``python -m relic_rl.pretrain``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relic_rl.data_options import ATARI, DataOptions
from relic_rl.runtime.config import option

OBJECTIVES = Literal["relic", "infonce", "simclr", "byol", "curl", "amdim"]
TEMPERED = {"objective": ("relic", "infonce", "simclr")}
RELIC_ONLY = {"objective": ("relic",)}
CONTRASTED = {"objective": ("relic", "infonce")}
AVERAGED = {"objective": ("relic", "infonce", "byol", "curl"), "target": ("ema",)}


@dataclass(frozen=True)
class PretrainConfig(DataOptions):
    """Pretrain an encoder on images with RELIC or another objective; an agent can start from the result.

    The defaults below hold where neither preset nor command line says otherwise. Several processes (GPUs,
    machines) are started by torchrun: torchrun --nproc-per-node 8 -m relic_rl.pretrain ...
    """

    objective: OBJECTIVES = option("relic", "what is minimised")
    encoder: Literal["nature", "impala", "resnet18", "resnet50"] = option("nature", "convolutional encoder")
    encoder_weights: str | None = option(
        None, "weights the encoder starts from: .safetensors, .pth or .ckpt; FILE or FILE#PREFIX"
    )
    seed: int = option(0, "seed of every stream of random numbers", min=0)

    # ---- what is seen of the data
    image_size: int = option(84, "height and width that the encoder sees, pixels", min=8)
    color: Literal["auto", "rgb", "grey"] = option("auto", "what the encoder sees; auto: what the data have")
    stack: int = option(1, "times that the channels are repeated, for an agent that stacks frames", min=1)
    workers: int = option(4, "processes that decode image files, of each training process; 0 = none", min=0)

    # ---- views
    view1: tuple[str, ...] = option(
        (),
        "first view: NAME=VALUE ... (a block in YAML; replaces a preset's): crop_area, crop_ratio, flip, jitter, "
        "brightness, contrast, saturation, hue, grey, blur, blur_sigma, solarise, solarise_threshold, shift, intensity",
    )
    view2: tuple[str, ...] = option((), "second view, likewise")
    small_views: tuple[str, ...] = option(
        (), "small crops, likewise, and count (0: none) and size (pixels; 0: image_size)", when=CONTRASTED
    )

    # ---- budget and machine
    epochs: int = option(100, "passes over the training images", min=1)
    batch_size: int = option(256, "images per update over all processes", min=2)
    accumulate: int = option(
        1, "parts that an update is computed in, one after the other; each is its own contrast set", min=1
    )
    device: str = option("auto", "auto, cpu, cuda or cuda:INDEX")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "auto: bf16 where a micro-benchmark shows that it pays; fp16: on a GPU, with a scaled loss"
    )
    channels_last: bool = option(True, "keep kernels in the memory layout that low precision is fastest in")
    threads: int = option(0, "CPU threads of torch, of each process; 0 = all cores", min=0)

    # ---- run directory
    run_dir: str | None = option(
        None, "where everything is written; default runs/DATA-ENCODER-OBJECTIVE-SEED-NUMBER", saved=False
    )
    resume: str | None = option(
        None,
        "auto (newest sound checkpoint in --run-dir, else start anew), RUN_DIR or CHECKPOINT",
        saved=False,
    )
    log_every: float = option(10.0, "seconds between lines of progress and rows of progress.csv", min=0.1)
    checkpoint_every: float = option(300.0, "seconds between checkpoints", min=1.0)
    keep_checkpoints: int = option(3, "how many of the newest checkpoints stay", min=1)

    # ---- optimisation
    optimiser: Literal["adamw", "lars"] = option("adamw", "adamw, or lars for large batches")
    learning_rate: float = option(1e-3, "the highest; see --learning-rate-scaling", above=0)
    learning_rate_scaling: Literal["none", "linear"] = option(
        "none", "linear: --learning-rate is for 256 images and grows with --batch-size"
    )
    weight_decay: float = option(1e-4, "of kernels; biases and normalisation are left out", min=0)
    momentum: float = option(0.9, "of lars", min=0, max=0.999, when={"optimiser": ("lars",)})
    warmup_epochs: float = option(5.0, "epochs until the learning rate is at its highest", min=0)
    max_grad_norm: float | None = option(None, "limit of the global gradient norm", above=0)

    # ---- objective
    critic_layers: Literal[1, 2] = option(2, "layers of the critic g")
    hidden_dim: int = option(512, "hidden units of a critic of two layers", min=1, when={"critic_layers": (2,)})
    projection_dim: int = option(128, "output dimension of the critic", min=1)
    batch_norm: bool = option(
        False, "batch-normalise the critic's hidden units, over all processes", when={"critic_layers": (2,)}
    )
    temperature: float = option(0.1, "tau", above=0, when=TEMPERED)
    learnable_temperature: bool = option(False, "learn log(tau), starting from --temperature", when=TEMPERED)
    alpha: float = option(1.0, "weight of RELIC's invariance penalty; 0 is InfoNCE", min=0, when=RELIC_ONLY)
    divergence: str = option(
        "kl",
        "the penalty's divergence: kl, reverse_kl, symmetric_kl, js, total_variation, hellinger, chi2, renyi(ORDER)",
        when=RELIC_ONLY,
    )
    block_size: int | None = option(
        None, "anchor rows at a time in the loss, for batches whose logits do not fit in memory", min=1, when=CONTRASTED
    )
    target: Literal["ema", "online"] = option(
        "ema", "h: moving averages of encoder and critic, or the online networks themselves", when=CONTRASTED
    )
    target_decay: float = option(0.99, "fraction of the old target kept at each update", min=0, max=1, when=AVERAGED)
    target_schedule: Literal["cosine", "constant"] = option(
        "cosine", "cosine: the decay goes to 1 along half a cosine", when=AVERAGED
    )

    # ---- online judgement
    probe: bool = option(True, "train a linear probe beside the encoder, without gradient to it")
    knn_every: int = option(10, "epochs between nearest-neighbour tests, and one at the end; 0 = none", min=0)
    knn_images: int = option(2_000, "training images that vote, and test images, at most", min=2)

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        yield from super().problems()
        if self.batch_size % self.accumulate or self.batch_size // self.accumulate < 2:
            yield (
                f"--batch-size {self.batch_size} does not split into --accumulate {self.accumulate} parts of "
                "at least 2 images: change one"
            )
        if self.warmup_epochs >= self.epochs:
            yield f"--warmup-epochs {self.warmup_epochs:g} leaves nothing of --epochs {self.epochs}: lower it"
        if self.data == ATARI and self.color == "rgb":
            yield "--color rgb: frames of Atari games are grey; leave it out"
        if self.data == ATARI and self.stack != 1:
            yield "--stack: frames of Atari games are stacks of four already; leave it out"
