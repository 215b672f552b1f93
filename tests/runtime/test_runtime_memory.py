"""Freed blocks stay with the process, where the C library can be told so."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from relic_rl.runtime.memory import keep_freed_memory

def faults():
    for _ in range(20):
        torch.ones(16 << 20)  # 64 MiB, touched and freed
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

start = faults()
before = faults() - start
assert keep_freed_memory()
start = faults()
print(before, faults() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_blocks_are_used_again_without_page_faults() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert before > 100 * max(after, 1)
