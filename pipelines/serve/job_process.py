"""A job's own process: `precompute` as the command line runs it, told what to do by a line of JSON on standard input.

What happens goes out as lines of JSON. When standard input ends, whoever started it is gone, or wants it to stop: what
is done by then is published, and the process ends. Also so after a kill of the service.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from typing import Any

from codecsieve.errors import CodecsieveError
from codecsieve.files import HeldError
from codecsieve.objects import is_object_url
from codecsieve.pipelines.inputs.clips import input_rows, read_ranges
from codecsieve.pipelines.inputs.row import ColumnNames
from codecsieve.pipelines.precompute.chosen import options_of_run
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.precompute.summary import Progress

from .roots import Roots

WAIT = 75
"""Exit status where another process writes the cache: the job is to be tried again."""
STOPPED = 130
_MOST_FAILURES = 1000


def main() -> int:
    """Do the job; its exit status: 0 done, `WAIT`, `STOPPED`, or 1 with a line that says why."""
    wanted = json.loads(_line())
    threading.Thread(target=_watch, daemon=True).start()
    logging.basicConfig(handlers=[_Warnings()], level=logging.WARNING)
    try:
        _do(wanted)
    except KeyboardInterrupt:
        return STOPPED
    except HeldError as error:
        tell(note=str(error))
        return WAIT
    except CodecsieveError as error:
        tell(error=str(error))
        return 1
    return 0


def _do(wanted: dict[str, Any]) -> None:
    roots = Roots(wanted["roots"])
    columns = ColumnNames(wanted.get("columns") or {})
    _check_inputs(wanted["inputs"], columns, roots)
    requests = read_ranges(wanted["inputs"], columns, bool(wanted.get("labels_from_folders")))
    config = options_of_run(wanted["out"], wanted["preset"], **wanted["options"])
    summary = precompute(requests, wanted["out"], config, progress=_report, **wanted["run"])
    kept = [vars(failure) for failure in summary.failures[:_MOST_FAILURES]]
    tell(summary={
        **{name: getattr(summary, name) for name in (
            "made", "skipped", "duplicates", "lost", "not_tried", "relabelled", "moved", "seconds", "clip_bytes")},
        "failed": len(summary.failures), "failures": kept, "complete": summary.complete,
    })  # fmt: skip


def _check_inputs(inputs: list[str], columns: ColumnNames, roots: Roots) -> None:
    """Raise CodecsieveError where folders and manifests name what is outside; nobody has looked whether it is there."""
    for path in inputs:
        if is_object_url(path):
            raise CodecsieveError(f"{path}: a service reads no URLs of object stores; leave it out")
        for row in input_rows(path, columns):  # as whoever makes them reads them
            if is_object_url(row.path) or not roots.holds(os.path.realpath(row.path)):
                raise CodecsieveError(f"{row.path}: leads out of the service's roots; leave it out")


def _report(progress: Progress) -> None:
    tell(done=progress.done, total=progress.total, failed=progress.failed)


def tell(**event: Any) -> None:
    """Write a line of what happens."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _line() -> bytes:
    """The first line of standard input, read past Python's own buffer: no thread may hold its lock at the end."""
    read = bytearray()
    while not read.endswith(b"\n"):
        data = os.read(0, 1 << 16)
        if not data:
            break
        read += data
    return bytes(read)


def _watch() -> None:
    """Interrupt this process when nothing more can come."""
    while os.read(0, 1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGINT)


class _Warnings(logging.Handler):
    """What the pipeline warns of goes out as a line, too."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(warning=record.getMessage())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
