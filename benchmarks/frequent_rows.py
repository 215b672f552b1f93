"""``python -m relic_rl.train`` with rows of progress.csv as frequent as one likes: toys are learned within seconds.

    python benchmarks/frequent_rows.py STEPS OPTIONS

STEPS is the least number of agent steps from one row to the next. A script, so that torchrun can start it too. Rows
change nothing in what is learned.
"""

from __future__ import annotations

import functools
import sys

from relic_rl import train_run
from relic_rl.runtime.metrics import MetricLogger
from relic_rl.train import main

if __name__ == "__main__":
    train_run.MetricLogger = functools.partial(MetricLogger, row_steps=int(sys.argv[1]), row_seconds=0.0)  # type: ignore[misc, assignment]
    sys.exit(main(sys.argv[2:]))
