"""Reading files of weights, ours and other projects', without ever running what is in them.

Two formats: safetensors, and what ``torch.save`` writes (``.pt``, ``.pth``, ``.pth.tar``, Lightning's ``.ckpt``), read
by torch's restricted unpickler (``weights_only=True``). Trainers save their hyper-parameters beside the weights as
objects of classes that need not be installed here; for those named in `_HYPER_PARAMETERS` an empty object stands in.
Anything else that a file wants to call has it refused.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

METADATA_KEY = "made_by"
"""Of the one metadata entry of our own files: safetensors does not keep the order of several."""
_DEPTH = 6  # of nested dicts that tensors are looked for in


class WeightsFile(NamedTuple):
    """What a file holds.

    Attributes:
        tensors: by name, on the CPU; names of nested dicts are joined by dots.
        metadata: what made the weights, as our own files say it; empty in others.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def read_weights(path: Path) -> WeightsFile:
    """Every tensor of a file.

    Raises:
        ValueError: no such file, damaged, of another format, without tensors, or one that holds more than data;
            nothing of it has been run.
    """
    if not path.is_file():
        raise ValueError(f"no weights file at {path}: give the path of an encoder.safetensors, .pth or .ckpt")
    try:
        with path.open("rb") as file:
            start = file.read(20)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    if start.startswith(b"RELIC-RL checkpoint"):
        raise ValueError(f"{path} is a checkpoint of a run: give the encoder.safetensors in its run directory")
    is_safetensors = start[5:9] == b"\0\0\0{"  # a length of 8 bytes, then JSON; its first bytes may be anything
    if start.startswith((b"PK", b"\x80")) and not is_safetensors:
        return WeightsFile(_read_torch(path, zipped=start.startswith(b"PK")), {})
    return _read_safetensors(path)


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (file is no dict)
            text = (file.metadata() or {}).get(METADATA_KEY, "{}")
        metadata = json.loads(text)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a sound safetensors file ({_first_line(error)}): save it again") from error
    return WeightsFile(tensors, metadata if isinstance(metadata, dict) else {})


def _read_torch(path: Path, *, zipped: bool) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_stand_ins()):
            warnings.simplefilter("ignore")  # torch's, on old formats
            # Mapped: an optimiser's state, twice the weights, is never read.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # a damaged file makes torch raise whatever it likes
        wanted = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if wanted is not None:
            raise ValueError(
                f"{path} holds more than data, it wants {wanted[1][:80]}: refused, and nothing of it was run; "
                "save the encoder's state_dict alone"
            ) from error
        raise ValueError(
            f"{path} is no file of weights that torch can read without running code ({_first_line(error)}): "
            "refused, and nothing of it was run; save the encoder's state_dict with torch.save"
        ) from error
    tensors: dict[str, Tensor] = {}
    _collect(content, "", tensors, set(), _DEPTH)
    if not tensors:
        raise ValueError(f"{path} holds no tensors by name: save the encoder's state_dict")
    return tensors


def _collect(content: Any, prefix: str, tensors: dict[str, Tensor], seen: set[int], depth: int) -> None:
    """Gather the plain tensors of nested dicts; each dict is looked at once, however often it occurs."""
    if not isinstance(content, Mapping) or id(content) in seen or depth == 0:
        return
    seen.add(id(content))
    for name, value in content.items():
        if not isinstance(name, str):  # an optimiser's state goes by number
            continue
        if isinstance(value, Tensor):
            if value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized:
                tensors.setdefault(prefix + name, value.detach())
        else:
            _collect(value, f"{prefix}{name}.", tensors, seen, depth - 1)


class _Empty:
    """Stands in for an object of a class that is not wanted: takes any arguments and state, keeps none."""

    def __new__(cls, *args: Any) -> _Empty:
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _EmptyDict:
    """Stands in for a class of dicts: the unpickler fills plain dicts only."""

    def __new__(cls, *args: Any) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


_DICTS = (
    "collections.defaultdict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
)
_HYPER_PARAMETERS = (
    "argparse.Namespace",
    "typing.Any",
    *(f"builtins.{name}" for name in ("dict", "list", "tuple", "int", "float", "str", "bool", "bytes", "object")),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
    *(f"pathlib._local.{name}" for name in ("Path", "PosixPath", "WindowsPath")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Float16", "Int64", "Int32", "Bool", "UInt8")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata", "Node")),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "Path")),
    "omegaconf.nodes.StringNode",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint",
    "torch.torch_version.TorchVersion",
)
"""What Lightning, solo-learn (omegaconf), DINO (argparse) and numpy leave in checkpoints beside the weights."""


def _stand_ins() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Pairs of a stand-in and the full name that it answers to."""
    empty: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(_Empty, name) for name in _HYPER_PARAMETERS]
    return empty + [(_EmptyDict, name) for name in _DICTS]


def _first_line(error: Exception) -> str:
    """The type of an error and the first words of its message."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:120] if lines else type(error).__name__
