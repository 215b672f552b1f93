"""Values of Lightly's NTXentLoss, for tests/losses/ntxent_reference.json.

    python -m venv /tmp/lightly --system-site-packages   # with torch and numpy
    /tmp/lightly/bin/pip install --no-deps lightly==1.6.0
    /tmp/lightly/bin/python benchmarks/peers/ntxent_reference.py tests/losses/ntxent_reference.json

Lightly's packages import torchvision, which NTXentLoss does not use: here each package on the way is empty
and torchvision a stub, so that only the loss and the files it uses run, unchanged.
"""

import importlib.metadata
import json
import sys
import types
from pathlib import Path

import torch


def stub_packages() -> None:
    """Let Lightly's modules be imported one by one, without torchvision."""
    root = Path(str(importlib.metadata.distribution("lightly").locate_file("lightly")))
    for name in ("lightly", "lightly.loss", "lightly.utils", "lightly.models", "lightly.models.modules"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    torchvision = types.ModuleType("torchvision.ops")
    torchvision.StochasticDepth = object  # type: ignore[attr-defined]
    sys.modules.update({"torchvision": types.ModuleType("torchvision"), "torchvision.ops": torchvision})


def import_nt_xent() -> type[torch.nn.Module]:
    """NTXentLoss from the installed package."""
    stub_packages()
    from lightly.loss.ntx_ent_loss import NTXentLoss  # noqa: PLC0415

    return NTXentLoss


def main(path: str) -> None:
    nt_xent = import_nt_xent()
    cases = []
    for seed, (rows, features, temperature) in enumerate([(1, 3, 0.5), (4, 3, 0.5), (6, 8, 0.1), (5, 2, 1.0)]):
        generator = torch.Generator().manual_seed(seed)
        z_1 = torch.randn(rows, features, generator=generator, dtype=torch.float64).requires_grad_()
        z_2 = torch.randn(rows, features, generator=generator, dtype=torch.float64).requires_grad_()
        loss = nt_xent(temperature=temperature)(z_1, z_2)
        grad_1, grad_2 = torch.autograd.grad(loss, (z_1, z_2))
        cases.append(
            {
                "temperature": temperature,
                "z_1": z_1.tolist(),
                "z_2": z_2.tolist(),
                "loss": loss.item(),
                "grad_1": grad_1.tolist(),
                "grad_2": grad_2.tolist(),
            }
        )
    reference = {
        "made_by": "benchmarks/peers/ntxent_reference.py",
        "lightly": importlib.metadata.version("lightly"),
        "torch": torch.__version__,
        "cases": cases,
    }
    Path(path).write_text(json.dumps(reference) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
