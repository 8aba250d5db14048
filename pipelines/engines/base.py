"""What every engine takes and gives: jobs, their answers, and what comes in place of an answer that is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Lost:
    """Comes in place of an answer. reason: why there is none; seconds: how long the worker was at it."""

    reason: str
    seconds: float
