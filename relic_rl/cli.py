"""The console script ``relic-rl``: hands over to a door."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence

from relic_rl import __version__

DOORS = {
    "train": "train an agent by reinforcement learning",
    "pretrain": "train an encoder on images",
    "evaluate": "judge an agent or an encoder",
    "compare": "compare objectives over games and seeds",
}


def available_doors() -> list[str]:
    """The doors that this installation has."""
    return [name for name in DOORS if importlib.util.find_spec(f"relic_rl.{name}")]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``relic-rl DOOR ...``; the exit code.

    Args:
        argv: arguments; None takes those of the process.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    doors = available_doors()
    command = argv[0] if argv else ""
    if command in doors:
        return int(importlib.import_module(f"relic_rl.{command}").main(argv[1:]))
    if command in ("-h", "--help"):
        print(f"usage: relic-rl {{{','.join(doors)}}} ...\n")
        print("\n".join(f"  {name:<9} {DOORS[name]}" for name in doors))
        print("\nrelic-rl COMMAND --help lists a command's options; relic-rl --version prints the version.")
        return 0
    if command == "--version":
        print(f"relic-rl {__version__}")
        return 0
    wrong = f"no command {command[:60]!r}" if command else "no command given"
    print(f"error: {wrong}: give one of {', '.join(doors)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
