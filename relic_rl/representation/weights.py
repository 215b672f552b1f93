"""Weights of encoders and critics: written as safetensors files, read from those and from other projects' files.

A file of ours carries the tensors and one JSON string that says what made them; nothing in it depends on time or
place, so equal weights and metadata give equal bytes. Loading is strict: every tensor of the module must be in the
file, in its shape, and what else the file holds is told.
"""

import inspect
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from safetensors.torch import save
from torch import Tensor, nn

from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import ENCODERS, Encoder, ResNet18Encoder, ResNet50Encoder, build_encoder
from relic_rl.representation.weight_files import METADATA_KEY, WeightsFile, read_weights
from relic_rl.representation.weight_names import NameMatch, describe, match_names

_MOST_CHANNELS = 1024  # of an image
_MOST_WIDTH = 16  # that multiplies channels
_MOST_UNITS = 1 << 16  # of a critic's layer


class LoadReport(NamedTuple):
    """What loading did.

    Attributes:
        path: the file.
        matched: names of the module's tensors that were loaded, all of them.
        mapping: which of the file's names became which of the module's, in words.
        adapted: what was adapted to fit or left out, in words; empty if nothing.
        metadata: what made the weights, as given when they were saved.
    """

    path: Path
    matched: tuple[str, ...]
    mapping: str
    adapted: str
    metadata: dict[str, Any]

    def __str__(self) -> str:
        adapted = f"; {self.adapted}" if self.adapted else ""
        return f"{self.path}: all {len(self.matched)} tensors loaded ({self.mapping}){adapted}"


class EncoderFile(NamedTuple):
    """Which encoder a file holds.

    Attributes:
        name: a key of ENCODERS.
        in_channels: channels of its images.
        width: that multiplies its number of channels.
        image_size: (height, width) of its images; None where the file does not say.
        feature_dim: number of features; None where the file does not say, or it follows from the width.
        metadata: what made the weights; empty in other projects' files.
    """

    name: str
    in_channels: int
    width: int
    image_size: tuple[int, int] | None
    feature_dim: int | None
    metadata: dict[str, Any]


def save_encoder(path: str | Path, encoder: Encoder, metadata: Mapping[str, Any]) -> None:
    """Write an encoder's weights; the file appears whole or not at all.

    Args:
        path: of the file; its folder must exist.
        encoder: the encoder.
        metadata: what made the weights, plain values for JSON; no time, path or run name belongs in it.

    Raises:
        OSError: the file cannot be written.
    """
    _save(path, encoder, metadata)


def save_critic(path: str | Path, critic: Critic, metadata: Mapping[str, Any]) -> None:
    """Write a critic's weights, as `save_encoder`."""
    _save(path, critic, metadata)


def load_encoder_weights(source: str | Path, encoder: Encoder) -> LoadReport:
    """Copy weights from a file into an encoder of the same architecture.

    The file is one of `save_encoder`, or another project's: safetensors, or what ``torch.save`` wrote of a state dict
    or a checkpoint around one. The encoder's tensors may stand behind a prefix; where several copies of it do, the
    one that is no moving average is taken, and ``FILE#PREFIX`` takes another. Heads, optimisers and whatever else
    stands beside the encoder are left out and told. Nothing in the file is run.

    Where only the number of image channels differs, the first convolution is adapted: its weights, averaged
    over the file's channels, serve every channel, times (file's channels) / (encoder's channels). The
    response to images whose channels are all alike stays the same: a grey image as one channel, as four
    stacked frames or as RGB.

    Args:
        source: the file, or ``FILE#PREFIX``.
        encoder: changed in place, only if everything matches.

    Returns:
        What was loaded; print it.

    Raises:
        ValueError: the file is missing, damaged or holds more than data, or a tensor is missing, left over, of
        another shape or not finite.
    """
    path, prefix = split_source(source)
    file = read_weights(path)
    expected = encoder.state_dict()
    match = _find(path, file, encoder, prefix)
    missing = match.missing(expected)
    counters = [name for name in missing if name.endswith("num_batches_tracked")]
    if match.left_over or len(counters) < len(missing):
        _refuse_names(path, encoder, [n for n in missing if n not in counters], match.left_over, file.metadata)
    tensors = {ours: file.tensors[theirs] for ours, theirs in match.names.items()}
    tensors |= {name: torch.zeros_like(expected[name]) for name in counters}
    changes = [f"left out: {_some(match.left_out, 10)}"] if match.left_out else []
    if match.others:
        copies = [copy.rstrip(".") for copy in match.others]
        changes.append(f"further copies, to be had as FILE#PREFIX: {_some(copies)}")
    if counters:
        changes.append(f"{len(counters)} counters of batch normalisation, which the file lacks, start at 0")
    name = encoder.input_weight
    old, new = tensors[name], expected[name]
    if _differ_in_channels(old, new):
        mean = old.mean(dim=1, keepdim=True).expand(-1, new.shape[1], -1, -1)
        tensors[name] = mean * (old.shape[1] / new.shape[1])
        changes.append(f"{name} adapted from {old.shape[1]} to {new.shape[1]} image channels (mean, rescaled)")
    _copy(path, encoder, tensors, file.metadata)
    return LoadReport(path, tuple(expected), describe(match), "; ".join(changes), file.metadata)


