"""The evaluation policy of PPO samples what the network says, from its own stream."""

from contextlib import nullcontext

import numpy as np
import torch
from ppo_fakes import ScriptedEnv, make_network

from agents.policies import sample_categorical, sampling_policy


def test_actions_follow_the_policy():
    network = make_network()
    step = ScriptedEnv().reset()
    policy = sampling_policy(network, torch.Generator().manual_seed(1), nullcontext)
    draws = np.stack([policy(step) for _ in range(4_000)])
    assert draws.dtype == np.int64
    frequencies = np.stack([(draws == a).mean(0) for a in range(3)], axis=1)
    expected = network(torch.from_numpy(step.observation)).logits.softmax(-1).detach().numpy()
    assert np.ptp(expected) > 0.2  # far from uniform
    assert np.abs(frequencies - expected).max() < 0.03  # four standard deviations


def test_the_stream_is_its_own():
    network = make_network()
    step = ScriptedEnv().reset()
    runs = []
    for seed in (1, 1, 2):
        policy = sampling_policy(network, torch.Generator().manual_seed(seed), nullcontext)
        before = torch.get_rng_state()
        runs.append(np.stack([policy(step) for _ in range(30)]))
        assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_a_row_that_is_not_finite_draws_any_action_and_disturbs_no_other():
    log_probs = torch.tensor([[0.0, -torch.inf, -torch.inf], [torch.nan] * 3, [torch.inf, 0.0, torch.nan]])
    drawn = torch.stack([sample_categorical(log_probs, torch.Generator().manual_seed(i)) for i in range(50)])
    assert (drawn[:, 0] == 0).all()
    assert set(drawn[:, 1:].flatten().tolist()) == {0, 1, 2}
