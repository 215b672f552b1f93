"""Games, arms, runs and their folders."""

import pytest

from relic_rl.comparison.arms import Arm, effective_options, equal_arms, parse_arms
from relic_rl.comparison.plan import plan_runs
from relic_rl.comparison.suites import SUITES, expand_games, game_folder, game_label

RELIC = {"objective": "relic", "alpha": 1.0, "divergence": "kl", "aux_weight": 1.0, "temperature": 0.1}
INFONCE = {"objective": "infonce", "aux_weight": 1.0, "temperature": 0.1}


def test_suites() -> None:
    assert {name: len(games) for name, games in SUITES.items()} == {
        "atari-5": 5,
        "atari-10": 10,
        "atari-26": 26,
        "atari-57": 57,
    }
    for games in SUITES.values():
        assert len(set(games)) == len(games)
        assert set(games) <= set(SUITES["atari-57"])
    assert set(SUITES["atari-5"]) < set(SUITES["atari-10"])


def test_games_in_any_spelling_once() -> None:
    names = ["Pong, ms_pacman", "MsPacman", "ALE/Pong-v5", "relic/Catch-v0", "module:Thing-v0", "atari-5,phoenix"]
    ids = expand_games(names)
    assert ids[:4] == ["ALE/Pong-v5", "ALE/MsPacman-v5", "relic/Catch-v0", "module:Thing-v0"]
    assert len(ids) == 9
    assert [game_label(env) for env in ids[:3]] == ["Pong", "MsPacman", "relic/Catch-v0"]
    assert [game_folder(env) for env in ids[:4]] == ["Pong", "MsPacman", "relic-Catch-v0", "module-Thing-v0"]


@pytest.mark.parametrize(("name", "says"), [("Pongg", "Pong"), ("", "no game"), ("atari-6", "atari-5")])
def test_unknown_games(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        expand_games([name])


def test_arms() -> None:
    arms = parse_arms(["relic(divergence=renyi(2), alpha=2),infonce", " none "])
    assert arms == [Arm("relic", (("alpha", "2"), ("divergence", "renyi(2)"))), Arm("infonce"), Arm("none")]
    assert [arm.label for arm in arms] == ["relic(alpha=2,divergence=renyi(2))", "infonce", "none"]
    assert [arm.folder for arm in arms] == ["relic-alpha=2-divergence=renyi-2", "infonce", "none"]


def test_arms_from_files_are_told_apart_by_what_is_short() -> None:
    files = ["runs/a/encoder.safetensors", "/far/b/resnet.v2.pth", "c.safetensors"]
    arms = parse_arms([f"none(encoder_weights={file})" for file in files])
    assert [arm.options for arm in arms] == [(("encoder_weights", file),) for file in files]
    inside = ["a", "resnet.v2", "c.safetensors"]
    assert [arm.label for arm in arms] == [f"none(encoder_weights={name})" for name in inside]
    assert [arm.folder for arm in arms] == [f"none-encoder_weights={name}" for name in inside]
    with pytest.raises(ValueError, match="twice"):
        parse_arms(["none(encoder_weights=x/a/encoder.safetensors),none(encoder_weights=y/a/encoder.safetensors)"])


@pytest.mark.parametrize("text", ["", "relic,relic", "relic(alpha)", "relic(alpha=)", "relic(", "relic(alpha=1", "a b"])
def test_what_is_no_arm(text: str) -> None:
    with pytest.raises(ValueError, match="objective"):
        parse_arms([text])


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (RELIC, INFONCE, False),
        (RELIC | {"alpha": 0.0}, INFONCE, True),
        (RELIC | {"alpha": 0.0, "temperature": 0.2}, INFONCE, False),
        (RELIC, RELIC | {"divergence": "symmetric_kl"}, True),
        (RELIC | {"divergence": "reverse_kl"}, RELIC | {"divergence": "js"}, False),
        (RELIC | {"divergence": "chi2"}, RELIC | {"divergence": "renyi(2.0)"}, True),
        (RELIC | {"divergence": "renyi(2)"}, RELIC | {"divergence": "renyi(3)"}, False),
        (RELIC | {"aux_weight": 0.0}, {"objective": "none"}, True),
        (RELIC | {"aux_weight": 0.0}, INFONCE | {"aux_weight": 0.0}, True),
        ({"objective": "none"}, {"objective": "augment", "augmentation": "shift"}, False),
    ],
)
def test_arms_that_are_equal_by_construction(a: dict, b: dict, equal: bool) -> None:
    assert bool(equal_arms({"a": a, "b": b})) is equal
    assert effective_options(a) is not a


def test_runs_come_seed_by_seed() -> None:
    runs = plan_runs(["ALE/Pong-v5", "relic/Catch-v0"], parse_arms(["relic,none"]), range(3, 5))
    assert [run.name for run in runs[:5]] == [
        "Pong/relic/seed3",
        "Pong/none/seed3",
        "relic-Catch-v0/relic/seed3",
        "relic-Catch-v0/none/seed3",
        "Pong/relic/seed4",
    ]
    assert len({run.folder for run in runs}) == 8


def test_games_that_share_a_folder_are_refused() -> None:
    with pytest.raises(ValueError, match="folder"):
        plan_runs(["a:Thing-v0", "a/Thing-v0"], parse_arms(["none"]), [0])
