"""The door to evaluation: ``python -m relic_rl.evaluate KIND --encoder FILE --data DIR --out DIR``.

A kind is a pair of modules in `relic_rl.evaluate_kinds`: ``KIND_options``, whose `Options` are its command line, and
``KIND``, whose ``run(options)`` does the work. A kind is there if its modules are.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

from relic_rl import evaluate_kinds
from relic_rl.evaluate_kinds.shared_options import CompareOptions
from relic_rl.runtime.config import parse_config
from relic_rl.runtime.config_file import nearest
from relic_rl.runtime.errors import BadInput, run_door

_OPTIONS = "_options"
_TOGETHER = ("linear",)  # kinds that several processes can share
_JOIN_HELP = "[KIND] --compare DIR ... --out DIR joins finished results into one table and plot"


def available_kinds() -> list[str]:
    """The kinds of evaluation that this installation has, sorted."""
    modules = {module.name for module in pkgutil.iter_modules(evaluate_kinds.__path__)}
    return sorted(name for name in modules if name + _OPTIONS in modules)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, measure, write the report.

    Returns:
        0 done, 1 failed while running, 2 bad input, 130 interrupted, 143 terminated.
    """
    return run_door(lambda: _evaluate(list(sys.argv[1:] if argv is None else argv)))


def _evaluate(argv: list[str]) -> int:
    kinds = available_kinds()
    kind = argv.pop(0) if argv and not argv[0].startswith("-") else None
    if kind is not None and kind not in kinds:
        raise BadInput(f"no evaluation {kind[:60]!r}{nearest(kind, kinds)}: give one of {', '.join(kinds)}")
    if any(word == "--compare" or word.startswith("--compare=") for word in argv):
        return _compare(kind, argv)
    if kind is None:
        if argv and argv[0] in ("-h", "--help"):
            print(_help(kinds))
            return 0
        raise BadInput(f"say first what to evaluate: one of {', '.join(kinds)}; KIND --help lists the options")
    try:
        options = parse_config(_options_of(kind), argv, kind="evaluate", prog=f"relic-rl evaluate {kind}")
    except SystemExit:
        print(f"\n{_JOIN_HELP.replace('[KIND]', kind)}")
        raise
    from relic_rl.runtime.distributed import launched_processes  # noqa: PLC0415 (late: torch)

    if kind not in _TOGETHER and launched_processes().are_several:
        raise BadInput(f"evaluate {kind} runs as one process: start it without torchrun ({_TOGETHER[0]} takes several)")
    return int(_module(kind).run(options))


def _compare(kind: str | None, argv: list[str]) -> int:
    """Join finished results."""
    options = parse_config(CompareOptions, argv, kind="evaluate", prog="relic-rl evaluate")
    from relic_rl.evaluate_kinds.comparing import compare  # noqa: PLC0415 (late: matplotlib)

    def part_of(found: str, name: str) -> Any:
        return getattr(_module(found), name, None)

    return compare(kind, options, part_of)


def _help(kinds: list[str]) -> str:
    lines = [f"usage: relic-rl evaluate {{{','.join(kinds)}}} ...", ""]
    for kind in kinds:
        purpose = (_options_of(kind).__doc__ or "").splitlines()[0]
        lines.append(f"  {kind:<11} {purpose}")
    return "\n".join([*lines, "", _JOIN_HELP, "relic-rl evaluate KIND --help lists a kind's options."])


def _options_of(kind: str) -> Any:
    return importlib.import_module(f"relic_rl.evaluate_kinds.{kind}{_OPTIONS}").Options


def _module(kind: str) -> Any:
    return importlib.import_module(f"relic_rl.evaluate_kinds.{kind}")


if __name__ == "__main__":
    sys.exit(main())
