"""A service's log: a line of JSON an event, so that nothing that a request says can look like another line.

Written to standard error. What is logged of a request is left to `app`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

LOGGER = logging.getLogger("codecsieve.serve")


class JsonLines(logging.Formatter):
    """Time, level, message, and the fields that the event was given as `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, ASCII only."""
        event: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            event["traceback"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Have everything logged as JSON from now on, uvicorn's lines and warnings of the pipeline included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:], logger.propagate = [], True


def event(message: str, **fields: Any) -> None:
    """Log something that happened."""
    LOGGER.info(message, extra={"fields": fields})
