"""Encoders of other projects: each one's layout of names, what is left out, and files that hold more than data."""

import argparse
import collections
import io
import pathlib
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from relic_rl.representation.encoders import build_encoder
from relic_rl.representation.weight_files import read_weights
from relic_rl.representation.weight_names import match_names
from relic_rl.representation.weights import inspect_encoder_file, load_encoder_weights, read_critic, save_encoder

SMALL = {"in_channels": 3, "image_size": (32, 32)}
NUMBERS = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    """The state dict of a ResNet-18 in torchvision's names, in half precision to keep files small."""
    torch.manual_seed(0)
    state = build_encoder("resnet18", **SMALL).state_dict()
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def behind(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


def other(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A second copy that must not be taken for the first."""
    return {name: value + 1 for name, value in state.items()}


def numbered(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As `nn.Sequential(*resnet.children())` names the children."""
    return {".".join([NUMBERS[name.split(".")[0]], *name.split(".")[1:]]): value for name, value in state.items()}


FC = {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
HEAD = {"0.weight": torch.zeros(4, 512), "2.weight": torch.zeros(4, 4)}
OPTIMISER = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}

LAYOUTS = {
    "torchvision, timm": (lambda w: {**w, **FC}, "", ["fc"]),
    "MoCo": (
        lambda w: {
            "epoch": 200,
            "arch": "resnet18",
            "state_dict": {
                **behind("module.encoder_q.", {**w, "fc.0.weight": torch.zeros(2, 2)}),
                **behind("module.encoder_k.", other(w)),
                "module.queue": torch.zeros(2, 2),
            },
            "optimizer": OPTIMISER,
        },
        "state_dict.module.encoder_q.",
        ["encoder_q.fc", "encoder_k", "module.queue"],
    ),
    "MoCo v3": (
        lambda w: {
            "state_dict": {
                **behind("module.base_encoder.", w),
                **behind("module.momentum_encoder.", other(w)),
                **behind("module.predictor.", HEAD),
            }
        },
        "state_dict.module.base_encoder.",
        ["momentum_encoder", "predictor"],
    ),
    "SimCLR": (
        lambda w: {"state_dict": behind("backbone.", {**w, **behind("fc.", HEAD)}), "optimizer": OPTIMISER},
        "state_dict.backbone.",
        ["backbone.fc"],
    ),
    "SwAV": (
        lambda w: {**behind("module.", w), **behind("module.projection_head.", HEAD)},
        "module.",
        ["module.projection_head"],
    ),
    "BYOL": (
        lambda w: {
            **behind("online_encoder.net.", {**w, **FC}),
            **behind("online_encoder.projector.", HEAD),
            **behind("target_encoder.net.", other(w)),
        },
        "online_encoder.net.",
        ["online_encoder.net.fc", "online_encoder.projector", "target_encoder"],
    ),
    "solo-learn": (
        lambda w: {
            "state_dict": {
                **behind("backbone.", w),
                **behind("momentum_backbone.", other(w)),
                **behind("projector.", HEAD),
                "classifier.weight": torch.zeros(10, 512),
            },
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(1.0)}},
            "optimizer_states": [OPTIMISER],
            "hyper_parameters": {"backbone": {"name": "resnet18"}},
        },
        "state_dict.backbone.",
        ["momentum_backbone", "projector", "classifier"],
    ),
    "Lightly": (
        lambda w: {
            "state_dict": {
                **behind("backbone.", numbered(w)),
                **behind("backbone_momentum.", other(numbered(w))),
                **behind("projection_head.layers.", HEAD),
            }
        },
        "state_dict.backbone.",
        ["backbone_momentum", "projection_head"],
    ),
    "DINO": (
        lambda w: {"student": behind("module.backbone.", w), "teacher": behind("backbone.", other(w)), "epoch": 1},
        "student.module.backbone.",
        ["teacher"],
    ),
}


