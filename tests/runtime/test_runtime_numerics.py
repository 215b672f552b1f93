"""Precision, seeds, gradient guard, devices."""

import json
import os
from typing import Any, Literal

import numpy as np
import pytest
import torch

from relic_rl.runtime.device import device_name, resolve_device, set_threads
from relic_rl.runtime.errors import BadInput, RunFailed
from relic_rl.runtime.guard import GradientGuard, NotFinite
from relic_rl.runtime.precision import autocast, decide_precision, encoder_step, set_fp32_products
from relic_rl.runtime.seeding import Streams

CPU = torch.device("cpu")


# -------------------------------------------------------------------- precision


class Machine:
    """A pretended device: time passes only while it computes."""

    def __init__(self, fp32: float, bf16: float) -> None:
        self.cost = {None: fp32, torch.bfloat16: bf16}  # seconds per image
        self.now = 0.0
        self.calls: list[tuple[int, torch.dtype | None]] = []

    def step(self, batch_size: int, dtype: torch.dtype | None) -> None:
        self.calls.append((batch_size, dtype))
        self.now += self.cost[dtype] * batch_size

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("fp32", "bf16", "expected"),
    [(1e-4, 4e-5, "bf16"), (1e-4, 9.5e-5, "fp32"), (1e-4, 2e-4, "fp32"), (1e-4, 5e-2, "fp32")],
)
def test_auto_takes_what_is_faster(fp32: float, bf16: float, expected: str) -> None:
    machine = Machine(fp32, bf16)
    decision = decide_precision("auto", machine.step, 256, CPU, clock=machine.clock)
    assert decision.precision == expected
    assert decision.autocast_dtype == (torch.bfloat16 if expected == "bf16" else None)
    assert decision.reason.startswith(f"auto chose {expected}: ")
    images = 4 if bf16 > 4 * fp32 else 256
    assert (
        f"{images} images took {1e3 * bf16 * images:.3g} ms in bf16, {1e3 * fp32 * images:.3g} ms in fp32"
        in decision.reason
    )


def test_hopeless_bf16_is_not_tried_on_the_full_batch() -> None:
    machine = Machine(1e-3, 0.5)  # 500 times slower
    decide_precision("auto", machine.step, 256, CPU, clock=machine.clock)
    assert {size for size, _ in machine.calls} == {4}
    assert machine.now < 10


def test_what_else_the_machine_does_decides_nothing() -> None:
    """Two of three times something else takes the cores from bf16, on the small batch and on the full one."""
    machine = Machine(1e-4, 4e-5)
    plain, hindered = machine.step, []

    def step(batch_size: int, dtype: torch.dtype | None) -> None:
        plain(batch_size, dtype)
        if dtype is not None:
            hindered.append(len(hindered) % 3 != 2)
            machine.now += 1.0 if hindered[-1] else 0.0

    assert decide_precision("auto", step, 256, CPU, clock=machine.clock).precision == "bf16"
    assert any(hindered)


def test_the_time_is_bounded() -> None:
    machine = Machine(1e-2, 1e-2)  # 2.56 s per step
    decide_precision("auto", machine.step, 256, CPU, seconds=6, clock=machine.clock)
    assert sum(size == 256 for size, _ in machine.calls) == 2 + 2 * 3
    fast = Machine(1e-6, 1e-6)
    decide_precision("auto", fast.step, 256, CPU, clock=fast.clock)
    assert sum(size == 256 for size, _ in fast.calls) == 2 + 2 * 15


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(asked: Literal["fp32", "bf16"]) -> None:
    machine = Machine(1, 1)
    decision = decide_precision(asked, machine.step, 256, CPU, clock=machine.clock)
    assert decision.precision == asked
    assert machine.calls == []


