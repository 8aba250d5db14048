"""A stream's own process: told by a line of JSON what to sieve, it reads the video behind that line, or a file.

What comes of it goes out as messages: a letter (`t` for text, `b` for bytes), their length, and they. Whoever started
it kills it when nobody listens any more, and with it goes all that the stream held; a video that crashes it costs its
own stream and nothing else.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import IO, Any

from codecsieve.errors import CodecsieveError, VideoError
from codecsieve.files import kind_of_file
from codecsieve.machine import limit_memory
from codecsieve.options import in_units
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.stream.config import StreamOptions
from codecsieve.pipelines.stream.stream import Stream
from codecsieve.pipelines.stream.windows import StreamWindow

from .encodings import encode, facts_of

HEAD = struct.Struct("!cI")
"""What is before a message: its letter, its length."""
TEXT, BYTES = b"t", b"b"
UPLOADED = "upload"
"""What a video that comes as messages is called."""


def main(out: IO[bytes]) -> None:
    """Tell of every window until the end, and then of that, or of what went wrong."""
    wanted = json.loads(_line())
    limit_memory(wanted["options"]["max_memory"])
    try:
        _sieve(wanted, out)
    except CodecsieveError as error:
        told = str(error).replace(wanted["path"] or "standard input", wanted["name"])
        _say(out, {"error": told, "status": 422})
    except MemoryError:
        most = in_units(wanted["options"]["max_memory"])
        _say(out, {"error": f"{wanted['name']}: takes more memory than the {most} that a stream may", "status": 413})
    except BrokenPipeError:
        raise
    except Exception as error:
        _say(out, {"error": f"{wanted['name']}: internal error: {type(error).__name__}", "status": 500})


def _sieve(wanted: dict[str, Any], out: IO[bytes]) -> None:
    path = wanted["path"]
    if path is not None and kind_of_file(path) != "file":
        raise VideoError(f"{path}: is a {kind_of_file(path)}; name a video file")
    config, options = SieveConfig(**wanted["config"]), StreamOptions(**wanted["options"])
    with Stream("-" if path is None else path, config, options, wanted["pixels"]) as stream:
        facts = stream.facts
        if max(facts.width, facts.height) > wanted["max_side"]:
            raise VideoError(f"{facts.path}: {facts.width}x{facts.height} is over the {wanted['max_side']} pixels a "
                             "side that this service takes; scale it down first")  # fmt: skip
        for window in stream:
            kept = window.selection
            _say(out, {"window": window.number, "start": window.start, "notes": window.notes,
                       "frames": kept.frame_ids[[0, -1]].tolist()})  # fmt: skip
            _send(out, BYTES, _encoded(window, config, wanted))
        _say(out, {"end": True, "frames": stream.frames, "windows": stream.windows})


def _encoded(window: StreamWindow, config: SieveConfig, wanted: dict[str, Any]) -> bytes:
    """As `/v1/sieve` answers, and the times of the frames."""
    kept = window.selection
    rows = {"patches": kept.patches} if wanted["pixels"] else {}
    rows |= {"positions": kept.positions, "scores": kept.scores}
    whole = {"frame_ids": kept.frame_ids, "times": window.times}
    return encode(wanted["kind"], rows, whole, {**facts_of(kept), "config": config.to_dict(), "grid": config.grid})


def _say(out: IO[bytes], value: dict[str, Any]) -> None:
    _send(out, TEXT, json.dumps(value).encode())


def _send(out: IO[bytes], letter: bytes, data: bytes) -> None:
    out.write(HEAD.pack(letter, len(data)) + data)
    out.flush()


def _line() -> bytes:
    """The first line of standard input, and nothing that is behind it."""
    read = bytearray()
    while not read.endswith(b"\n"):
        one = os.read(0, 1)
        if not one:
            break
        read += one
    return bytes(read)


if __name__ == "__main__":
    try:
        main(sys.stdout.buffer)
    except BrokenPipeError:
        os._exit(1)  # nobody listens
