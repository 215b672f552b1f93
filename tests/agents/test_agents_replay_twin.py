"""Replay against a twin made of lists, under thousands of random operations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from naive_replay import NaiveReplay, Stream

from agents.replay import ReplayError, ReplayGeometry, SequenceLayout, SequenceReplay, stack_frames

LAYOUTS = {
    "paper's proportions": SequenceLayout(length=8, overlap=4, burn_in=4, n_step=3),
    "burn-in not a multiple of the stride": SequenceLayout(length=9, overlap=3, burn_in=4, n_step=1),
    "no burn-in, no overlap": SequenceLayout(length=5, overlap=0, burn_in=0, n_step=2),
    "long burn-in, long n": SequenceLayout(length=4, overlap=2, burn_in=6, n_step=7),
}


def make_geometry(layout: SequenceLayout, *, stack: int, compressed: bool) -> ReplayGeometry:
    geometry = ReplayGeometry(3, (2 * stack, 5, 3), 3 * 70, stack, 4, layout)
    if not compressed:
        return geometry
    return ReplayGeometry(
        3, (2 * stack, 5, 3), 3 * 70, stack, 4, layout, compressed_bytes=geometry.least_compressed_bytes
    )


def compare_batch(replay: SequenceReplay, twin: NaiveReplay, rng: np.random.Generator) -> None:
    batch = replay.sample(4, rng)
    geometry = replay.geometry
    observation = stack_frames(batch.frames, geometry.stack).numpy()
    alive = twin.alive(replay.summary().oldest)
    probability = {key: twin.priority[key] ** twin.alpha for key in alive}
    weights = []
    for b, number in enumerate(batch.sequence.tolist()):
        start, env = divmod(number, geometry.num_envs)
        assert (env, start) in alive
        want = twin.sequence(env, start)
        for t, image in enumerate(want["observation"]):
            if image is not None:
                np.testing.assert_array_equal(observation[t, b], image)
        for name, got in {
            "action": batch.action_tm1,
            "reward": batch.reward_t,
            "ends_return": batch.ends_return_t,
            "last": batch.ends_episode_t,
            "valid": batch.valid,
        }.items():
            np.testing.assert_array_equal(got[:, b].numpy(), want[name], err_msg=name)
        assert batch.begin[b] == want["begin"]
        assert batch.episode[b] == want["episode"]
        np.testing.assert_array_equal(batch.state[:, b].numpy(), want["state"])
        weights.append(probability[env, start] ** -twin.beta)
    np.testing.assert_allclose(batch.weight.numpy(), np.array(weights) / max(weights), rtol=1e-5)


def compare_observations(replay: SequenceReplay, twin: NaiveReplay, rng: np.random.Generator) -> None:
    drawn = replay.sample_observations(6, rng)
    for image, group in zip(drawn.images.numpy(), drawn.group.tolist(), strict=True):
        first, env = divmod(group, replay.geometry.num_envs)
        begin, last, _ = next(e for e in twin.episodes(env) if e[0] == first)
        assert any(np.array_equal(image, row["observation"]) for row in twin.rows[env][begin : last + 1])


def compare_sequences(replay: SequenceReplay, twin: NaiveReplay) -> None:
    """The same sequences, with the same priorities."""
    leaves = replay._sampler.tree.leaves
    leaf = np.flatnonzero(leaves)
    start, env = replay._start(leaf)
    got = {(int(e), int(s)): p for e, s, p in zip(env, start, leaves[leaf] ** (1 / twin.alpha), strict=True)}
    alive = twin.alive(replay.summary().oldest)
    assert got.keys() == alive
    for key in alive:
        assert got[key] == pytest.approx(twin.priority[key], rel=1e-9)


@pytest.mark.parametrize(("kind", "stack"), [("memory", 3), ("disk", 1), ("compressed", 1), ("compressed on disk", 3)])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_random_operations(layout: SequenceLayout, kind: str, stack: int, tmp_path: Path) -> None:
    geometry = make_geometry(layout, stack=stack, compressed="compressed" in kind)
    directory = tmp_path / "replay" if "disk" in kind else None
    replay = SequenceReplay(geometry, directory=directory)
    twin = NaiveReplay(geometry)
    rng = np.random.default_rng(1)
    stream = Stream(geometry, seed=0, mean_length=20)
    seen: list[int] = []
    sampled = 0
    for _ in range(300):
        operation = rng.random()
        if operation < 0.6:
            restart = rng.random() < 0.01
            step, action, state = stream.step(restart=restart)
            ends_return = step.terminated | (~step.invented & (rng.random(3) < 0.1))  # a life lost, now and then
            replay.add(step, action, torch.from_numpy(state), ends_return)
            twin.add(step, action, state, ends_return)
        elif replay.num_sequences == 0:
            with pytest.raises(ReplayError, match="no complete sequence"):
                replay.sample(1, rng)
        elif operation < 0.8:
            compare_batch(replay, twin, rng)
            sampled += 1
        elif operation < 0.99:
            batch = replay.sample(4, rng)
            seen = [*seen, *batch.sequence.tolist()][-200:]
            chosen = np.unique(rng.choice(seen, 4))  # some of them are gone by now
            priority = rng.random(len(chosen)) * 5
            replay.update_priorities(torch.from_numpy(chosen), torch.from_numpy(priority))
            alive = twin.alive(replay.summary().oldest)
            for number, p in zip(chosen.tolist(), priority, strict=True):
                start, env = divmod(number, geometry.num_envs)
                if (env, start) in alive:
                    twin.priority[env, start] = max(p, 1e-6)
                    twin.largest = max(twin.largest, p)
            compare_observations(replay, twin, rng)
            compare_sequences(replay, twin)
        else:
            home = directory or tmp_path / "saved"
            replay.save(home)
            replay = SequenceReplay.load(home, geometry, mapped=directory is not None)
            compare_sequences(replay, twin)
    assert sampled > 40
    assert replay.position > 2 * (replay.position - replay.summary().oldest)  # wrapped around more than once
    replay.self_check(replay.summary())
    if "compressed" not in kind:
        assert replay.position - replay.summary().oldest == geometry.rows