def test_encoder_step_trains_a_copy() -> None:
    torch.manual_seed(0)

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(4, 2, 8, stride=8)
            self.norm = torch.nn.BatchNorm2d(2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append((tuple(images.shape), images.dtype, torch.is_autocast_enabled("cpu")))
            return self.norm(self.conv(images / 255)).flatten(1)

    seen: list[Any] = []
    encoder = Encoder()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    random_state = torch.get_rng_state()
    step = encoder_step(encoder, (4, 16, 16), CPU)
    step(3, None)
    step(5, torch.bfloat16)
    assert seen == [((3, 4, 16, 16), torch.uint8, False), ((5, 4, 16, 16), torch.uint8, True)]
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_auto_on_this_machine() -> None:
    step = encoder_step(torch.nn.Sequential(torch.nn.Flatten(), Scale(), torch.nn.Linear(64, 8)), (1, 8, 8), CPU)
    assert decide_precision("auto", step, 32, CPU, seconds=1).precision in ("fp32", "bf16")


def test_auto_with_a_frozen_encoder() -> None:
    frozen = torch.nn.Sequential(torch.nn.Flatten(), Scale(), torch.nn.Linear(64, 8)).requires_grad_(False)
    step = encoder_step(frozen, (1, 8, 8), CPU)
    assert decide_precision("auto", step, 32, CPU, seconds=1).precision in ("fp32", "bf16")


class Scale(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images / 255


def test_autocast() -> None:
    a = torch.ones(4, 4)
    with autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, None):
        assert (a @ a).dtype == torch.float32


def test_fp32_is_stated() -> None:
    assert "full precision" in set_fp32_products(CPU)
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        assert "TF32" in set_fp32_products(torch.device("cuda"))
        assert torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


# ------------------------------------------------------------------------ seeds


def test_streams_are_reproducible_and_apart() -> None:
    names = ["train_env", "eval_env", "init", "exploration", "replay", "augmentation"]
    draws = {(seed, name): Streams(seed).numpy(name).random(4).tobytes() for seed in (0, 1, 2) for name in names}
    assert len(set(draws.values())) == 18
    torch_draws = {
        (seed, name): torch.rand(4, generator=Streams(seed).torch(name)).numpy().tobytes()
        for seed in (0, 1, 2)
        for name in names
    }
    assert len(set(torch_draws.values())) == 18
    for (seed, name), draw in draws.items():
        assert Streams(seed).numpy(name).random(4).tobytes() == draw
    assert len({Streams(0).integer(name) for name in names}) == 6
    assert all(0 <= Streams(s).integer("init") < 2**63 for s in range(50))


def test_streams_never_change() -> None:
    # pinned: a run's seed must mean the same tomorrow
    assert Streams(0).integer("train_env") == 1739148911021560033
    assert Streams(7).numpy("replay").integers(10**9) == 71763623


def test_streams_do_not_disturb_each_other() -> None:
    alone, busy = Streams(3), Streams(3)
    busy.numpy("exploration").random(100)
    busy.torch("augmentation")
    busy.seed_sequence("replay").spawn(5)
    assert np.array_equal(alone.numpy("replay").random(4), busy.numpy("replay").random(4))
    assert alone.seed_sequence("x").generate_state(2).tolist() == busy.seed_sequence("x").generate_state(2).tolist()
    assert busy.numpy("replay") is busy.numpy("replay")
    assert busy.torch("augmentation") is busy.torch("augmentation", "cpu")


def test_streams_refuse() -> None:
    with pytest.raises(ValueError, match="-1"):
        Streams(-1)
    streams = Streams(0)
    streams.torch("a")
    with pytest.raises(ValueError, match="not on meta"):
        streams.torch("a", "meta")


# ------------------------------------------------------------------------ guard


def parameters(*gradients: float) -> list[torch.nn.Parameter]:
    made = [torch.nn.Parameter(torch.zeros(1)) for _ in gradients]
    for parameter, gradient in zip(made, gradients, strict=True):
        parameter.grad = torch.tensor([gradient])
    return made


def test_the_norm_is_global() -> None:
    guard = GradientGuard(max_norm=1.0)
    ps = [*parameters(3.0, 4.0), torch.nn.Parameter(torch.zeros(1))]  # the last has no gradient
    norm = guard.clip(iter(ps), torch.tensor(1.0))
    assert norm.item() == pytest.approx(5.0)
    assert guard.sound
    assert [p.grad.item() for p in ps[:2] if p.grad is not None] == pytest.approx([0.6, 0.8], rel=1e-4)
    small = parameters(0.3)
    guard.clip(small, torch.tensor(1.0))
    assert small[0].grad is not None
    assert small[0].grad.item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("gradient", "loss"),
    [(float("nan"), 1.0), (float("inf"), 1.0), (1.0, float("nan")), (1.0, float("-inf"))],
)
def test_unsound_updates_are_counted_and_end_the_run(gradient: float, loss: float) -> None:
    guard = GradientGuard(max_norm=1.0, patience=3)
    for _ in range(3):
        guard.clip(parameters(gradient), torch.tensor(loss))
        assert not guard.sound
    guard.clip(parameters(1.0), torch.tensor(1.0))
    assert guard.sound
    for _ in range(3):
        guard.clip(parameters(gradient), torch.tensor(loss))
    assert guard.skipped == 6
    resumed = GradientGuard(max_norm=1.0, patience=3)
    resumed.load_state_dict(guard.state_dict())
    for each in (guard, resumed):
        with pytest.raises(RunFailed, match="4 updates in a row"):
            each.clip(parameters(gradient), torch.tensor(loss))
        assert each.skipped == 7


