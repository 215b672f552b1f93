"""Every option of ``python -m relic_rl.train``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from relic_rl.runtime.config import option

AGENTS = Literal["ppo", "r2d2"]
OBJECTIVES = Literal["none", "augment", "relic", "infonce", "simclr", "byol", "curl", "amdim"]
CONTRASTIVE = ("relic", "infonce", "simclr", "byol", "curl", "amdim")
PPO_ONLY = {"agent": ("ppo",)}
R2D2_ONLY = {"agent": ("r2d2",)}
AUXILIARY_ONLY = {"objective": CONTRASTIVE}
REPLAY_ONLY = (R2D2_ONLY, AUXILIARY_ONLY | {"aux_frames": ("replay",)})
TEMPERED = {"objective": ("relic", "infonce", "simclr")}
RELIC_ONLY = {"objective": ("relic",)}


@dataclass(frozen=True)
class TrainConfig:
    """Train an agent on image observations, its encoder shared with an auxiliary objective (RELIC by default).

    The defaults below hold where neither preset nor command line says otherwise. Without --config the preset
    AGENT-small is used, or AGENT-gpu where there is a GPU (configs/train).
    """

    env: str = option(
        "ALE/Pong-v5",
        "environment: an Atari id, a gymnasium id or module:id, or relic/Catch-v0, relic/Recall-v0",
    )
    agent: AGENTS = option("ppo", "learning algorithm")
    objective: OBJECTIVES = option(
        "relic", "auxiliary objective; augment = none, but the RL loss sees augmented frames"
    )
    encoder: Literal["nature", "impala"] = option("nature", "convolutional encoder, shared by agent and objective")
    encoder_weights: str | None = option(
        None, "weights the encoder starts from: .safetensors, .pth or .ckpt; FILE or FILE#PREFIX"
    )
    freeze_encoder: bool = option(
        False, "leave the encoder as --encoder-weights has it; no auxiliary objective is trained then"
    )
    seed: int = option(0, "seed of every stream of random numbers", min=0)

    # ---- budget and machine
    total_steps: int = option(2_000_000, "agent steps (decisions) over all environments", min=1)
    num_envs: int = option(16, "environments played in parallel", min=1, max=8_192)
    protocol: Literal["v5", "noop"] = option("v5", "Atari protocol: v5 = sticky actions; noop = random no-op starts")
    engine: Literal["envpool", "ale"] = option("envpool", "Atari engine")
    device: str = option("auto", "auto, cpu, cuda or cuda:INDEX")
    precision: Literal["auto", "fp32", "bf16"] = option("auto", "auto: bf16 where a micro-benchmark shows that it pays")
    threads: int = option(0, "CPU threads of torch and of the engine; 0 = all cores", min=0, max=1_024)
    env_timeout: float = option(300.0, "seconds without an answer from the environment that end the run", min=1.0)

    # ---- run directory
    run_dir: str | None = option(
        None, "where everything is written; default runs/ENV-AGENT-OBJECTIVE-SEED-NUMBER", saved=False
    )
    resume: str | None = option(
        None,
        "auto (newest sound checkpoint in --run-dir, else start anew), RUN_DIR or CHECKPOINT",
        saved=False,
    )
    log_every: float = option(10.0, "seconds between lines of progress", min=0.1)
    checkpoint_every: float = option(180.0, "seconds between checkpoints", min=1.0)
    keep_checkpoints: int = option(3, "how many of the newest checkpoints stay", min=1)
    profile: bool = option(False, "once training is warm, write where the time goes to RUN_DIR/profile", saved=False)
    eval_episodes: int = option(20, "whole games of the final evaluation; 0 = none", min=0)
    video: bool = option(True, "write a video of one game of the final evaluation")

    # ---- learning, all agents
    learning_rate: float = option(2.5e-4, "Adam's learning rate (PPO: at the start)", above=0)
    discount: float = option(0.99, "gamma per agent step", min=0, max=1)
    max_grad_norm: float = option(0.5, "limit of the global gradient norm", above=0)
    life_loss: bool = option(False, "a lost life ends the return in training (never the game)")
    overlap: Literal["auto", "on", "off"] = option(
        "auto",
        "learn beside acting, which then lags by a round of updates (PPO: see --overlap-epochs); auto = on with a GPU, "
        "PPO: or with 2 threads",
    )

    # ---- PPO
    num_steps: int = option(128, "PPO: steps of each environment per rollout", min=1, when=PPO_ONLY)
    num_epochs: int = option(4, "PPO: passes over each rollout", min=1, when=PPO_ONLY)
    anneal_epochs: bool = option(False, "PPO: let the passes become fewer, down to 1 at --total-steps", when=PPO_ONLY)
    overlap_epochs: int = option(
        1,
        "PPO: most passes over a rollout that go beside the collecting of the next; with more the two take turns",
        min=1,
        when=PPO_ONLY | {"overlap": ("auto", "on")},
    )
    num_minibatches: int = option(8, "PPO: minibatches per pass", min=1, when=PPO_ONLY)
    warmup: float = option(
        0.0,
        "PPO: share of --total-steps over which the learning rate rises linearly at first",
        min=0,
        max=1,
        when=PPO_ONLY,
    )
    anneal: bool = option(True, "PPO: let the learning rate fall linearly to 0 at --total-steps", when=PPO_ONLY)
    gae_lambda: float = option(0.95, "PPO: lambda of generalised advantage estimation", min=0, max=1, when=PPO_ONLY)
    clip_range: float = option(0.1, "PPO: clip range of the probability ratio and of the value", above=0, when=PPO_ONLY)
    clip_value: bool = option(True, "PPO: clip the value loss", when=PPO_ONLY)
    value_coefficient: float = option(0.5, "PPO: weight of the value loss", min=0, when=PPO_ONLY)
    entropy_coefficient: float = option(0.01, "PPO: weight of the entropy bonus", min=0, when=PPO_ONLY)
    anneal_entropy: bool = option(False, "PPO: let it fall linearly to 0 at --total-steps", when=PPO_ONLY)
    clip_reward: bool = option(True, "PPO: learn from the sign of the reward", when=PPO_ONLY)

    # ---- R2D2
    batch_size: int = option(64, "R2D2: sequences per update", min=1, when=R2D2_ONLY)
    sequence_length: int = option(80, "R2D2: steps of a sequence that are trained on", min=1, when=R2D2_ONLY)
    sequence_overlap: int = option(40, "R2D2: steps shared by neighbouring sequences", min=0, when=R2D2_ONLY)
    burn_in: int = option(40, "R2D2: steps that only prepare the LSTM", min=0, when=R2D2_ONLY)
    n_step: int = option(5, "R2D2: n of the n-step return", min=1, when=R2D2_ONLY)
    steps_per_update: float = option(32.0, "R2D2: agent steps for each update", above=0, when=R2D2_ONLY)
    learning_starts: int = option(
        20_000, "R2D2: observations in the replay before updates begin", min=1, when=R2D2_ONLY
    )
    target_period: int = option(2_500, "R2D2: updates between copies to the target network", min=1, when=R2D2_ONLY)
    lstm_size: int = option(512, "R2D2: units of the LSTM and of each head's hidden layer", min=1, when=R2D2_ONLY)
    adam_epsilon: float = option(1e-3, "R2D2: Adam's epsilon", above=0, when=R2D2_ONLY)
    priority_exponent: float = option(0.9, "R2D2: exponent of the priorities", min=0, when=R2D2_ONLY)
    importance_exponent: float = option(0.6, "R2D2: exponent of the importance weights", min=0, max=1, when=R2D2_ONLY)
    priority_eta: float = option(
        0.9, "R2D2: weight of the largest TD error in a priority, against their mean", min=0, max=1, when=R2D2_ONLY
    )

    # ---- auxiliary objective
    aux_weight: float = option(1.0, "coefficient of the auxiliary loss", min=0, when=AUXILIARY_ONLY)
    aux_batch_size: int = option(64, "frames per evaluation of the auxiliary loss", min=2, when=AUXILIARY_ONLY)
    aux_every: int = option(4, "optimiser steps from one auxiliary loss to the next", min=1, when=AUXILIARY_ONLY)
    aux_frames: Literal["minibatch", "rollout", "replay"] = option(
        "minibatch",
        "its frames: drawn from those of the current update, from the whole rollout (PPO), or from a replay",
        when=AUXILIARY_ONLY,
    )
    aux_spacing: int = option(
        1,
        "R2D2: least number of steps between two of these frames in one sampled sequence",
        min=1,
        when=R2D2_ONLY | AUXILIARY_ONLY | {"aux_frames": ("minibatch",)},
    )
    aux_negatives: Literal["all", "other-episodes"] = option(
        "all",
        "contrast a frame with all others of the batch, or only with those of other episodes (PPO: environments)",
        when={"objective": ("relic", "infonce")},
    )
    contrast_set: Literal["gathered", "local"] = option(
        "gathered",
        "several processes: contrast a frame with those of all processes, or with those of its own only",
        when={"objective": ("relic", "infonce", "simclr", "curl", "amdim")},
    )
    augmentation: str = option(
        "shift,intensity",
        "augmentations of the objective's views, comma separated",
        when={"objective": ("augment", *CONTRASTIVE)},
    )
    critic_layers: Literal[1, 2] = option(2, "layers of the critic g", when=AUXILIARY_ONLY)
    hidden_dim: int = option(
        512,
        "hidden units of a critic of two layers",
        min=1,
        when=AUXILIARY_ONLY | {"critic_layers": (2,)},
    )
    projection_dim: int = option(128, "output dimension of the critic", min=1, when=AUXILIARY_ONLY)
    temperature: float = option(0.1, "tau", above=0, when=TEMPERED)
    learnable_temperature: bool = option(False, "learn log(tau), starting from --temperature", when=TEMPERED)
    alpha: float = option(1.0, "weight of RELIC's invariance penalty; 0 is InfoNCE", min=0, when=RELIC_ONLY)
    divergence: str = option(
        "kl",
        "the penalty's divergence: kl, reverse_kl, symmetric_kl, js, total_variation, hellinger, chi2, renyi(ORDER)",
        when=RELIC_ONLY,
    )
    target: Literal["ema", "online"] = option(
        "ema",
        "h: moving averages of encoder and critic, or the online networks themselves",
        when={"objective": ("relic", "infonce")},
    )
    target_decay: float = option(
        0.99,
        "fraction of the old target kept at each update",
        min=0,
        max=1,
        when={"objective": ("relic", "infonce", "byol", "curl"), "target": ("ema",)},
    )

    # ---- replay of frames: R2D2's, or PPO's with --aux-frames replay
    replay_capacity: int = option(1_000_000, "observations kept", min=1, when=REPLAY_ONLY)
    replay_on_disk: bool = option(
        False, "keep the replay in RUN_DIR/replay, where it survives a restart", when=REPLAY_ONLY
    )
    replay_compressed_gib: float | None = option(
        None, "compress frames losslessly into this many GiB", above=0, when=REPLAY_ONLY
    )

    @property
    def fewest_passes(self) -> int:
        """PPO: passes over a rollout, where they are fewest."""
        return 1 if self.anneal_epochs else self.num_epochs

    @property
    def frames_per_update(self) -> int:
        """Transitions an optimiser step trains on, all that can be."""
        if self.agent == "r2d2":
            return self.batch_size * self.sequence_length
        return self.num_envs * self.num_steps // self.num_minibatches

    def problems(self) -> Iterator[str]:
        """What no single option shows."""
        if self.freeze_encoder and self.encoder_weights is None:
            yield "--freeze-encoder would keep an untrained encoder: give --encoder-weights"
        frames = self.frames_per_update
        spacing = self.aux_spacing  # 1 for PPO
        if self.agent == "ppo" and (frames < 2 or self.num_steps < 2):
            yield (
                f"rollouts of {self.num_envs} x {self.num_steps} steps in --num-minibatches {self.num_minibatches}: "
                "give at least 2 steps, and fewer minibatches so that each holds at least 2 transitions"
            )
        if self.agent == "ppo" and self.overlap == "on" and self.fewest_passes > self.overlap_epochs:
            yield (
                f"--overlap on with --overlap-epochs {self.overlap_epochs} has no effect on rollouts of at least "
                f"{self.fewest_passes} passes: raise --overlap-epochs or give --overlap off"
            )
        if self.agent == "r2d2" and self.sequence_overlap >= self.sequence_length:
            yield (
                f"--sequence-overlap {self.sequence_overlap} must be less than --sequence-length "
                f"{self.sequence_length}: lower it"
            )
        if self.objective not in CONTRASTIVE:
            return
        if self.agent == "r2d2" and self.aux_frames == "rollout":
            yield "--aux-frames rollout belongs to --agent ppo: give minibatch or replay"
        if self.agent == "r2d2" and spacing > self.sequence_length:
            yield f"--aux-spacing {spacing} is more than --sequence-length {self.sequence_length}: lower it"
        elif self.aux_frames == "minibatch" and self.aux_batch_size > frames // spacing:
            yield (
                f"--aux-batch-size {self.aux_batch_size} is more than the {frames // spacing} frames of an update "
                "that can be drawn: lower it"
            )