def load_critic_weights(path: str | Path, critic: Critic) -> LoadReport:
    """Copy weights from a file of `save_critic` into a critic of the same dimensions, strictly.

    Raises:
        ValueError: as `load_encoder_weights`.
    """
    path = Path(path)
    file = read_weights(path)
    expected = critic.state_dict()
    missing = [name for name in expected if name not in file.tensors]
    extra = [name for name in file.tensors if name not in expected]
    if missing or extra:
        _refuse_names(path, critic, missing, extra, file.metadata)
    _copy(path, critic, file.tensors, file.metadata)
    return LoadReport(path, tuple(expected), ", ".join(expected), "", file.metadata)


def read_critic(path: str | Path) -> tuple[Critic, LoadReport]:
    """The critic that a file of `save_critic` holds, built as its tensors say.

    Raises:
        ValueError: as `load_encoder_weights`.
    """
    tensors = read_weights(Path(path)).tensors
    first, second, normalised = (tensors.get(f"layers.{i}.weight") for i in (0, 2, 3))
    last = second if normalised is None else normalised
    sizes = [side for weight in (first, last) if weight is not None for side in weight.shape]
    if first is None or first.ndim != 2 or (last is not None and last.ndim != 2) or not _plausible(sizes):
        raise ValueError(f"{path} holds no critic: give a critic.safetensors of pretrain or train")
    hidden, in_dim = first.shape
    if last is None:
        critic = Critic(in_dim, 1, hidden, layers=1)
    else:
        critic = Critic(in_dim, hidden, last.shape[0], batch_norm=normalised is not None)
    return critic, load_critic_weights(path, critic)


def inspect_encoder_file(source: str | Path) -> EncoderFile:
    """Which encoder a file holds: as it says itself, or found by its names and shapes.

    Args:
        source: as `load_encoder_weights` takes it.

    Raises:
        ValueError: the file cannot be read, or holds none of the encoders that this project has.
    """
    path, prefix = split_source(source)
    file = read_weights(path)
    made_by = file.metadata
    stated = _stated_encoder(made_by)
    if stated is not None:
        _check_stated(path, stated, file.tensors)
        return stated
    for name, kind in (("resnet18", ResNet18Encoder), ("resnet50", ResNet50Encoder)):
        with torch.device("meta"):
            encoder = kind()
        match = _find(path, file, encoder, prefix)
        first = file.tensors.get(match.names.get(encoder.input_weight, ""))
        if first is None or first.ndim != 4 or match.left_over:
            continue
        width, channels = first.shape[0] // 64, first.shape[1]
        if not (1 <= width <= _MOST_WIDTH and 1 <= channels <= _MOST_CHANNELS):
            continue
        with torch.device("meta"):
            expected = kind(in_channels=channels, width=width).state_dict()
        fits = all(file.tensors[theirs].shape == expected[ours].shape for ours, theirs in match.names.items())
        if fits and all(n.endswith("num_batches_tracked") for n in match.missing(expected)):
            return EncoderFile(name, channels, width, None, None, made_by)
    raise ValueError(
        f"{path} holds no encoder that is known here (it has {_some(list(file.tensors))}): give an encoder.safetensors "
        "of this project, or a ResNet-18 or ResNet-50 with a 7x7 first convolution"
    )


def split_source(source: str | Path) -> tuple[Path, str | None]:
    """File and prefix of ``FILE#PREFIX``; a file whose own name has such a sign in it is taken as it is."""
    name, sign, prefix = str(source).rpartition("#")
    if sign and not Path(source).exists():
        return Path(name), prefix
    return Path(source), None


