"""Ids, protocols, seeds, and the one line that answers bad input."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from ale_py import registration, roms

from envs.atari_games import GAMES, atari_id
from envs.envpool_engine import envpool_id
from envs.ids import EnvId, parse_env_id
from envs.make import make_vector_env, validate_env_id
from envs.protocols import NOOP, V5, get_protocol
from envs.seeds import env_seeds
from envs.toy import TOYS


def test_protocols_say_what_they_mean():
    assert (V5.sticky, V5.max_noops, V5.fire_reset, V5.frame_skip) == (0.25, 0, False, 4)
    assert (NOOP.sticky, NOOP.max_noops, NOOP.fire_reset, NOOP.frame_skip) == (0.0, 30, False, 4)
    for protocol in (V5, NOOP):
        assert get_protocol(protocol.name) is protocol
        assert (protocol.max_frames, protocol.max_episode_steps) == (108_000, 27_000)
        assert (protocol.stack, protocol.size) == (4, 84)
    assert V5.with_limit(7).max_episode_steps == 7
    assert V5.with_limit(7).max_frames == 28


def test_the_games_are_those_of_the_engines():
    import envpool

    offered = set(envpool.list_all_envs())
    assert [game for game in GAMES if envpool_id(game) not in offered] == []
    assert set(roms.get_all_rom_ids()) - set(GAMES) == {"combat", "joust", "maze_craze", "warlords"}
    assert sorted(GAMES) == list(GAMES)
    assert [atari_id(game) for game in GAMES] == [f"ALE/{registration.rom_id_to_name(game)}-v5" for game in GAMES]


@pytest.mark.parametrize("env_id", ["ALE/MsPacman-v5", "MsPacman-v5"])
def test_atari_ids(env_id):
    assert parse_env_id(env_id) == EnvId("atari", "ms_pacman", "ALE/MsPacman-v5")


def test_other_ids():
    assert parse_env_id("relic/Catch-v0").kind == "toy"
    assert parse_env_id("CartPole-v1").kind == "gymnasium"
    assert parse_env_id("my_module:Pong-v0").kind == "gymnasium"
    assert parse_env_id("MinAtar/Breakout-v1").kind == "gymnasium"


@pytest.mark.parametrize(
    ("env_id", "hint"),
    [
        ("ALE/Pnog-v5", "did you mean ALE/Pong-v5?"),
        ("Brekout-v5", "did you mean ALE/Breakout-v5?"),
        ("PongNoFrameskip-v4", "did you mean ALE/Pong-v5?"),
        ("MsPacmanDeterministic-v4", "did you mean ALE/MsPacman-v5?"),
        ("Pong-ram-v4", "did you mean ALE/Pong-v5?"),
        ("ALE/Pong-v4", "did you mean ALE/Pong-v5?"),
        ("ALE/MsPacMan-v5", "did you mean ALE/MsPacman-v5?"),
        ("space_invaders", "did you mean ALE/SpaceInvaders-v5?"),
        ("ALE/Qqqq-v5", "104 games"),
        ("relic/Cath-v0", "relic/Catch-v0"),
        ("CartPole-v99", "CartPole"),
        ("no_such_module:Env-v0", "no_such_module"),
        ("math:Env-v0", "Env"),
        ("CartPole-v1", "not uint8 images"),
    ],
)
def test_bad_ids_are_answered_in_one_line(env_id, hint):
    with pytest.raises(ValueError, match=r"\A[^\n]{1,300}\Z") as error:
        validate_env_id(env_id)
    assert hint in str(error.value)
    assert env_id.rsplit(":", maxsplit=1)[-1] in str(error.value)
    with pytest.raises(ValueError, match=r"\A[^\n]{1,300}\Z") as second:
        make_vector_env(env_id, 1, seed=0)
    assert str(second.value) == str(error.value)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"engine": "gym"}, "envpool or ale"),
        ({"protocol": "v4"}, "v5 or noop"),
        ({"num_envs": 0}, "num_envs"),
        ({"max_episode_steps": 0}, "max_episode_steps"),
        ({"seed": -1}, "seed"),
        ({"size": 50}, "takes no options"),
    ],
)
def test_bad_arguments_are_answered_in_one_line(arguments, hint):
    with pytest.raises(ValueError, match=r"\A[^\n]{1,300}\Z") as error:
        make_vector_env(**({"env_id": "ALE/Pong-v5", "num_envs": 1, "seed": 0} | arguments))
    assert hint in str(error.value)


@pytest.mark.parametrize(("engine", "package"), [("envpool", "envpool"), ("ale", "ale_py")])
def test_a_missing_engine_is_named(monkeypatch, engine, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(ValueError, match=f"engine '{engine}' is not installed: ") as error:
        validate_env_id("ALE/Pong-v5", engine)
    assert ("engine 'ale'" if engine == "envpool" else "pip install ale-py") in str(error.value)


def test_bad_protocol_or_engine_is_found_before_work_starts():
    with pytest.raises(ValueError, match="unknown protocol"):
        validate_env_id("relic/Catch-v0", protocol="v6")
    with pytest.raises(ValueError, match="unknown engine"):
        validate_env_id("ALE/Pong-v5", engine="gym")


def test_checking_an_atari_id_imports_no_engine():
    code = (
        "import sys; from envs.make import validate_env_id; validate_env_id('ALE/Pong-v5', 'envpool');"
        "validate_env_id('relic/Catch-v0');"
        "print([m for m in ('envpool', 'ale_py', 'gymnasium', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_seeds_are_unrelated():
    seeds = {s: env_seeds(s, 64) for s in range(50)}
    every = [seed for block in seeds.values() for seed in block]
    assert len(set(every)) == len(every)
    assert min(every) >= 1
    assert max(every) < 2**31
    assert max(every) > 2**30  # all 31 bits are used


def test_seeds_depend_on_seed_and_number_only():
    assert env_seeds(3, 8)[:5] == env_seeds(3, 5)
    assert env_seeds(3, 8) == env_seeds(np.random.SeedSequence(3), 8)
    train, evaluation = np.random.SeedSequence(3).spawn(2)
    assert not set(env_seeds(train, 8)) & set(env_seeds(evaluation, 8))
    assert env_seeds(train, 8) == env_seeds(train, 8)
    assert train.n_children_spawned == 0  # the caller's own spawning is not disturbed


def test_every_toy_is_made_by_its_id():
    for env_id in TOYS:
        assert isinstance(make_vector_env(env_id, 2, seed=0), TOYS[env_id])
