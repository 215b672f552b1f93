"""The door to reinforcement learning: ``python -m relic_rl.train --env ALE/Pong-v5``."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from relic_rl.runtime.config import dump_config, parse_config
from relic_rl.runtime.errors import run_door, user_errors
from relic_rl.runtime.resume import resolve_resume
from relic_rl.train_options import TrainConfig

VIDEO_FPS = 15  # agent steps per second: Atari's 60 frames at a frame skip of 4
VIDEO_SCALE = 4  # 84 x 84 pixels are small on a screen


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, train, evaluate.

    Returns:
        0 done, 1 failed while running, 2 bad input, 130 interrupted, 143 terminated (the last two after saving).
    """
    return run_door(lambda: train(parse_config(TrainConfig, argv, kind="train", default_preset=base_options)))


def base_options(config: TrainConfig) -> str:
    """Where the options of a command without --config come from.

    A resumed run's own, else a preset for the agent, sized for the machine.
    """
    resume = resolve_resume(config.resume, config.run_dir)
    if resume is not None and resume.config_file is not None:
        return str(resume.config_file)
    from relic_rl.runtime.device import resolve_device  # noqa: PLC0415 (imports torch, which --help must not)

    return f"{config.agent}-{'gpu' if resolve_device(config.device).type == 'cuda' else 'small'}"


def train(config: TrainConfig) -> int:
    """Train an agent, then let it play whole games; the exit code."""
    # Late, so that --help and most bad input need not wait for torch and the engines.
    from envs.make import validate_env_id  # noqa: PLC0415
    from relic_rl import train_build as build  # noqa: PLC0415
    from relic_rl.evaluation.play import play_games, summarize  # noqa: PLC0415
    from relic_rl.representation.weights import save_critic, save_encoder  # noqa: PLC0415
    from relic_rl.runtime.device import device_name, resolve_device, set_threads  # noqa: PLC0415
    from relic_rl.runtime.interrupts import Interrupts  # noqa: PLC0415
    from relic_rl.runtime.precision import decide_precision, encoder_step  # noqa: PLC0415
    from relic_rl.runtime.rundir import RunDir  # noqa: PLC0415
    from relic_rl.runtime.seeding import Streams  # noqa: PLC0415
    from relic_rl.runtime.video import write_video  # noqa: PLC0415
    from relic_rl.train_run import Run  # noqa: PLC0415

    streams = Streams(config.seed)
    threads = set_threads(config.threads)
    device = resolve_device(config.device)
    resume = resolve_resume(config.resume, config.run_dir)
    with user_errors():
        validate_env_id(config.env, config.engine, config.protocol)
        loaded = None if resume is None else resume.load()
        env = build.build_env(config, "train_env", config.num_envs, streams, threads)
        networks = build.build_networks(config, env, streams, device)
        time_step = encoder_step(networks.network.encoder, env.observation_shape, device)
        precision = decide_precision(config.precision, time_step, config.minibatch_size, device)
        agent = build.build_ppo(config, env, networks, streams, device, precision.autocast_dtype)

    name = f"{config.env}-{config.agent}-{config.objective}-seed{config.seed}"
    where = config.run_dir if resume is None else resume.run_dir
    with RunDir(where, name=name, resume=resume is not None) as directory, Interrupts() as interrupts:
        decided = dataclasses.replace(config, precision=precision.precision)
        command = f"python -m relic_rl.train --config {directory.path / 'config.yaml'}"
        directory.write_config(dump_config(decided, command, [precision.reason]))
        directory.write_versions(device_name(device))
        run = Run(config, env, agent, directory, interrupts, loaded)
        for note in (f"run directory: {directory.path}", precision.reason, *networks.notes):
            run.progress.note(note)
        run.train()
        if interrupts.requested:
            return interrupts.exit_code

        made_by = build.encoder_metadata(config, agent.network.encoder, agent.steps)
        save_encoder(directory.path / "encoder.safetensors", agent.network.encoder, made_by)
        if networks.critic is not None:
            save_critic(directory.path / "critic.safetensors", networks.critic, made_by)
        result = run.record()
        if config.eval_episodes:
            games = play_games(
                build.build_env(config, "eval_env", min(config.eval_episodes, 20), streams, threads),
                agent.policy(streams.torch("evaluation", device)),
                config.eval_episodes,
                record=config.video,
                should_stop=lambda: interrupts.requested,
            )
            if len(games.returns) < config.eval_episodes:  # a signal came
                return interrupts.exit_code
            result["evaluation"] = {"rule": agent.evaluation_rule, "protocol": config.protocol}
            result["evaluation"] |= summarize(games, config.env)
            run.progress.note(
                f"evaluation: mean score {result['evaluation']['mean_return']:.4g} of {config.eval_episodes} games"
            )
            if games.frames is not None:
                write_video(directory.path / "video.mp4", games.frames, fps=VIDEO_FPS, scale=VIDEO_SCALE)
        directory.write_result(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