@pytest.mark.parametrize("project", LAYOUTS)
def test_layout(project: str, theirs: dict[str, torch.Tensor], tmp_path: pathlib.Path) -> None:
    make, prefix, left_out = LAYOUTS[project]
    path = tmp_path / "checkpoint.pth"
    torch.save(make(theirs), path)
    assert inspect_encoder_file(path)[:3] == ("resnet18", 3, 1)
    encoder = build_encoder("resnet18", **SMALL)
    report = load_encoder_weights(path, encoder)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, theirs[name].to(value.dtype)), name
    layer1 = "4" if project == "Lightly" else "layer1"
    assert f"{prefix}{layer1}" in report.mapping
    assert "120 tensors" in str(report)
    for name in left_out:
        assert name in report.adapted


def test_another_copy_by_its_prefix(theirs: dict[str, torch.Tensor], tmp_path: pathlib.Path) -> None:
    path = tmp_path / "moco#200.pth"
    torch.save({**behind("encoder_q.", theirs), **behind("encoder_k.", other(theirs))}, path)
    encoder = build_encoder("resnet18", **SMALL)
    assert "to be had as FILE#PREFIX: encoder_k" in load_encoder_weights(path, encoder).adapted
    assert torch.equal(encoder.state_dict()["bn1.weight"], theirs["bn1.weight"].float())
    load_encoder_weights(f"{path}#encoder_k", encoder)
    assert torch.equal(encoder.state_dict()["bn1.weight"], theirs["bn1.weight"].float() + 1)
    assert inspect_encoder_file(f"{path}#encoder_k.").name == "resnet18"
    with pytest.raises(ValueError, match=r"no conv1\.weight behind the prefix 'encoder_x'"):
        load_encoder_weights(f"{path}#encoder_x", encoder)
    torch.save({**behind("one.", theirs), **behind("two.", other(theirs))}, path)
    with pytest.raises(ValueError, match="prefixes one, two: name one, as FILE#PREFIX"):
        load_encoder_weights(path, encoder)


def test_safetensors_of_another_project(theirs: dict[str, torch.Tensor], tmp_path: pathlib.Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(behind("backbone.", theirs), path)
    encoder = build_encoder("resnet18", **SMALL)
    assert load_encoder_weights(path, encoder).metadata == {}
    assert torch.equal(encoder.state_dict()["conv1.weight"], theirs["conv1.weight"].float())


def test_our_own_files_say_what_they_hold(tmp_path: pathlib.Path) -> None:
    encoder = build_encoder("nature", in_channels=2, image_size=(40, 44), feature_dim=24)
    made_by = {"encoder": "nature", "in_channels": 2, "image_size": [40, 44], "feature_dim": 24, "objective": "relic"}
    save_encoder(tmp_path / "a", encoder, made_by)
    assert inspect_encoder_file(tmp_path / "a") == ("nature", 2, 1, (40, 44), 24, made_by)
    for changes in (
        {"image_size": [4000, 4000]},
        {"feature_dim": 10**12},
        {"in_channels": 10**9},
        {"encoder": "impala"},
    ):
        save_encoder(tmp_path / "a", encoder, made_by | changes)
        with pytest.raises(ValueError, match="which does not fit its tensors"):
            inspect_encoder_file(tmp_path / "a")
    save_file(encoder.state_dict(), tmp_path / "b")
    with pytest.raises(ValueError, match=r"no encoder that is known here \(it has conv1\.bias, .* and 5 more"):
        inspect_encoder_file(tmp_path / "b")
    save_file(behind("actor.encoder.", encoder.state_dict()), tmp_path / "c")
    again = build_encoder("nature", in_channels=2, image_size=(40, 44), feature_dim=24)
    assert "actor.encoder.conv1 -> conv1 (2)" in str(load_encoder_weights(tmp_path / "c", again))
    assert torch.equal(again.conv2.weight, encoder.conv2.weight)


def test_counters_of_old_files_start_at_zero(theirs: dict[str, torch.Tensor], tmp_path: pathlib.Path) -> None:
    path = tmp_path / "old.pth"
    old = {name: value for name, value in theirs.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, path, _use_new_zipfile_serialization=False)
    encoder = build_encoder("resnet18", **SMALL)
    report = load_encoder_weights(path, encoder)
    assert "20 counters of batch normalisation, which the file lacks" in report.adapted
    assert len(report.matched) == 120


def more_blocks(state: dict[str, torch.Tensor]) -> None:
    state["layer2.2.conv1.weight"] = torch.zeros(1)


def cifar_stem(state: dict[str, torch.Tensor]) -> None:
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)


