"""The story of a training run: build, train, save, evaluate. `relic_rl.train` is the door to it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import Any

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
from relic_rl.runtime.errors import BadInput, RunFailed, memory_errors, user_errors
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.runtime.memory import keep_freed_memory
from relic_rl.runtime.precision import decide_precision, encoder_step, set_fp32_products
from relic_rl.runtime.resume import resolve_resume
from relic_rl.runtime.rundir import RunDir
from relic_rl.runtime.seeding import Streams
from relic_rl.runtime.video import write_video
from relic_rl.train_faults import end_hung_process, end_hung_run, memory_remedy, rescued, watched
from relic_rl.train_options import TrainConfig
from relic_rl.train_resume import continue_options
from relic_rl.train_run import Run

VIDEO_FPS = 15  # agent steps per second: Atari's 60 frames at a frame skip of 4
VIDEO_SCALE = 4  # 84 x 84 pixels are small on a screen


def train(config: TrainConfig) -> int:
    """Train an agent, then let it play whole games; the exit code."""
    streams = Streams(config.seed)
    threads = set_threads(config.threads)
    device = resolve_device(config.device)
    products = set_fp32_products(device)
    resume = resolve_resume(config.resume, config.run_dir)
    remedy = memory_remedy(config)
    with contextlib.ExitStack() as stack:
        with user_errors(), memory_errors(remedy, BadInput):
            validate_env_id(config.env, config.engine, config.protocol)
            loaded = None if resume is None else resume.load()
            if loaded is not None:
                config = continue_options(config, loaded)
            plain_env = build.build_env(config, "train_env", config.num_envs, streams, threads)
            # A resumed run has its weights from the checkpoint: the file that it once began with may be gone.
            start = config if loaded is None else dataclasses.replace(config, encoder_weights=None)
            networks = build.build_networks(start, plain_env, streams, device)
            time_step = encoder_step(networks.network.encoder, plain_env.observation_shape, device)
            precision = decide_precision(config.precision, time_step, min(config.frames_per_update, 512), device)
            config = build.decided(config, precision.precision, device)

        name = f"{config.env}-{config.agent}-{config.objective}-seed{config.seed}"
        where = config.run_dir if resume is None else resume.run_dir
        directory = stack.enter_context(RunDir(where, name=name, resume=resume is not None))
        interrupts = stack.enter_context(Interrupts())
        stack.enter_context(memory_errors(remedy, RunFailed))
        env = stack.enter_context(watched(plain_env, config))
        with user_errors(), memory_errors(remedy, BadInput):
            dtype = precision.autocast_dtype
            agent = build.build_agent(
                config, env, networks, streams, device, dtype, directory.path, resumed=loaded is not None
            )
        keep_freed_memory()
        run = Run(config, env, agent, directory, interrupts, loaded)
        env.on_hang = functools.partial(end_hung_run, run)
        # Only now, when nothing can be refused any more, is what a resumed run left written over.
        command = f"python -m relic_rl.train --config {directory.path / 'config.yaml'}"
        directory.write_config(dump_config(config, command, [precision.reason]))
        directory.write_versions(device_name(device))
        notes = [f"{precision.reason}; {products}", *networks.notes, *(loaded.notes if loaded is not None else [])]
        for note in (f"run directory: {directory.path}", *notes):
            run.progress.note(note)
        with rescued(run):
            run.train()
        if interrupts.requested:
            return interrupts.exit_code

        _save_weights(config, agent, networks.critic, directory)
        result = run.record()
        if config.eval_episodes:
            plain_env = build.build_env(config, "eval_env", min(config.eval_episodes, 20), streams, threads)
            env = stack.enter_context(watched(plain_env, config))
            env.on_hang = lambda message: end_hung_process(f"{message}; {directory.kept()}")
            evaluation = _evaluate(config, env, agent, streams.torch("evaluation", device), directory, interrupts)
            if evaluation is None:
                return interrupts.exit_code
            run.progress.note(f"evaluation: {describe(evaluation)}")
            result["evaluation"] = evaluation
        directory.write_result(result)
    return 0


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
