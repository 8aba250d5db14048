"""What the tests of `codec.fields` share: streams without loop filters, and what their decoder says of each picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from codecsieve.codec.fields.coded import FRAME, CodedBlocks, CodedPicture, Prediction
from codecsieve.codec.fields.reader import FieldReader
from codecsieve.codec.fields.table import Table, choose_table, why_not
from codecsieve.kernels.cpu.compensate import compensated_residual
from codecsieve.kernels.reference.compensate import UNIT

needs_table = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


def scene(frames: int, width: int, height: int, fade: bool = False, seed: int = 0) -> list[np.ndarray]:
    """RGB pictures of a texture that moves left and up, and a square that moves on it; fade: out of the dark."""
    random = np.random.default_rng(seed)
    ground = random.integers(0, 256, (height + 3 * frames + 8, width + 3 * frames + 8)).astype(float)
    for _ in range(2):
        ground = sum(np.roll(ground, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)) / 6
    ground = (ground - ground.min()) / np.ptp(ground) * 215 + 20
    pictures = []
    for number in range(frames):
        picture = ground[number : number + height, 2 * number : 2 * number + width].copy()
        y, x = height // 4 + number, width // 3 + 2 * number
        side = min(height, width) // 3
        picture[y : y + side, x : x + side] = ground[-side:, -side:][: height - y, : width - x]
        light = (0.4 + 0.6 * number / frames) if fade else 1.0
        pictures.append(np.repeat((picture * light).astype(np.uint8)[..., None], 3, axis=2))
    return pictures


class Read(NamedTuple):
    """One picture as its decoder tells it, and what is made of that."""

    coded: CodedPicture
    blocks: CodedBlocks
    vectors: np.ndarray
    entries: np.ndarray
    residual: np.ndarray
    frame: av.VideoFrame | None


def read_all(path: Path, table: Table | None = None, **options: str) -> Iterator[Read]:
    """Every predicted picture of a video's first stream, in the order of decoding; of frame macroblocks only."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_count = 1
        decoder.options = options
        decoder.open(strict=False)
        known = table or choose_table()
        assert known is not None
        with FieldReader(decoder, known) as reader:
            for index, packet in enumerate(container.demux(stream)):
                if packet.size == 0:
                    break
                packet.pts = packet.dts = index
                decoder.decode(packet)
                coded = reader.read(index)
                if coded is not None:
                    (part,) = coded.predictions
                    assert part.rows == FRAME
                    vectors, entries = part.motion.units()
                    yield Read(coded, reader.blocks(), vectors, entries, residual_of(coded, part), None)


def residual_of(coded: CodedPicture, part: Prediction) -> np.ndarray:
    """Residual of a picture as coded, uint8 [height, width]."""
    vectors, entries = part.motion.units()
    return compensated_residual(
        part.picture, part.references, part.plane_of, vectors, entries, part.weights,
        (0, 0, coded.height, coded.width), coded.width, coded.filter, coded.bit_depth,
    )  # fmt: skip


def uncoded_residual(read: Read) -> np.ndarray:
    """Residual of all samples that are predicted and of which the stream says that nothing was coded."""
    uncoded = (read.blocks.coefficients == 0) & (read.entries >= 0).any(axis=-1)
    samples = uncoded.repeat(UNIT, axis=0).repeat(UNIT, axis=1)[: read.coded.height, : read.coded.width]
    return read.residual[samples]