def test_a_lost_run_tells_what_was_seen() -> None:
    guard = GradientGuard(max_norm=1.0, patience=0)
    ps = [*parameters(3.0, float("nan"), float("-inf")), torch.nn.Parameter(torch.zeros(1))]
    batch = {"reward": torch.tensor([1.0, float("nan"), 3.0]), "image": torch.full((2, 3), 7, dtype=torch.uint8)}
    with pytest.raises(NotFinite) as caught:
        guard.clip(ps, torch.tensor(2.0), batch)
    seen = caught.value.seen
    assert json.loads(json.dumps(seen, allow_nan=False)) == seen  # plain
    assert (seen["updates_in_a_row"], seen["updates_skipped"]) == (1, 1)
    assert seen["loss"]["mean"] == 2.0
    found = {"shape": [3], "dtype": "float32", "nan": 1, "infinite": 0, "min": 1.0, "max": 3.0, "mean": 2.0}
    assert seen["seen"]["reward"] == found
    assert seen["seen"]["image"]["max"] == 7
    gradients = seen["gradients"]
    assert gradients[0]["max"] == 3.0  # as it was, not spoilt by clipping
    assert (gradients[1]["nan"], gradients[2]["infinite"], gradients[3]) == (1, 1, None)
    assert gradients[1]["mean"] is None


def test_the_loss_keeps_its_graph() -> None:
    p = torch.nn.Parameter(torch.ones(1))
    loss = (p * 2).sum()
    loss.backward()
    assert not GradientGuard(max_norm=1.0).clip([p], loss).requires_grad


# ----------------------------------------------------------------------- device


def test_cpu() -> None:
    assert resolve_device("cpu") == CPU
    assert device_name(CPU).startswith("CPU, ")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps", "CPU", "cuda:²", "cuda0"])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(BadInput, match="give auto, cpu, cuda or cuda:INDEX"):
        resolve_device(name)


def test_missing_cuda_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BadInput, match="built without CUDA; use cpu"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(BadInput, match="no CUDA device or driver"):
        resolve_device("cuda:0")
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    assert resolve_device("auto") == torch.device("cuda:0")
    with pytest.raises(BadInput, match="the last device here is cuda:1"):
        resolve_device("cuda:2")


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert set_threads(0) == before
        assert set_threads(2) == 2 == torch.get_num_threads()
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as torchrun leaves it
        assert set_threads(0, processes=2) == 3
        assert set_threads(1, processes=2) == 1
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert set_threads(0, processes=2) == 1  # somebody's choice: nothing is changed
    finally:
        torch.set_num_threads(before)
