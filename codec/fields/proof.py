"""Whether a table reads rightly: known streams are decoded, and all that is read must be what is known of them.

Done in a child process, before the table is first used in this one: a table that fits so badly that reading by it
crashes is then only not used. The streams (`streams`) use what there is to be read: several slices, both lists, several
references, weights, cropping, quantisers that change, blocks with and without coefficients; what is read of them leaves
no residual where nothing was coded, which the tests show.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np

from codecsieve.codec.fields.coded import CodedBlocks, CodedPicture
from codecsieve.codec.fields.memory import FieldsError
from codecsieve.codec.fields.reader import FieldReader
from codecsieve.codec.fields.table import Table, choose_table, table_from_json, why_not
from codecsieve.codec.signals import DECODER_FIELDS
from codecsieve.errors import ConfigError

STREAMS = Path(__file__).parent / "streams"
KNOWN = {
    "hevc": ("hevc.265", "b2410ec99ff91f5dd593715a3c7fdea6af38c414b8502190154ae209f30b6b9b"),
}
"""Of each codec a stream, and the digest of what is read of it by a table that is right."""
_SECONDS = 60
_CHILD = (
    "import json, sys; said = json.load(sys.stdin); sys.path[:] = said['path']; "
    "from codecsieve.codec.fields.proof import main; main(said['table'])"
)


def usable_table(asked: str) -> Table | None:
    """The table to read decoders by, as `--decoder-fields` asks: None for `off`, and where `auto` finds none.

    Raises ConfigError where `on` finds none, ValueError for an unknown choice.
    """
    if asked not in DECODER_FIELDS:
        raise ValueError(f"decoder_fields ({asked!r}) must be one of {', '.join(DECODER_FIELDS)}")
    if asked == "off":
        return None
    table = proven_table()
    if not isinstance(table, str):
        return table
    if asked == "on":
        raise ConfigError(f"decoder_fields ('on') cannot be: {table}; use decoder_fields auto")
    return None


def fields_off(asked: str) -> str | None:
    """Why `usable_table` gives none, in one line; None where it gives one."""
    reason = "decoder_fields is off" if asked == "off" else proven_table()
    return reason if isinstance(reason, str) else None


@functools.cache
def proven_table() -> Table | str:
    """The table to read this process's decoders by, or why there is none. The first call takes a child process."""
    table = choose_table()
    return why_not() or "there is no table" if table is None else prove_in_child(table) or table


def prove_in_child(table: Table) -> str | None:
    """Why a table is not right, found by another process; None where it is."""
    if not sys.executable:
        return "there is no Python to try it in"
    said = json.dumps({"path": sys.path, "table": dataclasses.asdict(table)})
    try:
        child = subprocess.run(
            [sys.executable, "-c", _CHILD], input=said, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"trying it failed ({type(error).__name__})"
    if child.returncode == 0:
        return None
    return child.stdout.strip() or f"reading by it ends a process (status {child.returncode})"


def main(said: dict[str, dict[str, object]]) -> None:
    """The child's part: exit with 0 where the table is right, or print why not."""
    reason = prove(table_from_json(said))
    if reason:
        print(reason)
    sys.exit(reason is not None)


def prove(table: Table) -> str | None:
    """Why a table is not right, in this process; None where it is."""
    for codec, (name, known) in KNOWN.items():
        try:
            if digest(table, codec, (STREAMS / name).read_bytes()) != known:
                return f"what it reads of a known {codec} stream is not what is known"
        except (FieldsError, av.FFmpegError, OSError) as error:
            return f"a known {codec} stream cannot be read by it ({error})"
    return None


def digest(table: Table, codec: str, data: bytes) -> str:
    """SHA-256 of all that is read of the pictures of a stream, decoded on one thread."""
    decoder = av.CodecContext.create(codec, "r")
    decoder.thread_count = 1
    decoder.open(strict=False)
    read = hashlib.sha256()
    with FieldReader(decoder, table) as reader:  # type: ignore[arg-type]
        for index, packet in enumerate(decoder.parse(data) + decoder.parse(None)):
            packet.pts = packet.dts = index
            decoder.decode(packet)  # type: ignore[arg-type]
            coded = reader.read(index)
            if coded is not None:
                _add(read, coded, reader.blocks())
    return read.hexdigest()


def _add(read: hashlib._Hash, coded: CodedPicture, blocks: CodedBlocks) -> None:
    read.update(repr((coded.width, coded.height, coded.crop, coded.bit_depth, coded.filter)).encode())
    arrays = [blocks.coefficients, blocks.quantiser]
    for part in coded.predictions:
        planes = (part.picture, *part.references)
        arrays += [plane[:, : coded.width] for plane in planes]
        arrays += [part.plane_of, *part.motion.units()]
        if part.weights is not None:
            arrays += [np.array(part.weights.denominator), part.weights.single, part.weights.pairs]
    for array in arrays:
        read.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
