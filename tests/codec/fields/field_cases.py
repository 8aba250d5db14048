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
from codecsieve.codec.fields.table import choose_table, why_not
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
    """One picture as its decoder tells it, and what its prediction leaves."""

    coded: CodedPicture
    blocks: CodedBlocks
    vectors: np.ndarray
    entries: np.ndarray
    residual: np.ndarray
    bare: np.ndarray
    """The residual of samples of which nothing was coded."""


def read_all(path: Path, **options: str) -> Iterator[Read]:
    """Every predicted picture of a video's first stream, in the order of decoding; of frame macroblocks only."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_count = 1
        decoder.options = options
        decoder.open(strict=False)
        table = choose_table()
        assert table is not None
        with FieldReader(decoder, table) as reader:
            for index, packet in enumerate(container.demux(stream)):
                if packet.size == 0:
                    break
                packet.pts = packet.dts = index
                decoder.decode(packet)
                coded = reader.read(index)
                if coded is not None:
                    (part,) = coded.predictions
                    assert part.rows == FRAME
                    blocks = reader.blocks(index)
                    bare = uncoded_residual(coded, blocks, part)
                    yield Read(coded, blocks, *part.motion.units(), residual_of(coded, part), bare)


def residual_of(coded: CodedPicture, part: Prediction) -> np.ndarray:
    """Residual of a picture or a field as coded: uint8 [rows, width]."""
    shown = (0, 0, len(part.picture), coded.width)
    return compensated_residual(
        part.picture, part.references, part.plane_of, *part.motion.units(), part.weights,
        shown, coded.width, coded.filter, coded.bit_depth,
    )  # fmt: skip


def uncoded_residual(coded: CodedPicture, blocks: CodedBlocks, part: Prediction) -> np.ndarray:
    """Residual of all samples that are predicted and have no coefficients; of a field, those of neither field's."""
    counts = blocks.coefficients
    if part.rows != FRAME:
        counts = counts.reshape(-1, 8, counts.shape[1])[:, ::2].reshape(-1, counts.shape[1])
    uncoded = (counts == 0) & (part.motion.units()[1] >= 0).any(axis=-1)
    samples = uncoded.repeat(UNIT, axis=0).repeat(UNIT, axis=1)[: len(part.picture), : coded.width]
    return residual_of(coded, part)[samples]
