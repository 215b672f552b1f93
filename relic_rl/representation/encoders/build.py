"""Encoders by name."""

import difflib

from relic_rl.representation.encoders.base import Encoder
from relic_rl.representation.encoders.impala import ImpalaEncoder
from relic_rl.representation.encoders.nature import NatureEncoder
from relic_rl.representation.encoders.resnet import ResNet18Encoder, ResNet50Encoder

_RESNETS: dict[str, type[ResNet18Encoder] | type[ResNet50Encoder]] = {
    "resnet18": ResNet18Encoder,
    "resnet50": ResNet50Encoder,
}
_HEADED: dict[str, type[NatureEncoder] | type[ImpalaEncoder]] = {"nature": NatureEncoder, "impala": ImpalaEncoder}
ENCODERS: dict[str, type[Encoder]] = {**_HEADED, **_RESNETS}


def build_encoder(
    name: str,
    *,
    in_channels: int = 4,
    image_size: tuple[int, int] = (84, 84),
    feature_dim: int | None = None,
    width: int = 1,
) -> Encoder:
    """An encoder with fresh weights, drawn from torch's global generator.

    Args:
        name: a key of ENCODERS.
        in_channels: channels of the images.
        image_size: (height, width) of the images.
        feature_dim: number of features; None means the paper's, 512 for nature and 256 for impala. A resnet's
            follows from its width.
        width: multiplies the number of channels.

    Raises:
        ValueError: unknown name, image too small, a count below 1, or a feature_dim for a resnet.
    """
    if name not in ENCODERS:
        nearest = difflib.get_close_matches(name, ENCODERS, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"choose one of {', '.join(ENCODERS)}"
        raise ValueError(f"unknown encoder {name!r}: {hint}")
    counts = {"in_channels": in_channels, "width": width} | (
        {} if feature_dim is None else {"feature_dim": feature_dim}
    )
    for argument, value in counts.items():
        if value < 1:
            raise ValueError(f"encoder {name}: {argument} must be at least 1, got {value}")
    if name in _RESNETS:
        if feature_dim is not None:
            raise ValueError(f"encoder {name} has as many features as channels: leave feature_dim out, or set width")
        return _RESNETS[name](in_channels, image_size, width)
    if feature_dim is None:
        return _HEADED[name](in_channels, image_size, width=width)
    return _HEADED[name](in_channels, image_size, feature_dim, width)
