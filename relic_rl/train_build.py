"""Builds what ``relic_rl.train`` runs: environment, encoder, objective and agent, each from plain arguments."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from agents.auxiliary import AuxiliaryLoss
from agents.networks import ActorCritic
from agents.ppo import PPO
from envs.make import make_vector_env
from envs.types import VectorEnv
from relic_rl.representation.augmentation import parse_augmentation
from relic_rl.representation.critic import Critic
from relic_rl.representation.encoders import Encoder, build_encoder
from relic_rl.representation.objectives import Objective, build_objective
from relic_rl.representation.objectives.build import OBJECTIVE_OPTIONS
from relic_rl.representation.weights import load_encoder_weights
from relic_rl.runtime.guard import GradientGuard
from relic_rl.runtime.seeding import Streams
from relic_rl.train_options import TrainConfig


class Networks(NamedTuple):
    """What is learned."""

    network: ActorCritic
    objective: Objective | None
    notes: list[str]  # for the user: what was loaded

    @property
    def critic(self) -> Critic | None:
        """The objective's critic on the encoder's features."""
        return getattr(self.objective, "critic", None)


def build_env(config: TrainConfig, stream: str, num_envs: int, streams: Streams, threads: int) -> VectorEnv:
    """Environments for training ("train_env") or evaluation ("eval_env"), which share no seed."""
    return make_vector_env(
        config.env,
        num_envs,
        engine=config.engine,
        protocol=config.protocol,
        seed=streams.seed_sequence(stream),
        num_threads=threads,
    )


def build_networks(config: TrainConfig, env: VectorEnv, streams: Streams, device: torch.device) -> Networks:
    """Encoder, heads and objective, their weights drawn from the "init" stream, the encoder's loaded if asked."""
    channels, *size = env.observation_shape
    # Layers draw from torch's global generator: it is seeded for their sake and used for nothing else.
    torch.manual_seed(streams.integer("init"))
    encoder = build_encoder(config.encoder, in_channels=channels, image_size=(size[0], size[1]))
    notes = []
    if config.encoder_weights is not None:
        notes.append(str(load_encoder_weights(config.encoder_weights, encoder)))
    network = ActorCritic(encoder, env.num_actions).to(device)
    used = OBJECTIVE_OPTIONS[config.objective]
    options: dict[str, Any] = {name: getattr(config, name) for name in used if hasattr(config, name)}
    if config.target == "online":
        options.pop("target_decay", None)
    objective = build_objective(
        config.objective,
        encoder,
        projection_dim=config.projection_dim,
        hidden_dim=config.hidden_dim,
        critic_layers=config.critic_layers,
        **options,
    )
    return Networks(network, objective, notes)


def build_ppo(
    config: TrainConfig,
    env: VectorEnv,
    networks: Networks,
    streams: Streams,
    device: torch.device,
    autocast_dtype: torch.dtype | None,
) -> PPO:
    """PPO over the networks."""
    augmentation_stream = streams.torch("augmentation", device)
    augmentation = parse_augmentation(config.augmentation)
    auxiliary = None
    if networks.objective is not None:
        auxiliary = AuxiliaryLoss(
            networks.objective,
            augmentation,
            augmentation_stream,
            weight=config.aux_weight,
            batch_size=config.aux_batch_size,
            every=config.aux_every,
        )
    return PPO(
        networks.network,
        num_envs=env.num_envs,
        observation_shape=env.observation_shape,
        generators={
            "action": streams.torch("exploration", device),
            "minibatch": streams.torch("replay", torch.device("cpu")),
            "augmentation": augmentation_stream,
        },
        total_steps=config.total_steps,
        num_steps=config.num_steps,
        num_epochs=config.num_epochs,
        num_minibatches=config.num_minibatches,
        learning_rate=config.learning_rate,
        anneal=config.anneal,
        discount=config.discount,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        clip_value=config.clip_value,
        value_coefficient=config.value_coefficient,
        entropy_coefficient=config.entropy_coefficient,
        clip_reward=config.clip_reward,
        life_loss_ends_return=config.life_loss,
        auxiliary=auxiliary,
        auxiliary_frames=config.aux_frames,
        separate_envs=config.aux_negatives == "other-envs",
        augmentation=augmentation if config.objective == "augment" else None,
        autocast_dtype=autocast_dtype,
        guard=GradientGuard(config.max_grad_norm),
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
