"""The door to comparisons: ``python -m relic_rl.compare --games Pong,Breakout --objectives relic,infonce,none``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from relic_rl.compare_options import CompareConfig
from relic_rl.runtime.config import parse_config
from relic_rl.runtime.errors import run_door


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, make the runs that are missing, report.

    Returns:
        0 done, 1 a run failed (the report then lacks it), 2 bad input, 130 interrupted, 143 terminated.
    """
    return run_door(lambda: _compare(sys.argv[1:] if argv is None else argv))


def _compare(argv: Sequence[str]) -> int:
    # A dataclass cannot have a field named from.
    argv = ["--from-runs" if argument == "--from" else argument for argument in argv]
    config = parse_config(CompareConfig, argv, kind="compare")
    from relic_rl.comparing import compare  # noqa: PLC0415 (late: torch takes seconds, --help needs none)

    return compare(config)


if __name__ == "__main__":
    sys.exit(main())
