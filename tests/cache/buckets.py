"""A bucket of an S3 server on this machine, which this process's environment leads to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.faults.s3_line import Line, environment, make_bucket, serving


@contextmanager
def bucket(name: str) -> Iterator[Line]:
    """The line to the server; what is in the environment is so for as long as the block runs."""
    with serving() as line, pytest.MonkeyPatch.context() as patch:
        for variable, value in environment(line).items():
            patch.setenv(variable, value)
        make_bucket(line, name)
        yield line
