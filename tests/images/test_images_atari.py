"""Frames of Atari games: what the agent sees, with labels from the memory of that very moment."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from envs.atari_games import GAMES
from envs.make import make_vector_env
from envs.toy import TOYS
from relic_rl.images.atari_frames import collect_frames, label_frames, random_policy
from relic_rl.images.ram_labels import annotated_games, ram_variables
from relic_rl.images.store import load_images, save_images, stored_or_made


def frames(game: str, count: int, seed: int = 0, envs: int = 3):
    env = make_vector_env(f"ALE/{game.title().replace('_', '')}-v5", envs, seed=seed, num_threads=1)
    policy = random_policy(env.num_actions, np.random.SeedSequence(seed))
    collected = collect_frames(game, env, policy, count, every=4)
    env.close()
    return collected


def test_every_annotated_game_is_one_of_ours() -> None:
    names = {game.replace("_", "") for game in GAMES}
    assert len(annotated_games()) == 24
    assert set(annotated_games()) <= names
    assert annotated_games()["pong"]["ball_x"] == 49
    assert all(0 <= byte < 128 for variables in annotated_games().values() for byte in variables.values())


def test_frames_are_the_environment_s_and_labels_are_of_their_moment() -> None:
    """Played again step by step: the same observations, and RAM that agrees with the picture."""
    collected = frames("pong", 60)
    assert collected.images.shape == (60, 4, 84, 84)
    assert collected.ram is not None
    env = make_vector_env("ALE/Pong-v5", 3, seed=0, num_threads=1)
    policy = random_policy(env.num_actions, np.random.SeedSequence(0))
    step = env.reset()
    expected = []
    for number in range(80):
        expected += [(step.observation[i], env.ram[i]) for i in range(3) if number % 4 == i]
        step = env.step(policy(step))
    env.close()
    for (image, ram), found, memory in zip(expected, collected.images, collected.ram, strict=False):
        assert np.array_equal(found, image)
        assert np.array_equal(memory, ram)


def test_ram_says_where_the_paddle_is() -> None:
    collected = frames("pong", 240)
    height = ram_variables("pong", collected.ram)["player_y"]
    column = collected.images[:, -1, 14:78, 73:76].astype(float).mean(axis=2)
    seen = np.array([np.abs(c - np.median(c)) @ np.arange(64) / max(np.abs(c - np.median(c)).sum(), 1) for c in column])
    moving = height > 40  # the paddle is in view
    assert moving.sum() > 100
    assert np.corrcoef(seen[moving], height[moving])[0, 1] > 0.9


def test_several_games_in_one_set() -> None:
    parts = [frames("pong", 12), frames("breakout", 9, seed=1)]
    images = label_frames(parts, np.random.default_rng(0))
    assert images.images.shape == (21, 4, 84, 84)
    assert images.primary == "game"
    assert np.bincount(images.labels["game"]).tolist() == [12, 9]
    for game, name in enumerate(("pong", "breakout")):
        ball = images.labels[f"{name}.ball_x"]
        assert np.array_equal(ball >= 0, images.labels["game"] == game)
    expected = sorted(parts[0].ram[:, 49].tolist())
    assert sorted(images.labels["pong.ball_x"][images.labels["game"] == 0].tolist()) == expected
    # Pixels moved along with their labels.
    first = parts[1].images.reshape(9, -1).astype(int).sum(axis=1)
    where = images.labels["game"] == 1
    for image, paddle in zip(images.images[where], images.labels["breakout.player_x"][where], strict=True):
        source = np.flatnonzero(first == image.astype(int).sum())
        assert paddle in parts[1].ram[source, annotated_games()["breakout"]["player_x"]]


def test_frames_know_their_episode() -> None:
    """Catch's games have one length, and its first frame shows the ball in the top row."""
    env = TOYS["relic/Catch-v0"]([1, 2])
    collected = collect_frames("catch", env, random_policy(env.num_actions, np.random.SeedSequence(0)), 60, every=1)
    first = np.array([image[-1, :8].any() for image in collected.images]).reshape(-1, 2)  # step by step, two games
    expected = np.empty_like(first, dtype=np.int64)
    playing, begun = [0, 1], 2
    for number, starts in enumerate(first):
        for i in range(2):
            if number and starts[i] and not first[number - 1, i]:
                playing[i], begun = begun, begun + 1
            expected[number, i] = playing[i]
    assert begun > 4
    assert collected.episode.tolist() == expected.flatten().tolist()


def test_one_long_episode_is_cut_into_stretches() -> None:
    env = make_vector_env("ALE/Pong-v5", 1, seed=0, num_threads=1)
    collected = collect_frames("pong", env, random_policy(env.num_actions, np.random.SeedSequence(0)), 20, every=1)
    env.close()
    assert collected.episode.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4


def test_episodes_are_groups_of_the_whole_set() -> None:
    parts = [frames("pong", 12), frames("breakout", 9, seed=1)]
    images = label_frames(parts, np.random.default_rng(0))
    assert images.groups is not None
    assert "episode" not in images.labels
    for game, part in enumerate(parts):
        mine = images.labels["game"] == game
        assert sorted(images.groups[mine] - 3 * game) == sorted(part.episode)
        for image, group in zip(images.images[mine], images.groups[mine], strict=True):
            (source,) = np.flatnonzero((part.images == image).all(axis=(1, 2, 3)) & (part.episode == group - 3 * game))
            assert part.episode[source] + 3 * game == group
    some = images.take(np.array([4, 2]))
    assert some.groups.tolist() == images.groups[[4, 2]].tolist()
    assert some.fingerprint() != dataclasses.replace(some, groups=some.groups[::-1].copy() + 1).fingerprint()


def test_an_engine_that_hides_the_memory_gives_games_only() -> None:
    env = TOYS["relic/Catch-v0"]([1, 2])
    collected = collect_frames("catch", env, random_policy(env.num_actions, np.random.SeedSequence(0)), 5, every=2)
    assert collected.ram is None
    assert set(label_frames([collected], np.random.default_rng(0)).labels) == {"game"}


def test_stored_images_come_back_and_damage_is_made_good(tmp_path: Path) -> None:
    images = label_frames([frames("pong", 6)], np.random.default_rng(0))
    made = []

    def make():
        made.append(1)
        return images

    folder = tmp_path / "deep" / "set"
    for _ in range(2):
        found = stored_or_made(folder, make)
        assert found.fingerprint() == images.fingerprint()
        assert dict(found.num_classes) == dict(images.num_classes)
    assert len(made) == 1
    assert isinstance(found.images, np.memmap)
    assert np.array_equal(found.groups, images.groups)
    assert sorted(p.name for p in folder.iterdir()) == ["about.json", "groups.npy", "images.npy", "labels.npy"]
    json.loads((folder / "about.json").read_text())
    for name in ("about.json", "groups.npy", "images.npy", "labels.npy"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        assert load_images(folder) is None
        assert stored_or_made(folder, make).fingerprint() == images.fingerprint()
    save_images(folder, images)  # what is there stays
    assert [p.name for p in folder.parent.iterdir()] == ["set"]


@pytest.mark.parametrize("name", ["objects.npy"])
def test_pickles_are_never_read(tmp_path: Path, name: str) -> None:
    images = label_frames([frames("pong", 3)], np.random.default_rng(0))
    save_images(tmp_path / "set", images)
    np.save(tmp_path / "set" / "labels.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert load_images(tmp_path / "set") is None
