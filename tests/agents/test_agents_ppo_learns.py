"""PPO learns: a policy that must look at its images earns nearly all there is, with RELIC and without."""

import numpy as np
import pytest
import torch
from ppo_fakes import SHAPE, collect, make_auxiliary, make_network, make_ppo
from torch import nn

from envs.types import EnvStep
from relic_rl.representation.critic import Critic
from relic_rl.representation.objectives import RelicObjective


class Signs:
    """Games of four steps; the brightest of three rows names the action that earns 1, any other costs 1."""

    num_actions = 3
    frame_skip = 1
    observation_shape = SHAPE
    num_envs = 8

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def reset(self):
        self.time = np.zeros(self.num_envs, dtype=int)
        return self._pack(np.zeros(self.num_envs), np.ones(self.num_envs, dtype=bool))

    def step(self, actions):
        invented = self.time == 4
        reward = np.where(invented, 0, np.where(actions == self.answer, 1, -1))
        self.time = np.where(invented, 0, self.time + 1)
        return self._pack(reward, invented)

    def _pack(self, reward, invented):
        n = self.num_envs
        self.answer = self.rng.integers(3, size=n)
        image = self.rng.integers(0, 128, (n, *SHAPE), dtype=np.uint8)
        image[np.arange(n), 0, self.answer] += 127
        nothing = np.zeros(n, dtype=bool)
        return EnvStep(
            observation=image,
            reward=reward.astype(np.float32),
            terminated=self.time == 4,
            truncated=nothing,
            lives=np.zeros(n, dtype=np.int32),
            invented=invented,
            episode_return=np.full(n, np.nan, dtype=np.float32),
            episode_length=np.zeros(n, dtype=np.int64),
        )


@pytest.mark.parametrize(("with_auxiliary", "overlap"), [(False, False), (True, False), (True, True)])
def test_learns_to_read_signs(with_auxiliary, overlap):
    torch.manual_seed(0)
    network = make_network()
    nn.init.orthogonal_(network.policy.weight, 0.01)
    auxiliary = None
    if with_auxiliary:
        critic = Critic(network.encoder.feature_dim, layers=2, hidden_dim=16, out_dim=8)
        auxiliary = make_auxiliary(RelicObjective(network.encoder, critic), weight=0.1, batch_size=32)
    agent = make_ppo(
        network=network,
        num_envs=8,
        num_steps=32,
        num_minibatches=4,
        num_epochs=4,
        total_steps=20_000,
        auxiliary=auxiliary,
        overlap=overlap,
    )
    env = Signs()
    step = env.reset()
    for _ in range(25):
        trace, step = collect(agent, env, step)
        agent.learn()
    happened = ~np.stack([decision.after.invented for decision in trace])
    rewards = np.stack([decision.after.reward for decision in trace])[happened]
    assert rewards.mean() > 0.8  # chance: -1/3
