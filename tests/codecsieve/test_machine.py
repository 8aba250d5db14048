"""What of this machine the process may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from codecsieve.machine import available_cores


def test_cores_are_those_that_may_be_used() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is limited")
def test_a_process_gets_no_more_memory_than_it_was_left() -> None:
    program = """
import numpy as np
from codecsieve.machine import limit_memory
before = np.ones(100 << 20, np.uint8)
limit_memory(200 << 20)
small = np.ones(100 << 20, np.uint8)
try:
    np.ones(150 << 20, np.uint8)
except MemoryError:
    del small
    np.ones(150 << 20, np.uint8)
    print("refused, and then given")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "refused, and then given\n", ended.stderr
