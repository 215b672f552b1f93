"""The story of a training run: build, train, save, evaluate. `relic_rl.train` is the door to it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from envs.make import validate_env_id
from relic_rl import train_build as build
from relic_rl.evaluation.play import describe, play_games, summarize
from relic_rl.representation.weights import save_critic, save_encoder
from relic_rl.runtime.config import dump_config
from relic_rl.runtime.device import device_name, resolve_device, set_threads
from relic_rl.runtime.errors import user_errors
from relic_rl.runtime.interrupts import Interrupts
from relic_rl.runtime.memory import keep_freed_memory
from relic_rl.runtime.precision import decide_precision, encoder_step, set_fp32_products
from relic_rl.runtime.resume import resolve_resume
from relic_rl.runtime.rundir import RunDir
from relic_rl.runtime.seeding import Streams
from relic_rl.runtime.video import write_video
from relic_rl.train_options import TrainConfig
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
    with user_errors():
        validate_env_id(config.env, config.engine, config.protocol)
        loaded = None if resume is None else resume.load()
        env = build.build_env(config, "train_env", config.num_envs, streams, threads)
        networks = build.build_networks(config, env, streams, device)
        time_step = encoder_step(networks.network.encoder, env.observation_shape, device)
        precision = decide_precision(config.precision, time_step, min(config.frames_per_update, 512), device)

    name = f"{config.env}-{config.agent}-{config.objective}-seed{config.seed}"
    where = config.run_dir if resume is None else resume.run_dir
    with RunDir(where, name=name, resume=resume is not None) as directory, Interrupts() as interrupts:
        with user_errors():
            dtype = precision.autocast_dtype
            agent = build.build_agent(config, env, networks, streams, device, dtype, directory.path)
        keep_freed_memory()
        overlap: Literal["on", "off"] = "on" if build.overlaps(config, device) else "off"
        decided = dataclasses.replace(config, precision=precision.precision, overlap=overlap)
        command = f"python -m relic_rl.train --config {directory.path / 'config.yaml'}"
        directory.write_config(dump_config(decided, command, [precision.reason]))
        directory.write_versions(device_name(device))
        run = Run(config, env, agent, directory, interrupts, loaded)
        notes = [f"{precision.reason}; {products}", *networks.notes, *(loaded.notes if loaded is not None else [])]
        for note in (f"run directory: {directory.path}", *notes):
            run.progress.note(note)
        run.train()
        if interrupts.requested:
            return interrupts.exit_code

        made_by = build.encoder_metadata(config, agent.encoder, agent.steps)
        save_encoder(directory.path / "encoder.safetensors", agent.encoder, made_by)
        if networks.critic is not None:
            save_critic(directory.path / "critic.safetensors", networks.critic, made_by)
        result = run.record()
        if config.eval_episodes:
            env = build.build_env(config, "eval_env", min(config.eval_episodes, 20), streams, threads)
            policy = agent.policy(streams.torch("evaluation", device), env.num_envs)
            games = play_games(
                env, policy, config.eval_episodes, record=config.video, should_stop=lambda: interrupts.requested
            )
            if len(games.returns) < config.eval_episodes:  # a signal came
                return interrupts.exit_code
            result["evaluation"] = {"rule": agent.evaluation_rule, "protocol": config.protocol}
            result["evaluation"] |= summarize(games, config.env)
            run.progress.note(f"evaluation: {describe(result['evaluation'])}")
            if games.frames is not None:
                write_video(directory.path / "video.mp4", games.frames, fps=VIDEO_FPS, scale=VIDEO_SCALE)
        directory.write_result(result)
    return 0
