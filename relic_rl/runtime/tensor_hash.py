"""One hash over many tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def hash_tensors(tensors: Mapping[str, Tensor], kind: str) -> str:
    """SHA-256 over names, types, shapes and values, as text: equal exactly where all of them are.

    Args:
        tensors: by name, on any device; their order does not matter.
        kind: what they make up; part of what is hashed.
    """
    digest = hashlib.sha256(kind.encode())
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
