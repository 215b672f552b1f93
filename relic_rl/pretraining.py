"""The story of a pretraining run: build, train, save. `relic_rl.pretrain` is the door to it."""

from __future__ import annotations

import contextlib
import dataclasses

import torch

from relic_rl import pretrain_build as build
from relic_rl.evaluation.collapse import CollapseWatch
from relic_rl.pretrain_options import PretrainConfig
from relic_rl.pretrain_run import PretrainRun
from relic_rl.representation.weights import save_critic, save_encoder
from relic_rl.runtime.config import dump_config
from relic_rl.runtime.device import device_name, resolve_device, set_threads
from relic_rl.runtime.distributed import (
    Processes,
    failures_of_others,
    from_writer,
    launched_processes,
    local_device,
    process_group,
    together,
)
from relic_rl.runtime.errors import BadInput, user_errors
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.runtime.liveness import Peers
from relic_rl.runtime.precision import PrecisionDecision, decide_precision, encoder_step, set_fp32_products
from relic_rl.runtime.resume import resolve_resume
from relic_rl.runtime.rundir import RunDir
from relic_rl.runtime.seeding import Streams

_TIMED_IMAGES = 256  # of a training step that precision is decided by


def pretrain(config: PretrainConfig) -> int:
    """Train an encoder on images; the exit code."""
    processes = launched_processes()
    if config.batch_size % (config.accumulate * processes.world_size):
        raise BadInput(
            f"--batch-size {config.batch_size} does not split into {config.accumulate} parts over "
            f"{processes.world_size} processes: give a multiple of {config.accumulate * processes.world_size}"
        )
    set_threads(config.threads, processes.local_world_size)
    device = resolve_device(local_device(config.device, processes))
    if config.precision == "fp16" and device.type != "cuda":
        raise BadInput("--precision fp16 is for GPUs: give auto, fp32 or bf16")
    with process_group(processes, device) as peers:
        return _pretrain(config, processes, device, peers)


def _pretrain(config: PretrainConfig, processes: Processes, device: torch.device, peers: Peers | None) -> int:
    """`pretrain`, in the group of all processes."""
    streams = Streams(config.seed)
    products = set_fp32_products(device)
    notes: list[str] = []
    resume = resolve_resume(config.resume, config.run_dir)
    with user_errors():
        views = together(lambda: build.build_views(config))
        loaded = from_writer(together(lambda: resume.load() if resume is not None and processes.is_writer else None))
        source = together(lambda: build.build_source(config, views, streams, device, processes, print))
        channels = views.channels(source.channels)
        networks = together(lambda: build.build_networks(config, channels, streams, device))
    precision = from_writer(_decide(config, networks, channels, device) if processes.is_writer else None)
    assert precision is not None
    dtype = torch.float16 if config.precision == "fp16" else precision.autocast_dtype
    plan = build.build_plan(config, source, streams, processes)

    name = f"{_short(config.data)}-{config.encoder}-{config.objective}-seed{config.seed}"
    where = config.run_dir if resume is None else resume.run_dir

    def open_directory() -> contextlib.AbstractContextManager[RunDir | None]:
        if processes.is_writer:
            return RunDir(where, name=name, resume=resume is not None)
        return contextlib.nullcontext(None)

    with together(open_directory) as directory, Interrupts() as interrupts, failures_of_others(peers):
        learner = build.build_learner(config, networks, views, source, plan, streams, device, dtype)
        watch = CollapseWatch(*build.chance(config), start=max(100, learner.total // 20))
        run = together(lambda: PretrainRun(config, source, plan, learner, watch, directory, interrupts, loaded))
        if directory is not None:
            decided = (
                config if config.precision == "fp16" else dataclasses.replace(config, precision=precision.precision)
            )
            command = f"python -m relic_rl.pretrain --config {directory.path / 'config.yaml'}"
            directory.write_config(dump_config(decided, command, [precision.reason]))
            directory.write_versions(device_name(device))
            notes += [f"run directory: {directory.path}", f"{precision.reason}; {products}", *networks.notes]
            notes += [*loaded.notes, *networks.encoder.lost_by_centring()] if loaded is not None else []
            notes.append(f"{source.num_images:,} training images, {learner.total:,} updates of {config.batch_size}")
            for note in notes:
                run.progress.note(note)
        run.train()
        if run.exit_code:
            return run.exit_code
        if directory is not None:
            made_by = build.encoder_metadata(config, networks.encoder, source, learner.updates)
            save_encoder(directory.path / "encoder.safetensors", networks.encoder, made_by)
            save_critic(directory.path / "critic.safetensors", networks.critic, made_by)
            directory.write_result(run.record())
            if source.broken:
                run.progress.note(f"{len(source.broken)} files could not be used: result.json lists them")
    return 0


def _decide(config: PretrainConfig, networks: build.Networks, channels: int, device: torch.device) -> PrecisionDecision:
    """What to compute in; fp16 is told as what was asked for."""
    if config.precision == "fp16":
        return PrecisionDecision("fp32", "fp16 as asked for, the loss scaled")
    size = config.image_size
    rows = min(config.batch_size // config.accumulate, _TIMED_IMAGES)
    step = encoder_step(networks.encoder, (channels, size, size), device)
    return decide_precision(config.precision, step, rows, device)


def _short(data: str) -> str:
    """A name for data: the last part of a path."""
    return data.rstrip("/").rsplit("/", 1)[-1] or "images"
