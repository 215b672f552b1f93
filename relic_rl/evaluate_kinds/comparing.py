"""``relic_rl.evaluate --compare``: finished results joined into one table and plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from relic_rl.evaluate_kinds.shared_options import CompareOptions
from relic_rl.evaluation.figures import metric_bars
from relic_rl.evaluation.joining import join_results, joined_table
from relic_rl.evaluation.report import ReportFolder, read_result, write_report
from relic_rl.runtime.errors import BadInput, user_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Sequence[Mapping[str, Any]]
"""Contents of several result.json of one kind."""


def compare(kind: str | None, options: CompareOptions, part_of: Callable[[str, str], Any]) -> int:
    """Write the joined report; the exit code.

    Args:
        kind: what the results must be of; None for whatever they are.
        options: those given.
        part_of: gives what the module of a kind has under a name, None if nothing: ``compare_figures(results)`` draws
            results side by side, figures by name, and ``compare_remarks(results)`` is text below the table.

    Raises:
        BadInput: a result is missing or cannot be joined with the others.
    """
    with user_errors():
        results = [read_result(folder) for folder in options.compare]
        found = results[0]["kind"]
        if kind not in (None, found):
            raise BadInput(f"--compare {options.compare[0]}: a result of {found}, not of {kind}")
        joined = join_results(results)
    seeds = {name: sum(result["name"] == name for result in results) for name in joined}
    bars = {
        name: {metric: (value.mean, value.half_width) for metric, value in values.items()}
        for name, values in joined.items()
    }
    with ReportFolder(options.out, default=f"{found}-comparison") as folder:
        draw: Callable[[Results], Mapping[str, Figure]] | None = part_of(found, "compare_figures")
        remark: Callable[[Results], str] | None = part_of(found, "compare_remarks")
        figures = {"metrics": metric_bars(bars)} | dict(draw(results) if draw else {})
        content = {
            "kind": f"{found} comparison",
            "name": "comparison",
            "metrics": {name: {m: value._asdict() for m, value in values.items()} for name, values in joined.items()},
            "data": results[0]["data"],
            "results": [
                {"folder": str(where), "name": result["name"], "encoder": result["encoder"]}
                for where, result in zip(options.compare, results, strict=True)
            ],
        }
        table = joined_table(found, joined, seeds) + (remark(results) if remark else "")
        path = write_report(folder, content, table=table, figures=figures)
    print(table, f"\nreport: {path}", sep="", flush=True)
    return 0
