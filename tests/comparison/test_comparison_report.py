"""The report, its numbers against hand-worked ones."""

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_runs import make_run, make_styles

from envs.style_shares import Style
from relic_rl.comparison import published
from relic_rl.comparison.aggregates import _verdict
from relic_rl.comparison.curves import learning_curve
from relic_rl.comparison.document import Paragraph, Table, to_csv, to_html, to_markdown
from relic_rl.comparison.fairness import check_fairness
from relic_rl.comparison.numerals import interval, number, percent
from relic_rl.comparison.report import build_report, write_report
from relic_rl.comparison.runs import find_runs
from relic_rl.comparison.scores import complete_matrix
from relic_rl.comparison.seeds import statement
from relic_rl.comparison.statistics import Interval
from relic_rl.comparison.style_shift import shares_kept, styled_returns
from relic_rl.comparison.styled_games import styled_scores
from relic_rl.comparison.suites import ATARI_26, SUITES, atari_id
from relic_rl.runtime.errors import BadInput

PONG, CATCH = "ALE/Pong-v5", "relic/Catch-v0"


def report(folder: Path) -> Path:
    runs = find_runs([folder])
    return write_report(folder / "report", build_report(runs, check_fairness(runs, ()), []))


@pytest.fixture
def games(tmp_path: Path) -> Path:
    for env in (PONG, CATCH):
        for seed in range(3):
            for objective, score in (("relic", 10.0 + seed), ("none", 0.0 + seed)):
                make_run(tmp_path / env[:3] / f"{objective}{seed}", objective, seed, [score, score + 2], env)
    return tmp_path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_form_is_written_and_holds_the_scores(games: Path) -> None:
    text = report(games).read_text()
    folder = games / "report"
    by_game = {(row["game"], row["arm"]): row for row in rows(folder / "games.csv")}
    pong = by_game["Pong", "relic"]
    assert float(pong["score"]) == 12.0  # seeds score 11, 12, 13
    assert float(pong["human_normalised"]) == pytest.approx((12 + 20.7) / (14.6 + 20.7), abs=1e-3)
    assert by_game["relic/Catch-v0", "none"]["human_normalised"] == ""
    aggregates = {(row["arm"], row["metric"]): float(row["value"]) for row in rows(folder / "aggregates.csv")}
    assert aggregates["none", "mean"] == pytest.approx((2 + 20.7) / (14.6 + 20.7), abs=1e-3)
    (better,) = rows(folder / "improvement.csv")
    assert float(better["probability"]) in (0.0, 1.0)  # every run of one arm is above every run of the other
    for name in ("curves", "aggregates", "profile"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in text
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64") == 3
    assert 'src="http' not in page
    assert "would not be fair" in text


def test_the_same_runs_give_the_same_bytes(games: Path) -> None:
    report(games)
    first = {path.name: path.read_bytes() for path in (games / "report").iterdir()}
    report(games)
    assert {path.name: path.read_bytes() for path in (games / "report").iterdir()} == first


def test_one_seed_gives_no_interval(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "relic", 0, [1.0])
    make_run(tmp_path / "b", "none", 0, [2.0])
    text = report(tmp_path).read_text()
    assert "1 [n/a]" in text
    assert "one seed: nothing can be said" in text
    assert "no difference between arms is a result" in text
    for name in ("games", "aggregates", "improvement", "differences"):
        assert not any(
            value
            for row in rows(tmp_path / "report" / f"{name}.csv")
            for key, value in row.items()
            if key.endswith(("low", "high"))
        )


def test_an_arm_that_has_not_learned_is_told(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path / f"a{seed}", "relic", seed, [-20.0])
        make_run(tmp_path / f"b{seed}", "none", seed, [-20.6 - 0.1 * seed])
    assert "does not clear random play" in report(tmp_path).read_text()


def test_aggregates_use_what_every_arm_has(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / f"a{seed}", "relic", seed, [1.0])
        make_run(tmp_path / f"b{seed}", "none", seed, [2.0] if seed < 2 else None)
    make_run(tmp_path / "c", "relic", 0, [1.0], CATCH)
    runs = find_runs([tmp_path])
    matrix = complete_matrix(runs, normalize=False)
    assert matrix is not None
    assert (matrix.envs, matrix.seeds) == ([PONG], [0, 1])
    assert matrix.scores["none"].tolist() == [[2.0], [2.0]]
    text = report(tmp_path).read_text()
    assert "seeds not finished in every arm and game: 2" in text
    assert "left out for want of a finished run" in text


def test_curves_cover_what_all_seeds_reached(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path / f"a{seed}", "none", seed, [1.0])
    (tmp_path / "a1" / "progress.csv").write_text("step,seconds,mean_return\n600,1,3\n800,2,5\n")
    curve = learning_curve(find_runs([tmp_path]), points=3)
    assert curve is not None
    assert curve.steps.tolist() == [600, 700, 800]
    # seed 0 rises from 1 at 500 to 2 at 1000, seed 1 from 3 to 5
    assert [value.value for value in curve.values] == pytest.approx([(1.2 + 3) / 2, (1.4 + 4) / 2, (1.6 + 5) / 2])


def test_style_shift(tmp_path: Path) -> None:
    for seed, plain in ((0, 9.3), (1, -0.7), (2, -20.7)):
        run = make_run(tmp_path / f"r{seed}", "relic", seed, [plain])
        styles = {("none", 0): [plain - 1, plain + 1], ("noise", 3): [-5.7], ("noise", 5): [-20.7]}
        make_styles(run, styles | {("blur", 1): [plain], ("unseen", 0): [plain - 3]})
    make_run(tmp_path / "n", "none", 0, [1.0])
    kept = {row.style: row for row in shares_kept(find_runs([tmp_path]))}
    assert set(kept) == {"noise:3", "noise:5", "blur:1", "unseen", "noise", "blur", "all"}
    # of 30 points above random 15 are left, of 20 points 15; the third agent plays no better than random
    assert kept["noise:3"].share.value == pytest.approx((0.5 + 0.75) / 2)
    assert (kept["noise:3"].runs, kept["noise:3"].left_out) == (2, 1)
    # As `evaluate play` means it: severities first, then interventions, what the environment hides apart.
    assert kept["noise"].share.value == pytest.approx((0.25 + 0.375) / 2)
    assert kept["all"].share.value == pytest.approx(((0.25 + 1) / 2 + (0.375 + 1) / 2) / 2)
    assert kept["unseen"].share.value == pytest.approx((27 / 30 + 17 / 20) / 2)
    text = report(tmp_path).read_text()
    assert "unseen styles" in text
    assert len(rows(tmp_path / "report" / "style_shift.csv")) == 7


def test_random_play_of_a_toy_is_what_it_is_to_evaluate_play(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", "none", 0, [0.2], CATCH)
    make_styles(run, {("none", 0): [0.2], ("blur", 1): [-0.3]})
    kept = {row.style: row.share.value for row in shares_kept(find_runs([tmp_path]))}
    assert kept["blur:1"] == pytest.approx(0.5)  # random play scores -0.8
    text = report(tmp_path).read_text()
    assert "(shifted - random) / (plain - random)" in text
    assert "no human-normalised aggregates" in text
    assert "| 0.2 [n/a] | -0.8 |" in text  # random play's score beside the arm's


def test_shares_over_several_games(tmp_path: Path) -> None:
    """Over games first, then over the seeds that have a share on all of them."""
    scores = {PONG: [(9.3, -5.7), (9.3, 9.3), (-20.7, 0.0)], CATCH: [(0.2, -0.8), (0.2, 0.2), (0.2, 0.2)]}
    for env, by_seed in scores.items():
        for seed, (plain, shifted) in enumerate(by_seed):
            run = make_run(tmp_path / f"{env[:3]}{seed}", "none", seed, [plain], env)
            make_styles(run, {("none", 0): [plain], ("blur", 1): [shifted]})
    kept = {(row.env, row.style): row for row in shares_kept(find_runs([tmp_path]))}
    whole = kept["all games", "blur:1"]
    assert whole.share.value == pytest.approx((0.25 + 1) / 2)  # seed 0: (0.5 + 0) / 2, seed 1: 1; seed 2 has none
    assert (whole.runs, whole.left_out) == (2, 1)
    assert kept[CATCH, "blur:1"].runs == 3
    assert "all games" in report(tmp_path).read_text()


def test_returns_in_unseen_styles_by_hand(tmp_path: Path) -> None:
    env = "relic/StyleShift-v0"
    for seed, (plain, unseen) in enumerate([(4.0, 1.0), (5.0, 3.0)]):
        run = make_run(tmp_path / f"a{seed}", "none", seed, [plain], env)
        make_styles(run, {("none", 0): [plain - 1, plain + 1], ("unseen", 0): [unseen, unseen]})
    make_styles(make_run(tmp_path / "b", "relic", 0, [1.0], env), {("none", 0): [1.0], ("unseen", 0): [0.0]})
    make_styles(make_run(tmp_path / "c", "relic", 0, [1.0]), {("none", 0): [1.0], ("blur", 1): [0.0]})
    none, relic = sorted(styled_returns(find_runs([tmp_path])), key=lambda row: row.arm)
    assert (none.arm, none.env, none.trained.value, none.unseen.value, none.lost.value) == ("none", env, 4.5, 2.0, 2.5)
    half = 12.7062 * 0.5  # Student's t with one degree of freedom, times 1 / 2, the standard error of 3 and 2
    assert (none.lost.low, none.lost.high) == pytest.approx((2.5 - half, 2.5 + half), abs=1e-3)
    assert none.by_seed.tolist() == [[4.0, 1.0], [5.0, 3.0]]
    assert relic.lost == (1.0, None, None)
    report(tmp_path)
    assert (tmp_path / "report" / "unseen_styles.png").read_bytes().startswith(b"\x89PNG")


def test_which_styled_games_count(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", "none", 0, [10.0])
    make_styles(run, {("none", 0): [10.0, 9.3], ("noise", 1): [1.0, 2.0], ("blur", 1): [1.0]})
    scores = (run / "style-shift" / "scores.csv").read_text()

    def play(name: str, text: str) -> None:
        (run / name).mkdir()
        (run / name / "scores.csv").write_text(text)

    more = scores.replace("2.0\n", "2.0\npong,0,1000,4000,v5,relic,ppo,noise,1,2,9.0\n")
    play("play-1", more.replace(",v5,", ",noop,"))  # under another protocol
    play("play-2", more.replace(",1000,", ",900,"))  # of an earlier checkpoint
    play(".report-x", more)  # was never published
    (read,) = find_runs([tmp_path])
    before = styled_scores(read)
    assert before == {Style("noise", 1): ([1.0, 2.0], [10.0, 9.3]), Style("blur", 1): ([1.0], [10.0, 9.3])}
    play("z", more)
    assert styled_scores(read)[Style("noise", 1)] == ([1.0, 2.0, 9.0], [10.0, 9.3])
    shutil.rmtree(run / "z")
    other = make_run(tmp_path / "b", "none", 1, [8.0])
    make_styles(other, {("none", 0): [8.0], ("blur", 1): [3.0, 4.0], ("gamma", 2): [1.0]})
    play("play-3", (other / "style-shift" / "scores.csv").read_text())
    after = styled_scores(read)
    assert after[Style("noise", 1)] == before[Style("noise", 1)]
    assert after[Style("blur", 1)] == ([3.0, 4.0], [8.0])  # more games of it, against their own plain ones
    # In means only what both runs played in, so that they are over the same styles.
    assert {row.style for row in shares_kept(find_runs([tmp_path]))} == {"blur:1", "gamma:2", "blur", "gamma", "all"}
    for text in ("style,score\nnone,1\n", scores.replace("9.3", "nan"), scores.replace("9.3", "nine")):
        (run / "play-3" / "scores.csv").write_text(text)
        with pytest.raises(BadInput, match="damaged"):
            styled_scores(read)


def test_published_columns_only_where_fair() -> None:
    all57 = [atari_id(game) for game in SUITES["atari-57"]]
    assert published.why_not_relic_table(all57, "r2d2", "noop", 200_000_000) == ""
    for changed in ((all57[1:], "r2d2", "noop", 10**9), (all57, "ppo", "noop", 10**9), (all57, "r2d2", "v5", 10**9)):
        assert published.why_not_relic_table(*changed)
    assert "fewer" in published.why_not_relic_table(all57, "r2d2", "noop", 10**6)
    all26 = [atari_id(game) for game in ATARI_26]
    assert published.why_not_100k(all26, "noop", 100_000) == ""
    for changed in ((all26[1:], "noop", 100_000), (all26, "v5", 100_000), (all26, "noop", 10**6)):
        assert published.why_not_100k(*changed)


def test_what_seeds_can_show() -> None:
    assert "nothing can be said" in statement(0)
    assert "n/a" in statement(1)
    assert "cannot reach 5 %" in statement(3)
    assert "a hint, not a result" in statement(4)
    assert "cannot reach" not in statement(5)
    assert "does not show that there is none" in statement(10)


def test_numerals() -> None:
    assert [number(x) for x in (0.1234, 12345.6, math.nan)] == ["0.123", "12,346", "n/a"]
    assert [percent(x) for x in (0.5, 0.012, 30.04)] == ["50.0 %", "1.2 %", "3,004 %"]
    assert interval(Interval(1.0, 0.5, 1.5)) == "1 [0.5, 1.5]"
    assert interval(Interval(1.0, None, None)) == "1 [n/a]"
    assert interval(Interval(1.0, 1.0, 1.0)) == "1 [no spread]"


def test_documents_escape_what_they_hold() -> None:
    blocks = [Paragraph("a < b"), Table("t", ["x|y"], [["<script>"]], ["v"], [[np.float64(0.5)]])]
    assert "x\\|y" in to_markdown("T", blocks)
    assert "<script>" not in to_html("T", blocks)
    assert to_csv(blocks[1]) == "v\n0.5\n"  # type: ignore[arg-type]


def test_a_verdict_needs_resamples_that_differ():
    assert "first arm" in _verdict(Interval(0.8, 0.6, 1.0))
    assert "second arm" in _verdict(Interval(0.2, 0.0, 0.4))
    assert _verdict(Interval(0.6, 0.4, 0.8)) == "no difference shown"
    assert "too few seeds" in _verdict(Interval(1.0, 1.0, 1.0))  # two seeds, all of one arm above all of the other
    assert "one seed" in _verdict(Interval(1.0, None, None))