def one_missing(state: dict[str, torch.Tensor]) -> None:
    del state["layer4.1.bn2.running_var"]


def sparse(state: dict[str, torch.Tensor]) -> None:
    state["conv1.weight"] = state["conv1.weight"].float().to_sparse()


def quantised(state: dict[str, torch.Tensor]) -> None:
    state["conv1.weight"] = torch.quantize_per_tensor(state["conv1.weight"].float(), 0.1, 0, torch.qint8)


def meta(state: dict[str, torch.Tensor]) -> None:
    state["bn1.weight"] = state["bn1.weight"].to("meta")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (more_blocks, r"none missing, layer2\.2\.conv1\.weight left over"),
        (cifar_stem, r"conv1\.weight is \[64, 3, 3, 3\], not \[64, 3, 7, 7\]"),
        (one_missing, r"layer4\.1\.bn2\.running_var missing, none left over"),
        (sparse, r"conv1\.weight, .* missing"),
        (quantised, r"conv1\.weight, .* missing"),
        (meta, r"bn1\.weight missing"),
    ],
)
def test_another_architecture_is_refused(change, message, theirs, tmp_path) -> None:
    state = dict(theirs)
    change(state)
    torch.save(state, tmp_path / "model.pth")
    encoder = build_encoder("resnet18", **SMALL)
    before = encoder.conv1.weight.clone()
    with pytest.raises(ValueError, match=message):
        load_encoder_weights(tmp_path / "model.pth", encoder)
    assert torch.equal(encoder.conv1.weight, before)
    with pytest.raises(ValueError, match="no encoder that is known here"):
        inspect_encoder_file(tmp_path / "model.pth")


