"""Scripted environments, tiny networks and spies: what isolates PPO from everything it is used with."""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from agents.auxiliary import AuxiliaryLoss
from agents.networks import ActorCritic
from agents.ppo import PPO
from agents.ppo_frames import AuxiliaryFrames
from agents.ppo_learner import PPOLearner
from agents.ppo_schedule import Schedule
from envs.types import EnvStep
from relic_rl.representation.encoders import Encoder
from relic_rl.representation.objectives import ObjectiveOutput
from relic_rl.runtime.distributed import Processes

SHAPE = (1, 4, 4)


class Game(NamedTuple):
    length: int
    truncated: bool = False


MIXED = [
    [Game(3), Game(4, truncated=True)],
    [Game(5, truncated=True), Game(1)],
    [Game(100)],
    [Game(1, truncated=True), Game(2), Game(6)],
]
"""Games of four environments: both kinds of end, games of one step, one that outlasts every rollout."""


class ScriptedEnv:
    """Environment i plays ``games[i]`` in turn; every image is unique and its first pixel is i.

    A life of three is lost at every second step. Rewards are integers from -3 to 3, zeros included.
    """

    num_actions = 3
    observation_shape = SHAPE
    frame_skip = 1

    def __init__(self, games=MIXED, seed=0, invented_reward=0.0, first=0):
        self.games = games
        self.num_envs = len(games)
        self.seed = seed
        self.invented_reward = invented_reward
        self.first = first  # index of the first environment
        self.episode = [0] * self.num_envs
        self.time = [0] * self.num_envs
        self.total = [0.0] * self.num_envs
        self.over = [False] * self.num_envs

    def reset(self):
        return self._pack([self._row(i, invented=True) for i in range(self.num_envs)])

    def step(self, actions):
        assert actions.shape == (self.num_envs,)
        assert actions.dtype == np.int64
        return self._pack([self._advance(i) for i in range(self.num_envs)])

    def close(self):
        pass

    def _advance(self, i):
        if self.over[i]:
            self.episode[i] += 1
            self.time[i] = 0
            self.total[i] = 0.0
            self.over[i] = False
            return self._row(i, invented=True)
        self.time[i] += 1
        return self._row(i, invented=False)

    def _row(self, i, invented):
        game = self.games[i][self.episode[i] % len(self.games[i])]
        rng = np.random.default_rng((self.seed, self.first + i, self.episode[i], self.time[i]))
        image = rng.integers(0, 256, SHAPE, dtype=np.uint8)
        image[0, 0, 0] = self.first + i
        reward = self.invented_reward if invented else float(rng.integers(-3, 4))
        self.total[i] += 0.0 if invented else reward
        self.over[i] = not invented and self.time[i] == game.length
        terminated = self.over[i] and not game.truncated
        return {
            "observation": image,
            "reward": np.float32(reward),
            "terminated": terminated,
            "truncated": self.over[i] and game.truncated,
            "lives": np.int32(0 if terminated else max(1, 3 - self.time[i] // 2)),
            "invented": invented,
            "episode_return": np.float32(self.total[i] if self.over[i] else np.nan),
            "episode_length": np.int64(self.time[i] if self.over[i] else 0),
        }

    def _pack(self, rows):
        return EnvStep(*(np.stack([row[name] for row in rows]) for name in EnvStep._fields))


class TinyEncoder(Encoder):
    """tanh of a linear map of the pixels, uint8 or float in [0, 1]."""

    feature_dim = 8
    input_weight = "linear.weight"

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(int(np.prod(SHAPE)), self.feature_dim)

    def feature_maps(self, images):
        raise AssertionError("it has none")

    def forward(self, images):
        pixels = images.flatten(1)
        return torch.tanh(self.linear(pixels if pixels.is_floating_point() else pixels.float() / 255))


class SpyObjective(nn.Module):
    """A smooth loss with a head of its own; remembers what it was called with.

    ``nan_at``: numbers of the calls (from 0) whose loss is not a number; ``infinite_at``: whose loss is infinite, while
    its gradient is not.
    """

    def __init__(self, nan_at=(), infinite_at=()):
        super().__init__()
        torch.manual_seed(99)  # the same head every time
        self.head = nn.Linear(TinyEncoder.feature_dim, 3)
        self.nan_at = nan_at
        self.infinite_at = infinite_at
        self.views = []
        self.groups = []
        self.updates = []  # copies of the encoder's weight, one per call of update_target

    def forward(self, encoder, views, groups=None):
        factor = float("nan") if len(self.views) in self.nan_at else 1.0
        more = float("inf") if len(self.views) in self.infinite_at else 0.0
        self.views.append([view.clone() for view in views])
        self.groups.append(groups)
        first, second = (self.head(encoder(view)) for view in views)
        loss = factor * ((first - second.roll(1, 0)).square().mean() + first.square().mean()) + more
        return ObjectiveOutput(loss, {"calls": torch.tensor(float(len(self.views)))})

    def update_target(self, encoder):
        self.updates.append(encoder.linear.weight.detach().clone())


def plain(images, generator):
    """The augmentation that changes nothing."""
    return images


def generators(seed=0):
    return {
        name: torch.Generator().manual_seed(1000 * seed + i)
        for i, name in enumerate(("action", "minibatch", "augmentation"))
    }


def make_network(seed=0, num_actions=ScriptedEnv.num_actions):
    torch.manual_seed(seed)
    network = ActorCritic(TinyEncoder(), num_actions)
    # Away from the near-uniform policy of the initialisation, where most of the loss is flat.
    nn.init.normal_(network.policy.weight, std=0.7)
    return network


def make_auxiliary(objective, *, weight=1.0, batch_size=6, every=1, augmentation=plain, generator=None):
    return AuxiliaryLoss(
        objective,
        augmentation,
        generator or torch.Generator().manual_seed(7),
        weight=weight,
        batch_size=batch_size,
        every=every,
    )


def make_ppo(*, seed=0, network=None, auxiliary=None, overlap=False, **options):
    """An agent; each option goes to the part that has it."""
    streams = options.pop("generators", None) or generators(seed)

    def take(*names, **defaults):
        return defaults | {name: options.pop(name) for name in (*names, *defaults) if name in options}

    processes = options.pop("processes", Processes())
    schedule = Schedule(**take(*Schedule._fields, total_steps=1_000, learning_rate=1e-2, num_epochs=2))
    num_envs = options.pop("num_envs", len(MIXED))
    of_frames = take("replay", "replay_seed", "separate_envs")
    source = options.pop("auxiliary_frames", "minibatch")
    frames = None
    if auxiliary is not None:
        frames = AuxiliaryFrames(auxiliary, num_envs=num_envs, source=source, processes=processes, **of_frames)
    names = ("clip_range", "clip_value", "value_coefficient", "max_grad_norm", "augmentation", "autocast_dtype")
    learner = PPOLearner(
        network or make_network(seed),
        {name: streams[name] for name in ("minibatch", "augmentation")},
        frames=frames,
        beside_acting=overlap,
        processes=processes,
        **take(*names, num_minibatches=3),
    )
    defaults = {"num_envs": num_envs, "observation_shape": SHAPE, "num_steps": 12, "most_passes_beside": 4}
    return PPO(learner, streams["action"], schedule, **(defaults | options))


class Decision(NamedTuple):
    before: EnvStep
    action: np.ndarray
    after: EnvStep


def collect(agent, env, step):
    """Fill one rollout; its decisions and the last step. ``learn`` remains to be called."""
    trace = []
    while not agent.rollout.full:
        action = agent.act(step)
        after = env.step(action)
        agent.observe(after)
        trace.append(Decision(step, action, after))
        step = after
    return trace, step


def train(agent, env, step, iterations):
    """The last step and the metrics of each iteration."""
    history = []
    for _ in range(iterations):
        _, step = collect(agent, env, step)
        history.append(agent.learn())
    return step, history


def keys(images):
    """One hashable key per image, of an array or a tensor; those of ``ScriptedEnv`` are unique."""
    return [bytes(image) for image in np.asarray(images)]


def real_keys(trace):
    """Keys of the observations of all transitions that happened."""
    return [key for decision in trace for key in keys(decision.before.observation[~decision.after.invented])]


def weights(agent):
    """A copy of every optimised parameter, in one vector."""
    return torch.cat([p.detach().flatten().clone() for p in agent.learner.parameters])


def spy_on_gradients(agent):
    """The list that the gradients of every step, as the optimiser sees them, will be added to."""
    seen = []
    agent.learner.optimizer.register_step_pre_hook(
        lambda *_: seen.append([None if p.grad is None else p.grad.clone() for p in agent.learner.parameters])
    )
    return seen
