"""Builds what ``relic_rl.train`` runs: environment, encoder, objective and agent, each from plain arguments."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from agents.agent import Agent
from agents.auxiliary import AuxiliaryLoss
from agents.networks import ActorCritic
from agents.ppo import PPO
from agents.ppo_frames import AuxiliaryFrames
from agents.ppo_learner import PPOLearner
from agents.ppo_schedule import Schedule
from agents.r2d2 import R2D2
from agents.r2d2_actor import RecurrentActor, epsilon_ladder
from agents.r2d2_learner import R2D2Learner
from agents.r2d2_networks import RecurrentQNetwork
from agents.replay import ReplayGeometry, SequenceLayout, SequenceReplay, persistence
from envs.make import make_vector_env
from envs.types import VectorEnv
from relic_rl.objective_options import objective_from_options
from relic_rl.representation.augmentation import parse_augmentation
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import Encoder, build_encoder
from relic_rl.representation.objectives import Objective
from relic_rl.representation.weights import load_encoder_weights
from relic_rl.runtime.distributed import Processes, gather_numbers
from relic_rl.runtime.seeding import Streams
from relic_rl.train_options import TrainConfig


class Networks(NamedTuple):
    """What is learned."""

    network: ActorCritic | RecurrentQNetwork
    objective: Objective | None
    notes: list[str]  # for the user: what was loaded

    @property
    def critic(self) -> Critic | None:
        """The objective's critic on the encoder's features."""
        return getattr(self.objective, "critic", None)


def build_env(
    config: TrainConfig, stream: str, num_envs: int, streams: Streams, threads: int, *, first_env: int = 0
) -> VectorEnv:
    """Environments for training ("train_env") or evaluation ("eval_env"), which share no seed.

    ``first_env``: index of the first of them, where other processes have those before.
    """
    return make_vector_env(
        config.env,
        num_envs,
        engine=config.engine,
        protocol=config.protocol,
        seed=streams.seed_sequence(stream),
        first_env=first_env,
        num_threads=threads,
    )


def build_networks(config: TrainConfig, env: VectorEnv, streams: Streams, device: torch.device) -> Networks:
    """Encoder, heads and objective, their weights drawn from the "init" stream, the encoder's loaded if asked."""
    channels, height, width = env.observation_shape
    # Layers draw from torch's global generator: it is seeded for their sake and used for nothing else.
    torch.manual_seed(streams.integer("init"))
    encoder = build_encoder(config.encoder, in_channels=channels, image_size=(height, width))
    notes = []
    if config.encoder_weights is not None:
        notes.append(str(load_encoder_weights(config.encoder_weights, encoder)))
    if config.freeze_encoder:
        encoder.requires_grad_(False)
        notes.append("the encoder is frozen: no auxiliary objective is trained with it")
    notes += encoder.lost_by_centring()
    network: ActorCritic | RecurrentQNetwork
    if config.agent == "ppo":
        network = ActorCritic(encoder, env.num_actions)
    else:
        size = config.lstm_size
        network = RecurrentQNetwork(encoder, env.num_actions, state_size=size, hidden_size=size)
    network = network.to(device)
    objective = objective_from_options(config, encoder)
    if objective is not None:
        objective.gathered = config.contrast_set == "gathered"
    return Networks(network, objective, notes)


def own_stream(name: str, processes: Processes) -> str:
    """The name of a stream of random numbers that each process has for itself."""
    return f"{name} of rank {processes.rank}" if processes.are_several else name


def build_auxiliary(
    config: TrainConfig, networks: Networks, streams: Streams, device: torch.device, processes: Processes
) -> AuxiliaryLoss | None:
    """The auxiliary loss that agents add to their own, if the objective has one."""
    if networks.objective is None:
        return None
    return AuxiliaryLoss(
        networks.objective,
        parse_augmentation(config.augmentation),
        streams.torch(own_stream("augmentation", processes), device),
        weight=config.aux_weight,
        batch_size=config.aux_batch_size,
        every=config.aux_every,
    )


