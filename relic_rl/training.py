"""The story of a training run: build, train, save, evaluate. `relic_rl.train` is the door to it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import Any, NamedTuple

import torch

from agents.agent import Agent
from envs.make import validate_env_id
from envs.types import VectorEnv
from relic_rl import train_build as build
from relic_rl.evaluation.play import describe, play_games, summarize
from relic_rl.representation.critic import Critic
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
from relic_rl.runtime.errors import BadInput, RunFailed, end_process, memory_errors, user_errors
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.runtime.liveness import Peers
from relic_rl.runtime.memory import keep_freed_memory
from relic_rl.runtime.precision import decide_precision, encoder_step, set_fp32_products
from relic_rl.runtime.resume import resolve_resume
from relic_rl.runtime.rundir import RunDir
from relic_rl.runtime.seeding import Streams
from relic_rl.runtime.video import write_video
from relic_rl.train_faults import end_hung_run, memory_remedy, rescued, watched
from relic_rl.train_options import TrainConfig
from relic_rl.train_processes import continued_by_others, share_out
from relic_rl.train_resume import continue_options
from relic_rl.train_run import Run

VIDEO_FPS = 15  # agent steps per second: Atari's 60 frames at a frame skip of 4
VIDEO_SCALE = 4  # 84 x 84 pixels are small on a screen


class Trained(NamedTuple):
    """What is left when training is over."""

    config: TrainConfig
    run: Run
    agent: Agent
    critic: Critic | None


def train(config: TrainConfig) -> int:
    """Train an agent, then let it play whole games; the exit code.

    Several processes, started by torchrun, train as one; the writer alone plays the games.
    """
    processes = launched_processes()
    share_out(config, processes)  # refuses what cannot be shared out, before anybody waits for anybody
    threads = set_threads(config.threads, processes.local_world_size)
    device = resolve_device(local_device(config.device, processes))
    with contextlib.ExitStack() as stack:
        with process_group(processes, device) as peers, failures_of_others(peers):
            trained = _train(config, processes, device, threads, peers, stack)
        config, run, agent, critic = trained
        set_threads(threads)  # acting had one of them where learning had the others
        directory, interrupts = run.directory, run.interrupts
        if run.exit_code or directory is None:
            return run.exit_code
        _save_weights(config, agent, critic, directory)
        result = run.record()
        if config.eval_episodes:
            streams = Streams(config.seed)
            plain_env = build.build_env(config, "eval_env", min(config.eval_episodes, 20), streams, threads)
            env = stack.enter_context(watched(plain_env, config))
            env.on_hang = lambda message: end_process(f"{message}; {directory.kept()}")
            evaluation = _evaluate(config, env, agent, streams.torch("evaluation", device), directory, interrupts)
            if evaluation is None:
                return interrupts.exit_code
            run.progress.note(f"evaluation: {describe(evaluation)}")
            result["evaluation"] = evaluation
        directory.write_result(result)
    return 0


def _train(
    config: TrainConfig,
    processes: Processes,
    device: torch.device,
    threads: int,
    peers: Peers | None,
    stack: contextlib.ExitStack,
) -> Trained:
    """Build and train, in the group of all processes; ``stack`` gets what must stay open after that."""
    products = set_fp32_products(device)
    remedy = memory_remedy(config)
    config = from_writer(config)
    streams = Streams(config.seed)
    with user_errors(), memory_errors(remedy, BadInput):
        together(lambda: validate_env_id(config.env, config.engine, config.protocol))
        resume = together(lambda: resolve_resume(config.resume, config.run_dir) if processes.is_writer else None)
        loaded = from_writer(together(lambda: None if resume is None else resume.load()))
        if loaded is not None:
            config = continue_options(config, loaded)
        part = share_out(config, processes)
        first_env = processes.share(config.num_envs).start
        plain_env = together(
            lambda: build.build_env(part, "train_env", part.num_envs, streams, threads, first_env=first_env)
        )
        # A resumed run has its weights from the checkpoint: the file that it once began with may be gone.
        start = part if loaded is None else dataclasses.replace(part, encoder_weights=None)
        networks = together(lambda: build.build_networks(start, plain_env, streams, device))
        precision = None
        if processes.is_writer:
            time_step = encoder_step(networks.network.encoder, plain_env.observation_shape, device)
            precision = decide_precision(config.precision, time_step, min(part.frames_per_update, 512), device)
        precision = from_writer(precision)
        assert precision is not None
        config = build.decided(config, precision.precision, device, threads, processes.world_size)
        part = share_out(config, processes)

    hardware = device_name(device)
    name = f"{config.env}-{config.agent}-{config.objective}-seed{config.seed}"
    where = config.run_dir if resume is None else resume.run_dir
    directory = together(
        lambda: (
            stack.enter_context(RunDir(where, name=name, resume=resume is not None)) if processes.is_writer else None
        )
    )
    interrupts = stack.enter_context(Interrupts())
    stack.enter_context(memory_errors(remedy, RunFailed))
    env = stack.enter_context(watched(plain_env, config))
    path = from_writer(None if directory is None else directory.path)
    assert path is not None
    with user_errors(), memory_errors(remedy, BadInput):
        agent = together(
            lambda: build.build_agent(
                part,
                env,
                networks,
                streams,
                device,
                precision.autocast_dtype,
                path,
                processes,
                resumed=loaded is not None,
            )
        )
    keep_freed_memory()
    run = together(lambda: Run(config, env, agent, directory, interrupts, loaded, processes))
    env.on_hang = functools.partial(end_hung_run, run, peers)
    if directory is not None:
        if peers is not None:
            kept = directory.kept
            peers.on_loss = lambda message: end_process(f"{message}; {kept()}")
        notes = [f"{precision.reason}; {products}", *networks.notes]
        if loaded is not None:
            notes += [
                *loaded.notes,
                *continued_by_others(loaded.state, processes, config),
                *agent.encoder.lost_by_centring(),
            ]
        # Only now, when nothing can be refused any more, is what a resumed run left written over.
        _open_records(config, run, directory, precision.reason, hardware, notes)
    agent.join()
    with rescued(run):
        run.train()
    agent.release()
    return Trained(config, run, agent, networks.critic)


def _open_records(config: TrainConfig, run: Run, directory: RunDir, reason: str, device: str, notes: list[str]) -> None:
    """Write the options and what runs, and tell the user."""
    command = f"python -m relic_rl.train --config {directory.path / 'config.yaml'}"
    directory.write_config(dump_config(config, command, [reason]))
    directory.write_versions(device)
    for note in (f"run directory: {directory.path}", *notes):
        run.progress.note(note)


def _save_weights(config: TrainConfig, agent: Agent, critic: Critic | None, directory: RunDir) -> None:
    """Write what others may start from."""
    made_by = build.encoder_metadata(config, agent.encoder, agent.steps)
    save_encoder(directory.path / "encoder.safetensors", agent.encoder, made_by)
    if critic is not None:
        save_critic(directory.path / "critic.safetensors", critic, made_by)


def _evaluate(
    config: TrainConfig,
    env: VectorEnv,
    agent: Agent,
    generator: torch.Generator,
    directory: RunDir,
    interrupts: Interrupts,
) -> dict[str, Any] | None:
    """Let the agent play whole games, one of them on video; their scores, or None if a signal came."""
    policy = agent.policy(generator, env.num_envs)
    games = play_games(env, policy, config.eval_episodes, record=config.video, should_stop=lambda: interrupts.requested)
    if len(games.returns) < config.eval_episodes:
        return None
    if games.frames is not None:
        write_video(directory.path / "video.mp4", games.frames, fps=VIDEO_FPS, scale=VIDEO_SCALE)
    return {"rule": agent.evaluation_rule, "protocol": config.protocol} | summarize(games, config.env)