def _save(path: str | Path, module: nn.Module, metadata: Mapping[str, Any]) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    data = save(tensors, {METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    partial = Path(f"{path}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def _find(path: Path, file: WeightsFile, encoder: Encoder, prefix: str | None) -> NameMatch:
    """The encoder's tensors in a file. Our own files hold nothing else, so nothing may be left out of them."""
    others = () if file.metadata else encoder.other_names
    try:
        return match_names(file.tensors, list(encoder.state_dict()), encoder.input_weight, others, prefix)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _stated_encoder(made_by: dict[str, Any]) -> EncoderFile | None:
    """What a file of ours says it holds; None where it does not say, or not in our terms."""
    match made_by:
        case {
            "encoder": str(name),
            "in_channels": int(channels),
            "image_size": [int(height), int(width)],
            "feature_dim": int(features),
        } if name in ENCODERS:
            size = features if "feature_dim" in inspect.signature(ENCODERS[name]).parameters else None
            return EncoderFile(name, channels, 1, (height, width), size, made_by)
    return None


def _check_stated(path: Path, stated: EncoderFile, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a file whose tensors are not what it says, before anything of the sizes that it states is made."""
    assert stated.image_size is not None
    with torch.device("meta"):  # shapes without memory
        expected = build_encoder(
            stated.name,
            in_channels=stated.in_channels,
            image_size=stated.image_size,
            feature_dim=stated.feature_dim,
        ).state_dict()
    if any(name not in tensors or tensors[name].shape != value.shape for name, value in expected.items()):
        raise ValueError(
            f"{path} says that it holds {stated.name} with in_channels {stated.in_channels}, image_size "
            f"{list(stated.image_size)}, feature_dim {stated.feature_dim}, which does not fit its tensors: save again"
        )


def _refuse_names(
    path: Path, module: nn.Module, missing: list[str], extra: list[str], metadata: dict[str, Any]
) -> NoReturn:
    raise ValueError(
        f"{path} does not fit {type(module).__name__}: {_some(missing)} missing, {_some(extra)} left over: "
        f"build the same architecture{_stated(metadata)}"
    )


def _copy(path: Path, module: nn.Module, tensors: Mapping[str, Tensor], metadata: dict[str, Any]) -> None:
    """Copy tensors of the module's names whose shapes match one by one, or change nothing."""
    for name, value in module.state_dict().items():
        found = tensors[name]
        if found.shape != value.shape:
            raise ValueError(
                f"{path} does not fit {type(module).__name__}: {name} is {list(found.shape)}, not {list(value.shape)}: "
                f"build it with the same sizes (feature_dim, width, image_size){_stated(metadata)}"
            )
        if found.is_floating_point() != value.is_floating_point():
            raise ValueError(f"{path}: {name} has type {found.dtype} where {value.dtype} belongs: save it again")
        if not math.isfinite(found.abs().max().item()):
            raise ValueError(f"{path}: {name} is not finite: these weights diverged, take an earlier file")
    module.load_state_dict(dict(tensors))


def _differ_in_channels(old: Tensor, new: Tensor) -> bool:
    """Whether two convolutions' weights [out, in, kernel, kernel] differ in their input channels, and in nothing else.

    A view of one number can claim any shape in a file: nothing is computed on sizes that no image has.
    """
    if not old.is_floating_point() or old.ndim != 4 or old.shape[0] != new.shape[0] or old.shape[2:] != new.shape[2:]:
        return False
    return old.shape[1] != new.shape[1] and 1 <= old.shape[1] <= _MOST_CHANNELS


def _plausible(sizes: list[int]) -> bool:
    """Whether layers of these sizes may be built: a view of one number can claim any in a file."""
    return all(1 <= size <= _MOST_UNITS for size in sizes)


def _stated(metadata: dict[str, Any]) -> str:
    """What the file says it holds, in brackets; nothing where it says nothing."""
    if not isinstance(metadata.get("encoder"), str):
        return ""
    size = metadata.get("image_size")
    sides = f" for images of {size[0]}x{size[1]}" if isinstance(size, list) and len(size) == 2 else ""
    return f" (the file holds {metadata['encoder']}{sides})"


def _some(names: list[str], most: int = 3) -> str:
    """Up to so many names, then a count."""
    if not names:
        return "none"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
