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

from codecsieve.codec.fields import DECODER_FIELDS
from codecsieve.codec.fields.coded import CodedBlocks, CodedPicture
from codecsieve.codec.fields.memory import FieldsError
from codecsieve.codec.fields.reader import FieldReader
from codecsieve.codec.fields.table import Table, choose_table, table_from_json, why_not
from codecsieve.errors import ConfigError

STREAMS = Path(__file__).parent / "streams"
KNOWN = (
    ("hevc", "hevc.265", "d7ae48ab4d8dd36cce29e96b777d98d52e2cd6ae0a5953cf9f88489c05bafbce"),
    ("h264", "h264.264", "c86b8bb909878f0945e7ee978f7788eb2edb68386fdf455fb5f7713f07406173"),
    ("h264", "h264_mixed.264", "838dd2dbaa558810b11f4d42a35649bc2cbb0ff3286f42932e4852b36bd9dfa1"),
    ("h264", "h264_slices.264", "26cc1e76bb99a4c336e7ca067741e5df9e4412df6f21e035b51f1e3d9c547287"),
    ("h264", "h264_fields.264", "11b40b0dabc86f3473da847c7b804a46b6483523a6e7329fbce75b61b3390b5d"),
)
"""Codecs, streams, and the digest of what is read of each by a table that is right. Of H.264 there are frames, frames
with macroblocks of fields, slices that refer otherwise than others of their picture, and fields.
"""
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
    for codec, name, known in KNOWN:
        try:
            if digest(table, codec, (STREAMS / name).read_bytes()) != known:
                return f"what it reads of {name} is not what is known"
        except (FieldsError, av.FFmpegError, OSError) as error:
            return f"it cannot read {name} ({error})"
    return None


def digest(table: Table, codec: str, data: bytes) -> str:
    """SHA-256 of all that is read of the pictures of a stream, decoded on one thread."""
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    decoder.open(strict=False)
    read = hashlib.sha256()
    with FieldReader(decoder, table) as reader:
        index = -1
        for number, packet in enumerate(decoder.parse(data) + decoder.parse(None)):
            packet.pts = packet.dts = number
            decoder.decode(packet)
            if not reader.holds(index):  # a second field has its picture's
                index = number
            coded = reader.read(index)
            if coded is not None:
                _add(read, coded, reader.blocks(index))
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
