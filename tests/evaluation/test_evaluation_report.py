"""Reports appear whole or not at all, and several become one table."""

import json
import math
from pathlib import Path

import pytest

from relic_rl.evaluation.joining import estimate, join_results, joined_table
from relic_rl.evaluation.report import ReportFolder, markdown_table, read_result, show, write_report
from relic_rl.runtime.errors import BadInput, RunFailed


def result(name: str = "relic", value: float | None = 0.5, **more) -> dict:
    found = {"kind": "knn", "name": name, "metrics": {"class/test/k=20": value}, "options": {"seed": 0, "k": [20]}}
    found |= {"data": {"fingerprint": "d"}, "encoder": {"content_hash": f"{name} {value}"}}
    return found | more


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_report_appears_whole(tmp_path):
    with ReportFolder(tmp_path / "deep" / "out", default="x") as folder:
        assert not (tmp_path / "deep" / "out").exists()
        assert write_report(folder, result(value=math.nan)) == tmp_path / "deep" / "out"
    assert names(tmp_path / "deep") == {"out"}
    assert names(tmp_path / "deep" / "out") == {"result.json", "table.md", "metrics.png"}
    assert json.loads((tmp_path / "deep" / "out" / "result.json").read_text())["metrics"] == {"class/test/k=20": None}
    assert "n/a" in (tmp_path / "deep" / "out" / "table.md").read_text()
    assert (tmp_path / "deep" / "out").stat().st_mode & 0o777 == (tmp_path / "deep").stat().st_mode & 0o777


def test_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), ReportFolder(tmp_path / "deep" / "out", default="x"):
        raise ZeroDivisionError
    assert names(tmp_path) == set()


def test_an_empty_folder_is_filled_and_another_result_stays(tmp_path):
    (tmp_path / "out").mkdir()
    with ReportFolder(tmp_path / "out", default="x") as folder:
        write_report(folder, result())
    before = (tmp_path / "out" / "result.json").read_bytes()
    with pytest.raises(BadInput, match="holds another result"):
        ReportFolder(tmp_path / "out", default="x")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="is a file"):
        ReportFolder(tmp_path / "file", default="x")
    with pytest.raises(BadInput):
        ReportFolder(tmp_path / "file" / "out", default="x")
    with pytest.raises(BadInput, match="too long"):
        ReportFolder(tmp_path / "new" / ("x" * 300), default="x")
    assert names(tmp_path) == {"out", "file"}
    assert (tmp_path / "out" / "result.json").read_bytes() == before


def test_a_place_taken_meanwhile_is_left_alone(tmp_path):
    with ReportFolder(tmp_path / "out", default="x") as folder:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("mine")
        with pytest.raises(RunFailed, match="taken"):
            write_report(folder, result())
    assert names(tmp_path) == {"out"}
    assert names(tmp_path / "out") == {"mine"}


def test_default_places_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        with ReportFolder(None, default="knn-a/b") as folder:
            assert write_report(folder, result()) == Path(f"runs/knn-a-b-{number}")
    assert names(tmp_path / "runs") == {"knn-a-b-1", "knn-a-b-2"}


def test_a_full_disk_leaves_nothing(tmp_path, tmpfs):
    disk = tmpfs("size=64k")
    with pytest.raises(RunFailed, match="No space"), ReportFolder(disk / "out", default="x") as folder:
        write_report(folder, result(details={"much": list(range(100_000))}))
    assert names(disk) == set()


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"{}", b"\xff", b"[" * 100_000, b'{"kind": "knn", "metrics": {"a": "b"}}']
)
def test_other_files_are_no_results(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(ValueError, match="no result of relic_rl"):
        read_result(tmp_path)
    with pytest.raises(ValueError, match="No such file"):
        read_result(tmp_path / "nowhere")


def test_estimate_by_hand():
    mean, half, seeds = estimate([1.0, 2.0, 6.0])
    # s = sqrt(((1-3)^2 + (2-3)^2 + (6-3)^2) / 2) = sqrt(7); t(0.975, 2) = 4.302653 from a table
    assert (mean, seeds) == (3.0, 3)
    assert half == pytest.approx(4.302653 * math.sqrt(7) / math.sqrt(3), rel=1e-6)
    assert estimate([2.0]) == (2.0, None, 1)
    assert estimate([]) == (None, None, 0)


def test_joined_table():
    results = [result(value=0.5), result(value=0.7), result("byol", 0.4), result("none", None)]
    joined = join_results(results)
    assert joined["relic"]["class/test/k=20"].mean == pytest.approx(0.6)
    table = joined_table("knn", joined, {"relic": 2, "byol": 1, "none": 1})
    assert table.splitlines()[0].split() == ["|", "knn", "|", "relic", "|", "byol", "|", "none", "|"]
    half = 12.7062047 * 0.1414213562 / math.sqrt(2)
    assert f"0.6 ± {half:.2g}" in table
    assert "0.4 ± n/a" in table
    assert table.splitlines()[3].rstrip(" |").endswith("n/a")


def test_what_cannot_stand_in_one_table():
    cases = {
        "different kinds": result("b", kind="ldr"),
        "different images": result("b", data={"fingerprint": "e"}),
        "different k": result("b", options={"seed": 1, "k": [5]}),
        "different label": result("b", options={"seed": 1, "k": [20], "label": "colour"}),
        "same weights": result(),
    }
    for words, other in cases.items():
        with pytest.raises(ValueError, match=words):
            join_results([result(), other])


def test_markdown():
    table = markdown_table(["knn", "a|b"], [["x", show(0.123456)], ["y", show(None)]])
    assert table == "| knn |   a\\|b |\n| --- | -----: |\n| x   | 0.1235 |\n| y   |    n/a |\n"
    assert show(1.5, 0.25) == "1.5 ± 0.25"
