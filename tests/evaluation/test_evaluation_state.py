"""State probes: entropy, macro F1 and the fit against scikit-learn; categories as AtariARI has them."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from relic_rl.evaluation.state import (
    categories_of,
    choose_and_fit,
    entropy,
    f1_scores,
    fit_probes,
    macro_f1,
    summarize_variables,
    varied,
)
from relic_rl.images.ram_labels import annotated_games


def test_entropy_by_hand() -> None:
    assert entropy(np.array([7, 7, 7])) == 0
    assert entropy(np.array([0, 9, 0, 9])) == pytest.approx(np.log(2))
    labels = {"still": np.zeros(100, dtype=np.int64), "rare": np.r_[np.zeros(90), np.ones(10)].astype(np.int64)}
    labels["coin"] = np.arange(100) % 2
    assert varied(labels) == ["coin"]  # 0.33 and 0.69 nats
    assert varied(labels, least=0.3) == ["rare", "coin"]
    # What stays as it is in the test frames is known to whoever knows nothing.
    assert varied(labels, labels | {"coin": np.zeros(50, dtype=np.int64)}, least=0.3) == ["rare"]


def test_macro_f1_by_hand() -> None:
    # Class 5: 2 hits of 3, nothing else called so: 4/5. Class 6: called once, wrongly: 0. Class 7: 1 of 1: 1.
    assert macro_f1(np.array([5, 5, 5, 7]), np.array([5, 5, 6, 7])) == pytest.approx((0.8 + 0 + 1) / 3)


@pytest.mark.parametrize("seed", range(4))
def test_macro_f1_against_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, predicted = generator.integers(0, 9, 50), generator.integers(2, 12, 50)
    expected = f1_score(truth, predicted, average="macro", zero_division=0)
    assert macro_f1(truth, predicted) == pytest.approx(expected)


def frames(count: int, seed: int = 0) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    """Features of very different scales, and three variables that they tell more or less of."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 6))
    labels = {
        "ball_x": np.digitize(features[:, 0] + 0.3 * features[:, 1], [-0.5, 0.5]) * 40 + 3,
        "player_y": (features[:, 2] > 0).astype(np.int64) * 200,
        "score": generator.integers(0, 3, count),
    }
    scale = np.array([1e-3, 1, 100, 1, 1, 0.0])
    return torch.from_numpy(features * scale + 5), labels


def test_the_fit_is_scikit_learn_s() -> None:
    """The same objective: mean cross-entropy + p / 2 |w|^2 is theirs with C = 1 / (p N)."""
    features, labels = frames(200)
    penalty = 0.02
    probes = fit_probes(features, labels, penalty=penalty, iterations=500)
    varying = features[:, :5].numpy()
    standard = (varying - varying.mean(0)) / varying.std(0)
    fresh, truth = frames(80, seed=1)
    found, start = probes.predict(fresh), 0
    fresh_standard = (fresh[:, :5].numpy() - varying.mean(0)) / varying.std(0)
    for name, values in labels.items():
        theirs = LogisticRegression(C=1 / (penalty * len(values)), tol=1e-8, max_iter=2000).fit(standard, values)
        assert probes.values[name].tolist() == theirs.classes_.tolist()
        width = len(probes.values[name])
        if width > 2:
            weight = probes.weight[start : start + width, :5].numpy()
            assert weight == pytest.approx(theirs.coef_, abs=2e-3)
            assert np.array_equal(found[name], theirs.predict(fresh_standard))
        start += width
    assert probes.weight[:, 5].abs().max() == 0
    scores = f1_scores(probes, fresh, truth)
    assert scores["player_y"] > 0.85
    assert scores["score"] < 0.5


def test_the_scale_of_an_encoder_changes_nothing() -> None:
    features, labels = frames(150)
    features = torch.cat([features[:, 1:2] - 5, features[:, 2:5] / 10, torch.zeros(150, 1)], dim=1)
    found = fit_probes(features, labels, penalty=0.01).predict(features)
    for factor in (1e-10, 1e6):
        scaled = features * factor
        again = fit_probes(scaled, labels, penalty=0.01).predict(scaled)
        assert all(np.mean(again[name] == found[name]) > 0.98 for name in labels)


def test_the_penalty_is_chosen_on_held_out_frames() -> None:
    features, labels = frames(300)
    fitted = choose_and_fit(features, labels, None, np.random.default_rng(0), penalties=(1e-3, 100.0))
    assert fitted.penalty == 1e-3
    assert fitted.held_out_f1[1e-3] > fitted.held_out_f1[100.0]
    again = choose_and_fit(features, labels, None, np.random.default_rng(0), penalties=(1e-3, 100.0))
    assert torch.equal(fitted.probes.weight, again.probes.weight)
    only = choose_and_fit(features, labels, None, np.random.default_rng(0), penalties=(0.5,))
    assert (only.penalty, only.held_out_f1) == (0.5, {})
    assert torch.equal(only.probes.weight, fit_probes(features, labels, penalty=0.5).weight)


def test_the_penalty_is_chosen_on_whole_episodes() -> None:
    """Features that tell only which episode a frame is of, and a variable that is constant in each: what an episode's
    other frames show says all about a frame, but nothing about another episode."""
    generator = np.random.default_rng(1)
    episodes = np.repeat(np.arange(60), 4)
    features = torch.from_numpy(np.eye(60)[episodes] * 20 + generator.normal(size=(240, 60)))
    labels = {"ball_x": generator.integers(0, 2, 60)[episodes]}
    leaking = choose_and_fit(features, labels, None, np.random.default_rng(0), penalties=(1e-3, 1e-2))
    honest = choose_and_fit(
        features, labels, torch.from_numpy(episodes), np.random.default_rng(0), penalties=(1e-3, 1e-2)
    )
    assert leaking.held_out_f1[1e-3] > 0.95
    assert honest.held_out_f1[1e-3] < 0.7


def test_a_value_that_training_never_showed_counts_as_missed() -> None:
    features, labels = frames(100)
    probes = fit_probes(features, labels, penalty=1e-2)
    truth = np.full(100, 255)
    assert f1_scores(probes, features, {"player_y": truth})["player_y"] == 0


def test_categories() -> None:
    assert categories_of("ball_x") == ["small_object_localization"]
    assert categories_of("player_missile_y1") == ["small_object_localization"]
    assert categories_of("player_x") == ["agent_localization"]
    assert categories_of("red_enemy_column") == ["other_localization"]
    assert categories_of("player_score") == ["score_clock_lives_display"]
    assert categories_of("num_lives_direction") == ["score_clock_lives_display", "misc"]
    assert categories_of("block_bit_map_3") == ["misc"]
    assert categories_of("tile_color_3") == []
    every = [name for variables in annotated_games().values() for name in variables]
    without = {name.rstrip("0123456789") for name in every if not categories_of(name)}
    assert len(without) < 12


def test_means_over_variables_and_categories() -> None:
    found = summarize_variables({"ball_x": 0.5, "ball_y": 0.7, "player_x": 0.9, "tile_color_0": 0.1})
    assert found.mean == pytest.approx(0.55)
    assert found.by_category == pytest.approx({"small_object_localization": 0.6, "agent_localization": 0.9})
    assert found.over_categories == pytest.approx(0.75)
    assert summarize_variables({"tile_color_0": 0.1}).over_categories is None
