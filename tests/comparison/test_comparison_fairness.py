"""Which runs may be compared."""

from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run

from relic_rl.comparison.fairness import check_fairness, differing_options
from relic_rl.comparison.runs import find_runs, label_arms
from relic_rl.runtime.errors import BadInput

ARM_OPTIONS = ("alpha", "divergence", "temperature", "aux_weight")


def found(folder: Path):
    runs = label_arms(find_runs([folder]), ARM_OPTIONS)
    return runs, check_fairness(runs, ARM_OPTIONS)


def test_runs_made_alike(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path / f"r{seed}", "relic", seed, [1.0, 2.0], threads=seed + 1)
        make_run(tmp_path / f"n{seed}", "none", seed, [1.0, 2.0])
    runs, fairness = found(tmp_path)
    assert {run.arm for run in runs} == {"relic", "none"}
    assert not fairness.problems
    assert not fairness.apart
    assert fairness.shared["alpha"] == 1.0
    assert "threads" not in fairness.shared


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"protocol": "noop"}, "protocol is"),
        ({"total_steps": 2000}, "total_steps is"),
        ({"learning_rate": 0.1}, "learning_rate is"),
        ({"augmentation": "crop"}, "augmentation is"),
    ],
)
def test_mixtures_are_refused(more: dict[str, Any], says: str, tmp_path: Path) -> None:
    make_run(tmp_path / "a", "relic", 0, [1.0])
    make_run(tmp_path / "b", "infonce", 0, [1.0], **more)
    _, fairness = found(tmp_path)
    assert any(says in problem for problem in fairness.problems)


def test_arms_may_differ_in_their_objective_s_options(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "relic", 0, [1.0])
    make_run(tmp_path / "b", "relic", 0, [1.0], alpha=4.0)
    runs, fairness = found(tmp_path)
    assert [run.arm for run in runs] == ["relic(alpha=1.0)", "relic(alpha=4.0)"]
    assert fairness.apart == {"alpha": {"relic(alpha=1.0)": 1.0, "relic(alpha=4.0)": 4.0}}
    assert not fairness.problems


def test_equal_arms_and_a_run_twice_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "equal" / "a", "relic", 0, [1.0], alpha=0)
    make_run(tmp_path / "equal" / "b", "infonce", 0, [1.0])
    assert "equal by construction" in found(tmp_path / "equal")[1].problems[0]
    make_run(tmp_path / "twice" / "a", "none", 0, [1.0])
    make_run(tmp_path / "twice" / "b", "none", 0, [1.0])
    assert "keep one" in found(tmp_path / "twice")[1].problems[0]


@pytest.mark.parametrize("key", ["updates", "agent_steps"])
def test_results_that_show_another_budget(key: str, tmp_path: Path) -> None:
    make_run(tmp_path / "a", "none", 0, [1.0])
    path = make_run(tmp_path / "b", "augment", 0, [1.0]) / "result.json"
    number = {"updates": 50, "agent_steps": 1000}[key]
    text = path.read_text()
    path.write_text(text.replace(f'"{key}": {number}', f'"{key}": {number * 1.04:.0f}'))
    assert not found(tmp_path)[1].problems
    path.write_text(text.replace(f'"{key}": {number}', f'"{key}": {number * 1.2:.0f}'))
    assert key in found(tmp_path)[1].problems[0]


def test_another_number_of_games_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "none", 0, [1.0])
    make_run(tmp_path / "b", "augment", 0, [1.0, 2.0])
    assert any("num_games" in problem for problem in found(tmp_path)[1].problems)


def test_impossible_scores_and_missing_seeds_are_told(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "none", 0, [22.0, 21.0])  # Pong ends at 21
    make_run(tmp_path / "b", "augment", 1, [1.0, 1.0])
    notes = " ".join(found(tmp_path)[1].notes)
    assert "1 of 2 scores of none on Pong, seed 0" in notes
    assert "same games and seeds" in notes


def test_differing_options() -> None:
    assert differing_options({"a": 1, "b": 2, "device": "cpu"}, {"a": 1, "b": 3, "device": "cuda"}) == [
        "b was 2, is 3 now"
    ]


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such directory"):
        find_runs([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no run below"):
        find_runs([tmp_path / "empty"])
    run = make_run(tmp_path / "damaged", "none", 0, [1.0])
    for text in ("{", "[]", '{"evaluation": {"returns": ["x"]}}', '{"evaluation": 3}'):
        (run / "result.json").write_text(text)
        with pytest.raises(BadInput, match="damaged"):
            find_runs([tmp_path])
