"""``python -m relic_rl.train`` with a row of progress.csv every 256 agent steps: toys are learned within seconds.

A script, so that torchrun can start it too. Rows change nothing in what is learned.
"""

from __future__ import annotations

import functools
import sys

from relic_rl import train_run
from relic_rl.runtime.metrics import MetricLogger
from relic_rl.train import main

ROW_STEPS = 256

if __name__ == "__main__":
    train_run.MetricLogger = functools.partial(MetricLogger, row_steps=ROW_STEPS, row_seconds=0.0)  # type: ignore[misc, assignment]
    sys.exit(main())