def claimed(shapes: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of these shapes that are all views of one number: small in a file."""
    return {name: torch.zeros((), dtype=value.dtype).expand(value.shape) for name, value in shapes.items()}


def test_wide_and_grey_networks_are_recognised(tmp_path: pathlib.Path) -> None:
    with torch.device("meta"):
        wide = build_encoder("resnet50", in_channels=1, image_size=(32, 32), width=2).state_dict()
    torch.save(claimed(behind("backbone.", wide)), tmp_path / "wide.pth")
    assert inspect_encoder_file(tmp_path / "wide.pth")[:3] == ("resnet50", 1, 2)


def test_absurd_sizes_cost_nothing(theirs: dict[str, torch.Tensor], tmp_path: pathlib.Path) -> None:
    encoder = build_encoder("resnet18", **SMALL)
    for shape in ((64, 10**12, 7, 7), (10**12, 1, 7, 7), (64, 0, 7, 7)):
        weight = torch.zeros(()).expand(shape) if 0 not in shape else torch.zeros(shape)
        torch.save({**theirs, "conv1.weight": weight}, tmp_path / "absurd.pth")
        with pytest.raises(ValueError, match=r"conv1\.weight is \["):
            load_encoder_weights(tmp_path / "absurd.pth", encoder)
        with pytest.raises(ValueError, match="no encoder that is known here"):
            inspect_encoder_file(tmp_path / "absurd.pth")
    torch.save({"layers.0.weight": torch.zeros(()).expand(10**6, 10**6)}, tmp_path / "critic.pth")
    with pytest.raises(ValueError, match="holds no critic"):
        read_critic(tmp_path / "critic.pth")


def test_names_alone() -> None:
    expected = ["conv.weight", "head.weight"]
    found = ["net.conv.weight", "net.head.weight", "net.extra", "step"]
    strict = match_names(found, expected, "conv.weight")
    assert (strict.prefix, strict.left_over, strict.left_out) == ("net.", ["net.extra"], ["step"])
    lenient = match_names(found, expected, "conv.weight", ({},))
    assert (lenient.left_over, lenient.left_out) == ([], ["net.extra", "step"])
    nothing = match_names(["a.b"], expected, "conv.weight")
    assert nothing.missing(expected) == expected
    assert nothing.left_over == ["a.b"]
    two = ["deep.conv.weight", "deep.head.weight", "deep.head.more", *found]  # a larger network, and ours
    assert match_names(two, expected, "conv.weight", ({},)).prefix == "net."
    assert match_names(["xconv.weight", "xhead.weight"], expected, "conv.weight").names == {}


# ------------------------------------------------------------------------------------------ reading files


class Code:
    """Unpickling it makes a file."""

    def __init__(self, target: pathlib.Path) -> None:
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(zipped: bool, tmp_path: pathlib.Path) -> None:
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    torch.save({"w": torch.ones(2), "code": Code(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"holds more than data, it wants (io|_io)?\.?open: refused") as caught:
        read_weights(path)
    assert not trace.exists()
    assert len(str(caught.value).replace(str(path), "")) < 300
    torch.load(path, weights_only=False)["code"].close()
    assert trace.exists(), "the code was there to be run"


def test_hyper_parameters_beside_the_weights_do_no_harm(tmp_path: pathlib.Path) -> None:
    counts = collections.defaultdict(list, {"a": [1]})
    content = {
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("runs")),
        "best": np.float64(0.7),
        "array": np.arange(3),
        "counts": counts,
        "model": {"w": torch.ones(2)},
    }
    torch.save(content, tmp_path / "model.pth")
    assert list(read_weights(tmp_path / "model.pth").tensors) == ["model.w"]
    torch.save({"args": argparse.Namespace(code=Code(tmp_path / "trace")), "w": torch.ones(1)}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="holds more than data"):
        read_weights(tmp_path / "model.pth")
    assert not (tmp_path / "trace").exists()


def test_a_whole_module_is_refused(tmp_path: pathlib.Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.linear\.Linear: refused.*state_dict alone"):
        read_weights(tmp_path / "model.pth")


def test_a_tensor_larger_than_its_data_is_refused(tmp_path: pathlib.Path) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(4)}, buffer)
    path, source = tmp_path / "model.pth", zipfile.ZipFile(buffer)
    with zipfile.ZipFile(path, "w") as file:
        for name in source.namelist():
            content = source.read(name)
            for end in (b"t", b"\x85"):  # the size of the storage, and that of the tensor: 4 becomes 2^28
                content = content.replace(b"K\x04" + end, b"J\x00\x00\x00\x10" + end)
            file.writestr(name, content)
    with pytest.raises(ValueError, match="no file of weights that torch can read"):
        read_weights(path)


def test_nested_dicts_are_each_looked_at_once(tmp_path: pathlib.Path) -> None:
    inner = {"w": torch.ones(1)}
    for _ in range(5):
        inner = {f"k{i}": inner for i in range(50)}
    torch.save(inner, tmp_path / "model.pth")
    assert list(read_weights(tmp_path / "model.pth").tensors) == ["k0.k0.k0.k0.k0.w"]
    torch.save({"a": {1: {"w": torch.ones(1)}}}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="holds no tensors by name"):
        read_weights(tmp_path / "model.pth")


@pytest.mark.parametrize("length", [0x80, 0x4B50])
def test_safetensors_that_begin_like_a_pickle_or_a_zip(length: int, tmp_path: pathlib.Path) -> None:
    header = b'{"__metadata__":{"made_by":"{}"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    header = header.replace(b"{}", rb"{\"seed\":1}").ljust(length)
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + header + struct.pack("<f", 2.5))
    assert read_weights(path) == ({"w": torch.tensor([2.5])}, {"seed": 1})
