"""What of this machine the process may use."""

from __future__ import annotations

import os

from codecsieve.machine import available_cores


def test_cores_are_those_that_may_be_used() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
