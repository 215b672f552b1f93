"""Encoders to evaluate: from a file or untrained, on their device, frozen, with what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from relic_rl.evaluate_kinds.shared_options import UNTRAINED, EncoderOptions
from relic_rl.representation.encoders import Encoder, ResNetEncoder, build_encoder
from relic_rl.representation.views import ViewMaker
from relic_rl.representation.weights import inspect_encoder_file, load_encoder_weights
from relic_rl.runtime.seeding import Streams
from relic_rl.runtime.tensor_hash import hash_tensors

_PHOTOGRAPH = 224  # pixels that other projects' encoders see
_MOST = {"in_channels": 1_024, "image_size": 4_096, "feature_dim": 1 << 16}


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder and what is known of it.

    Attributes:
        module: on its device, in evaluation mode, without gradients.
        architecture: a key of ENCODERS.
        image_size: height and width that it is shown, pixels.
        views: makes a batch of uint8 images [B, C, H, W] what it takes: ``views.plain(images, image_size)``.
        objective: what its file says that it was trained by; "untrained" for fresh weights, "unknown" if the file
            says nothing.
        content_hash: SHA-256 over its tensors, as text: equal exactly where the weights are.
        made_by: its file's metadata.
        notes: for the user: what was loaded.
    """

    module: Encoder
    architecture: str
    image_size: int
    views: ViewMaker
    objective: str
    content_hash: str
    made_by: dict[str, Any]
    notes: tuple[str, ...]

    def about(self) -> dict[str, Any]:
        """For ``result.json``."""
        return {
            "architecture": self.architecture,
            "in_channels": self.module.in_channels,
            "feature_dim": self.module.feature_dim,
            "image_size": self.image_size,
            "grey": self.views.grey,
            "stack": self.views.stack,
            "normalisation": "imagenet" if isinstance(self.module, ResNetEncoder) else "pixels / 255",
            "objective": self.objective,
            "content_hash": self.content_hash,
            "made_by": self.made_by,
        }


def load_encoder(options: EncoderOptions, data_channels: int, device: torch.device) -> LoadedEncoder:
    """The encoder that options ask for.

    Args:
        options: ``encoder``, ``architecture``, ``image_size`` and ``seed`` are used.
        data_channels: channels of the images that it will see.
        device: where it goes.

    Raises:
        ValueError: no such file, a file that holds no encoder, or one that cannot see such images.
    """
    assert options.encoder is not None
    if options.encoder == UNTRAINED:
        return _untrained(options, data_channels, device)
    source = options.encoder
    file = inspect_encoder_file(source)
    resnet = file.name.startswith("resnet")
    if options.architecture not in (None, file.name):
        raise ValueError(f"--architecture {options.architecture}: {source} holds {file.name}; leave it out")
    height, width = file.image_size or (_PHOTOGRAPH, _PHOTOGRAPH)
    if height != width:
        raise ValueError(f"{source} sees images of {height}x{width} pixels: only square ones can be evaluated")
    size = options.image_size or height
    if size != height and not resnet:
        raise ValueError(f"--image-size {size}: {source} holds {file.name} for {height} pixels only; leave it out")
    for name, value in (("in_channels", file.in_channels), ("image_size", size), ("feature_dim", file.feature_dim)):
        if value is not None and not 1 <= value <= _MOST[name]:
            raise ValueError(f"{source}: its {name} is said to be {value}: save the weights again")
    module = build_encoder(
        file.name,
        in_channels=file.in_channels,
        image_size=(size, size),
        feature_dim=file.feature_dim,
        width=file.width,
    )
    report = load_encoder_weights(source, module)
    grey, stack = preparation(file.in_channels, data_channels, file.metadata)
    return _frozen(
        module,
        device,
        architecture=file.name,
        image_size=size,
        views=ViewMaker((), (), grey=grey, stack=stack),
        objective=str(file.metadata.get("objective", "unknown")),
        made_by=file.metadata,
        notes=(str(report),),
    )


def preparation(in_channels: int, data_channels: int, made_by: dict[str, Any]) -> tuple[bool, int]:
    """Whether images become grey, and how often the channels are then repeated, for an encoder to see them.

    As in pretraining: a picture is for an agent's encoder a game in which nothing moves, one grey frame repeated.

    Args:
        in_channels: of the encoder.
        data_channels: of the images.
        made_by: the file's metadata; ``color`` and ``stack`` are heeded.

    Raises:
        ValueError: the encoder cannot see such images.
    """
    stated_grey = made_by.get("color") == "grey"
    if in_channels == data_channels and not (stated_grey and data_channels == 3):
        return False, 1
    if data_channels == 3:
        stack = made_by.get("stack", in_channels)
        if not stated_grey and isinstance(stack, int) and stack > 1 and in_channels == 3 * stack:
            return False, stack
        return True, in_channels
    raise ValueError(
        f"the encoder takes images of {in_channels} channels and cannot see images of {data_channels}: "
        "evaluate it on the kind of images that it was trained on"
    )


def _untrained(options: EncoderOptions, data_channels: int, device: torch.device) -> LoadedEncoder:
    """Fresh weights, those that pretraining with the same seed begins from."""
    assert options.architecture is not None
    resnet = options.architecture.startswith("resnet")
    size = options.image_size or (_PHOTOGRAPH if resnet else 84)
    torch.manual_seed(Streams(options.seed).integer("init"))
    module = build_encoder(options.architecture, in_channels=data_channels, image_size=(size, size))
    made_by = {"encoder": options.architecture, "objective": UNTRAINED, "seed": options.seed}
    return _frozen(
        module,
        device,
        architecture=options.architecture,
        image_size=size,
        views=ViewMaker((), ()),
        objective=UNTRAINED,
        made_by=made_by,
        notes=(f"{options.architecture} with fresh weights of seed {options.seed}",),
    )


def _frozen(module: Encoder, device: torch.device, **known: Any) -> LoadedEncoder:
    module = module.to(device).eval().requires_grad_(False)
    return LoadedEncoder(module=module, content_hash=hash_tensors(module.state_dict(), known["architecture"]), **known)