def build_ppo(
    config: TrainConfig,
    env: VectorEnv,
    networks: Networks,
    streams: Streams,
    device: torch.device,
    autocast_dtype: torch.dtype | None,
    replay: SequenceReplay | None,
    processes: Processes,
) -> PPO:
    """PPO over the networks, and over a replay of frames where the auxiliary loss draws from one."""
    assert isinstance(networks.network, ActorCritic)
    auxiliary = build_auxiliary(config, networks, streams, device, processes)
    frames = None
    if auxiliary is not None:
        frames = AuxiliaryFrames(
            auxiliary,
            num_envs=env.num_envs,
            source=config.aux_frames,
            replay=replay,
            replay_seed=streams.integer("replay"),
            separate_envs=config.aux_negatives == "other-episodes",
            processes=processes,
        )
    learner = PPOLearner(
        networks.network,
        {
            "minibatch": streams.torch(own_stream("replay", processes), torch.device("cpu")),
            "augmentation": streams.torch(own_stream("augmentation", processes), device),
        },
        num_minibatches=config.num_minibatches,
        clip_range=config.clip_range,
        clip_value=config.clip_value,
        value_coefficient=config.value_coefficient,
        max_grad_norm=config.max_grad_norm,
        frames=frames,
        augmentation=parse_augmentation(config.augmentation) if config.objective == "augment" else None,
        autocast_dtype=autocast_dtype,
        beside_acting=config.overlap == "on",
        threads=learner_threads(config, device),
        processes=processes,
    )
    schedule = Schedule(
        config.total_steps,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        anneal=config.anneal,
        entropy_coefficient=config.entropy_coefficient,
        anneal_entropy=config.anneal_entropy,
        num_epochs=config.num_epochs,
        anneal_epochs=config.anneal_epochs,
    )
    return PPO(
        learner,
        streams.torch("exploration", device),
        schedule,
        num_envs=env.num_envs,
        observation_shape=env.observation_shape,
        num_steps=config.num_steps,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
        clip_reward=config.clip_reward,
        life_loss_ends_return=config.life_loss,
        most_passes_beside=config.overlap_epochs,
    )


def build_r2d2(
    config: TrainConfig,
    env: VectorEnv,
    networks: Networks,
    streams: Streams,
    device: torch.device,
    autocast_dtype: torch.dtype | None,
    replay: SequenceReplay,
    processes: Processes,
) -> R2D2:
    """R2D2 over the networks and a replay."""
    assert isinstance(networks.network, RecurrentQNetwork)
    geometry = replay.geometry
    overlap = config.overlap == "on"
    return R2D2(
        RecurrentActor(
            networks.network.copied() if overlap else networks.network,
            epsilon_ladder(env.num_envs * processes.world_size)[processes.share(env.num_envs * processes.world_size)],
            streams.torch("exploration", device),
            autocast_dtype=autocast_dtype,
            processes=processes,
        ),
        R2D2Learner(
            networks.network,
            geometry.layout,
            geometry.stack,
            streams.torch(own_stream("augmentation", processes), device),
            discount=config.discount,
            learning_rate=config.learning_rate,
            adam_epsilon=config.adam_epsilon,
            target_period=config.target_period,
            eta=config.priority_eta,
            auxiliary=build_auxiliary(config, networks, streams, device, processes),
            auxiliary_spacing=config.aux_spacing,
            separate_episodes=config.aux_negatives == "other-episodes",
            augmentation=parse_augmentation(config.augmentation) if config.objective == "augment" else None,
            autocast_dtype=autocast_dtype,
            max_grad_norm=config.max_grad_norm,
        ),
        replay,
        batch_size=config.batch_size,
        steps_per_update=config.steps_per_update,
        learning_starts=config.learning_starts,
        sampling_seed=streams.integer("replay"),
        life_loss_ends_return=config.life_loss,
        overlap=overlap,
        learner_threads=learner_threads(config, device),
        replayed_frames=config.aux_frames == "replay",
        processes=processes,
    )


def decided(
    config: TrainConfig, precision: Literal["fp32", "bf16"], device: torch.device, threads: int, num_processes: int = 1
) -> TrainConfig:
    """The options with what each ``auto`` has come to.

    Acting and learning overlap beside a GPU, and for PPO, whose rollouts are long enough, on the cores of a CPU; not
    where several processes of PPO would have to agree on the order of the two, nor where all rollouts
    have too many passes.
    """
    overlap = config.overlap
    if overlap == "auto" and config.agent == "r2d2":
        overlap = "on" if device.type == "cuda" else "off"
    elif overlap == "auto":
        allowed = num_processes == 1 and config.fewest_passes <= config.overlap_epochs
        overlap = "on" if allowed and (device.type == "cuda" or threads > 1) else "off"
    return dataclasses.replace(config, precision=precision, overlap=overlap)


