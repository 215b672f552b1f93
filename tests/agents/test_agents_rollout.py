"""The rollout: what is stored, what leaves it, and what auto-reset invents and nobody may learn from."""

import numpy as np
import pytest
import torch
from ppo_fakes import MIXED, SHAPE, ScriptedEnv

from agents.rollout import PPOBatch, Rollout, take

T, N = 12, len(MIXED)
ARGUMENTS = {"discount": 0.9, "lambda_": 0.8}


def fill(env, seed=0, clip_reward=True):
    """A rollout of random decisions, the steps it saw, the values [T + 1, N], and what ``finish`` gave."""
    generator = torch.Generator().manual_seed(seed)
    rollout = Rollout(T, N, SHAPE, torch.device("cpu"))
    step = env.reset()
    steps, values = [step], []
    for _ in range(T):
        assert not rollout.full
        action = torch.randint(0, 3, (N,), generator=generator)
        values.append(torch.randn(N, generator=generator))
        log_prob = -torch.rand(N, generator=generator)
        rollout.add_decision(torch.from_numpy(step.observation), action, log_prob, values[-1])
        step = env.step(action.numpy())
        rollout.add_outcome(step, step.terminated)
        steps.append(step)
    assert rollout.full
    values.append(torch.randn(N, generator=generator))
    batch, happened = rollout.finish(values[-1], clip_reward=clip_reward, **ARGUMENTS)
    assert not rollout.full
    return rollout, steps, torch.stack(values), batch, happened


def slow_advantages(steps, values, clip_reward):
    """Game by game, from the end: {(t, i): advantage} of the transitions that happened."""
    advantages = {}
    for i in range(N):
        later = 0.0
        for t in reversed(range(T)):
            after = steps[t + 1]
            if after.invented[i]:
                continue
            reward = float(after.reward[i])
            if clip_reward:
                reward = (reward > 0) - (reward < 0)
            following = 0.0 if after.terminated[i] else 0.9 * values[t + 1, i].item()
            if after.terminated[i] or after.truncated[i]:
                later = 0.0
            later = reward + following - values[t, i].item() + 0.9 * 0.8 * later
            advantages[t, i] = later
    return advantages


@pytest.mark.parametrize("clip_reward", [True, False])
def test_advantages_of_what_happened_agree_with_a_slow_walk(clip_reward):
    _, steps, values, batch, happened = fill(ScriptedEnv(), clip_reward=clip_reward)
    slow = slow_advantages(steps, values, clip_reward)
    for kind in ("terminated", "truncated", "invented"):
        assert sum(getattr(step, kind).sum() for step in steps[1:-1]) >= 3
    assert happened.tolist() == [t * N + i for t in range(T) for i in range(N) if (t, i) in slow]
    for index in happened.tolist():
        t, i = divmod(index, N)
        assert batch.advantage[index].item() == pytest.approx(slow[t, i], abs=1e-5)
        assert batch.return_[index].item() == pytest.approx(slow[t, i] + values[t, i].item(), abs=1e-5)


def test_rows_of_the_batch_belong_together():
    rollout, steps, values, batch, _ = fill(ScriptedEnv())
    for index in range(T * N):
        t, i = divmod(index, N)
        assert torch.equal(batch.observation[index], torch.from_numpy(steps[t].observation[i]))
        assert batch.action[index] == rollout.action[t, i]
        assert batch.log_prob[index] == rollout.log_prob[t, i]
        assert batch.value[index] == values[t, i]
        assert batch.env[index] == i


def test_a_truncated_game_bootstraps_from_its_true_final_observation():
    _, steps, values, batch, _ = fill(ScriptedEnv())
    seen = 0
    for t in range(T):
        for i in np.flatnonzero(steps[t + 1].truncated):
            sign = np.sign(steps[t + 1].reward[i])
            # The final observation is the one shown at t + 1, where the decision is thrown away.
            target = sign + 0.9 * values[t + 1, i].item()
            assert batch.return_[t * N + i].item() == pytest.approx(target, abs=1e-6)
            seen += 1
    assert seen >= 3


def test_invented_rewards_change_nothing():
    _, _, _, plain, happened = fill(ScriptedEnv())
    _, _, _, poisoned, same = fill(ScriptedEnv(invented_reward=1e30), clip_reward=False)
    _, _, _, unclipped, _ = fill(ScriptedEnv(), clip_reward=False)
    assert torch.equal(happened, same)
    assert poisoned.advantage.abs().max() > 1e29
    assert torch.equal(poisoned.advantage[happened], unclipped.advantage[happened])
    assert not torch.equal(plain.advantage[happened], unclipped.advantage[happened])


def test_a_second_rollout_forgets_the_first():
    rollout, *_ = fill(ScriptedEnv())
    fresh = Rollout(T, N, SHAPE, torch.device("cpu"))
    generator = torch.Generator().manual_seed(5)
    env = ScriptedEnv(MIXED[::-1], seed=9)
    step = env.reset()
    for _ in range(T):
        action = torch.randint(0, 3, (N,), generator=generator)
        value, log_prob = torch.randn(N, generator=generator), torch.randn(N, generator=generator)
        after = env.step(action.numpy())
        for target in (rollout, fresh):
            target.add_decision(torch.from_numpy(step.observation), action, log_prob, value)
            target.add_outcome(after, after.terminated)
        step = after
    one, one_happened = rollout.finish(torch.ones(N), clip_reward=True, **ARGUMENTS)
    other, other_happened = fresh.finish(torch.ones(N), clip_reward=True, **ARGUMENTS)
    assert torch.equal(one_happened, other_happened)
    assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_a_full_rollout_takes_no_more():
    rollout = Rollout(2, N, SHAPE, torch.device("cpu"))
    step = ScriptedEnv().reset()
    zeros = torch.zeros(N)
    for _ in range(2):
        rollout.add_decision(torch.from_numpy(step.observation), zeros.long(), zeros, zeros)
        rollout.add_outcome(step, step.terminated)
    with pytest.raises(IndexError):
        rollout.add_decision(torch.from_numpy(step.observation), zeros.long(), zeros, zeros)


def test_take_picks_rows_of_every_field():
    fields = {name: torch.arange(10) * (k + 1) for k, name in enumerate(PPOBatch._fields)}
    index = torch.tensor([7, 0, 7])
    taken = take(PPOBatch(**fields), index)
    for k, value in enumerate(taken):
        assert value.tolist() == [7 * (k + 1), 0, 7 * (k + 1)]
