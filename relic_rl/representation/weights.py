"""Weights of encoders and critics as safetensors files.

A file carries the tensors and one JSON string that says what made them; nothing in it depends on time or
place, so equal weights and metadata give equal bytes. Loading is strict: every tensor of the file and of the
module must match.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import Encoder

_METADATA_KEY = "made_by"  # one entry only: safetensors does not keep the order of several


class LoadReport(NamedTuple):
    """What loading did.

    Attributes:
        path: the file.
        matched: names of the tensors that were loaded.
        adapted: what was adapted to fit, in words; empty if nothing.
        metadata: what made the weights, as given when they were saved.
    """

    path: Path
    matched: tuple[str, ...]
    adapted: str
    metadata: dict[str, Any]

    def __str__(self) -> str:
        adapted = f"; {self.adapted}" if self.adapted else ""
        return f"{self.path}: all {len(self.matched)} tensors loaded ({', '.join(self.matched)}){adapted}"


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


def load_encoder_weights(path: str | Path, encoder: Encoder) -> LoadReport:
    """Copy weights from a file into an encoder of the same architecture.

    Where only the number of image channels differs, the first convolution is adapted: its weights, averaged
    over the file's channels, serve every channel, times (file's channels) / (encoder's channels). The
    response to images whose channels are all alike stays the same: a grey image as one channel, as four
    stacked frames or as RGB.

    A file of the same architecture with a classifier on top (torchvision's ResNets) loads too, the classifier
    left out.

    Args:
        path: a file of `save_encoder`.
        encoder: changed in place, only if everything matches.

    Returns:
        What was loaded; print it.

    Raises:
        ValueError: the file is missing or damaged, or a tensor is missing, left over, of another shape or not
        finite.
    """
    tensors, metadata = _read(path)
    changes = []
    foreign = [name for name in tensors if encoder.foreign_prefix and name.startswith(encoder.foreign_prefix)]
    if foreign:
        tensors = {name: tensor for name, tensor in tensors.items() if name not in foreign}
        changes.append(f"{', '.join(foreign)} left out: a classifier, which is no part of the features")
    name = encoder.input_weight
    old, new = tensors.get(name), encoder.state_dict()[name]
    if old is not None and _differ_in_channels(old, new):
        mean = old.mean(dim=1, keepdim=True).expand(-1, new.shape[1], -1, -1)
        tensors[name] = mean * (old.shape[1] / new.shape[1])
        changes.append(f"{name} adapted from {old.shape[1]} to {new.shape[1]} image channels (mean, rescaled)")
    return _load(path, encoder, tensors, metadata, "; ".join(changes))


def load_critic_weights(path: str | Path, critic: Critic) -> LoadReport:
    """Copy weights from a file of `save_critic` into a critic of the same dimensions, strictly."""
    tensors, metadata = _read(path)
    return _load(path, critic, tensors, metadata, "")


def _save(path: str | Path, module: nn.Module, metadata: Mapping[str, Any]) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    data = save(tensors, {_METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    partial = Path(f"{path}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def _read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file."""
    if not Path(path).is_file():
        raise ValueError(f"no weights file at {path}: give the path of an encoder.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (file is no dict)
            text = (file.metadata() or {}).get(_METADATA_KEY, "{}")
        metadata = json.loads(text)
    except (SafetensorError, OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise ValueError(f"{path} is not a sound safetensors file ({reason}): save the weights again") from error
    return tensors, metadata if isinstance(metadata, dict) else {}


def _load(
    path: str | Path, module: nn.Module, tensors: dict[str, Tensor], metadata: dict[str, Any], adapted: str
) -> LoadReport:
    """Copy tensors that match the module's one by one, or change nothing."""
    expected = module.state_dict()
    kind = type(module).__name__
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    if missing or extra:
        raise ValueError(
            f"{path} does not fit {kind}: {_some(missing)} missing, {_some(extra)} left over: "
            f"build the same architecture{_stated(metadata)}, or strip a prefix from the file's names"
        )
    for name, value in expected.items():
        found = tensors[name]
        if found.shape != value.shape:
            raise ValueError(
                f"{path} does not fit {kind}: {name} is {list(found.shape)}, not {list(value.shape)}: "
                f"build it with the same sizes (feature_dim, width, image_size){_stated(metadata)}"
            )
        if found.is_floating_point() != value.is_floating_point():
            raise ValueError(f"{path}: {name} has type {found.dtype} where {value.dtype} belongs: save it again")
        if not math.isfinite(found.abs().max().item()):
            raise ValueError(f"{path}: {name} is not finite: these weights diverged, take an earlier file")
    module.load_state_dict(tensors)
    return LoadReport(Path(path), tuple(expected), adapted, metadata)


def _differ_in_channels(old: Tensor, new: Tensor) -> bool:
    """Whether two convolutions' weights [out, in, kernel, kernel] differ in their input channels."""
    return old.is_floating_point() and old.ndim == new.ndim == 4 and old.shape[1] != new.shape[1]


def _stated(metadata: dict[str, Any]) -> str:
    """What the file says it holds, in brackets; nothing where it says nothing."""
    if not isinstance(metadata.get("encoder"), str):
        return ""
    size = metadata.get("image_size")
    sides = f" for images of {size[0]}x{size[1]}" if isinstance(size, list) and len(size) == 2 else ""
    return f" (the file holds {metadata['encoder']}{sides})"


def _some(names: list[str]) -> str:
    """Up to three names, then a count."""
    if not names:
        return "none"
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