def learner_threads(config: TrainConfig, device: torch.device) -> int | None:
    """CPU threads of learning that overlaps; the caller has one from then on. None where they share them.

    Acting gets one since its batches are small. R2D2's learning gets the others; PPO's gets half of all (rounded down,
    but one at least), so that the acting thread can lend it as many whenever it waits.
    """
    if config.overlap != "on" or device.type != "cpu":
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return max(1, threads // 2 if config.agent == "ppo" else threads - 1)


def build_agent(
    config: TrainConfig,
    env: VectorEnv,
    networks: Networks,
    streams: Streams,
    device: torch.device,
    autocast_dtype: torch.dtype | None,
    run_dir: Path,
    processes: Processes,
    *,
    resumed: bool,
) -> Agent:
    """The agent, and its replay if it has one.

    Args:
        config: the options; what processes split between them is this one's part.
        env: this process's environments.
        networks: what is learned.
        streams: of random numbers.
        device: where to compute.
        autocast_dtype: torch.bfloat16 or None.
        run_dir: where a replay on disk is kept.
        processes: this one among all.
        resumed: a replay on disk is opened.
    """
    replay = None
    if config.agent == "r2d2" or (networks.objective is not None and config.aux_frames == "replay"):
        replay = build_replay(config, env, networks.notes, device, run_dir, processes, resumed=resumed)
    if config.agent == "ppo":
        return build_ppo(config, env, networks, streams, device, autocast_dtype, replay, processes)
    assert replay is not None
    return build_r2d2(config, env, networks, streams, device, autocast_dtype, replay, processes)


def build_replay(
    config: TrainConfig,
    env: VectorEnv,
    notes: list[str],
    device: torch.device,
    run_dir: Path,
    processes: Processes,
    *,
    resumed: bool,
) -> SequenceReplay:
    """A replay, or a process's shard of one; ``notes`` get its size.

    It is in memory, or on disk in the run's directory, where a resumed run opens it.
    """
    geometry = replay_geometry(config, env)
    directory = run_dir / replay_folder(processes) if config.replay_on_disk else None
    options: dict[str, Any] = {
        "priority_exponent": config.priority_exponent,
        "importance_exponent": config.importance_exponent,
        "pin_memory": device.type == "cuda",
        "gather": gather_floats if processes.are_several else None,
    }
    notes.append(str(geometry.memory(directory)) + (" for each process" if processes.are_several else ""))
    if directory is not None and resumed and persistence.exists(directory):
        return SequenceReplay.load(directory, geometry, mapped=True, **options)
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)  # half made by a run that was killed before it began
    return SequenceReplay(geometry, directory=directory, **options)


def replay_folder(processes: Processes) -> str:
    """The folder of a process's replay in the run's directory."""
    return f"replay-{processes.rank}-of-{processes.world_size}" if processes.are_several else "replay"


def gather_floats(own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers [K] of each process by rank, [R, K], on all of them."""
    gathered: NDArray[np.float64] = gather_numbers(torch.from_numpy(own)).numpy()
    return gathered


def replay_geometry(config: TrainConfig, env: VectorEnv) -> ReplayGeometry:
    """Size and shape of the replay; PPO's holds single steps without LSTM states."""
    compressed = config.replay_compressed_gib
    layout = SequenceLayout(1, overlap=0, burn_in=0, n_step=1)
    if config.agent == "r2d2":
        layout = SequenceLayout(config.sequence_length, config.sequence_overlap, config.burn_in, config.n_step)
    return ReplayGeometry(
        num_envs=env.num_envs,
        observation_shape=env.observation_shape,
        capacity=config.replay_capacity,
        stack=env.stack,
        state_size=config.lstm_size if config.agent == "r2d2" else 0,
        layout=layout,
        compressed_bytes=None if compressed is None else round(compressed * 2**30),
    )


def encoder_metadata(config: TrainConfig, encoder: Encoder, steps: int) -> dict[str, Any]:
    """What made the weights, as their file tells it: no time, no path, no run name."""
    return {
        "encoder": config.encoder,
        "in_channels": encoder.in_channels,
        "image_size": list(encoder.image_size),
        "feature_dim": encoder.feature_dim,
        "env": config.env,
        "agent": config.agent,
        "objective": config.objective,
        "seed": config.seed,
        "agent_steps": steps,
    }
