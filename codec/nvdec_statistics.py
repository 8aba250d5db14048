"""What NVDEC tells of a picture's motion: its decode statistics, and whether they mean what FFmpeg's motion means.

Drivers from 590 on give one entry a 16x16 block of H.264 and HEVC pictures. NVIDIA documents the fields by name only;
their unit, sign and list are therefore tried against FFmpeg on a small clip before anyone relies on them. Turning
blocks into cells is left to `kernels`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.nvdec_packets import NvdecError
from codecsieve.codec.nvdec_support import first_layout
from codecsieve.codec.packets import open_source

if TYPE_CHECKING:
    from codecsieve.codec.nvdec import NvdecSession
    from codecsieve.codec.picture import Picture

BLOCK = 16
"""Side of a block of the statistics, in luma samples."""
FIELDS = ("qp_luma", "cu_type", "mv0_x", "mv0_y", "mv1_x", "mv1_y")
"""What ParseDecodeStats gives, in this order where it gives a tuple; newer versions may add more."""
INTER_TYPES = (1, 2)
"""cu_type of blocks predicted from other pictures: INTER, SKIP (0 is INTRA, 3 is PCM)."""
AGREEMENT = 0.95
"""Part of a trial clip's inter blocks whose motion must be FFmpeg's exactly."""
TRIAL_SIZE = 320, 192
"""Width and height of the trial clip."""
TRIAL_PICTURES = 8


@dataclass(frozen=True)
class BlockStatistics:
    """One picture's motion on a grid of 16x16 blocks: R rows, C columns."""

    mv0: np.ndarray
    """int16 [R, C, 2], quarter-pel, x then y: to the reference picture of list 0."""
    mv1: np.ndarray
    """int16 [R, C, 2]: of list 1."""
    inter: np.ndarray
    """uint8 [R, C]: 1 where the block is predicted from another picture."""


def block_statistics(parsed: tuple[Any, ...] | dict[str, Any], height: int, width: int) -> BlockStatistics:
    """The statistics of one picture.

    Args:
        parsed: what ParseDecodeStats gave: lists in raster order of blocks, by the order or by the names of FIELDS.
        height: luma rows of the picture; the blocks cover it, and perhaps more of the coded picture.
        width: luma samples a row.

    Raises NvdecError where the lists do not cover the picture.
    """
    named = parsed if isinstance(parsed, dict) else dict(zip(FIELDS, parsed, strict=False))
    missing = [name for name in FIELDS[1:] if name not in named]
    if missing:
        raise NvdecError(f"NVDEC's decode statistics lack {', '.join(missing)}")
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    fields = {name: np.asarray(named[name]).reshape(-1) for name in FIELDS[1:]}
    counts = {len(field) for field in fields.values()}
    if counts != {rows * columns}:
        given = ", ".join(map(str, sorted(counts)))
        raise NvdecError(f"NVDEC's decode statistics have {given} blocks, not {rows} x {columns}")
    grids = {name: field.reshape(rows, columns) for name, field in fields.items()}
    return BlockStatistics(
        mv0=np.stack([grids["mv0_x"], grids["mv0_y"]], axis=-1).astype(np.int16),
        mv1=np.stack([grids["mv1_x"], grids["mv1_y"]], axis=-1).astype(np.int16),
        inter=np.isin(grids["cu_type"], INTER_TYPES).astype(np.uint8),
    )


def statistics_agree(session: NvdecSession) -> bool:
    """Whether decode statistics give the motion that FFmpeg gives, tried on a clip made on the spot.

    The clip is H.264 with one reference picture and undivided macroblocks, whose halves move differently. It takes
    some tenths of a second: ask once a process. False also where the driver gives no statistics.

    Raises NvdecError where NVDEC cannot decode the clip.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.mp4"
        _write_trial(path)
        wanted = np.arange(TRIAL_PICTURES)
        with open_source(str(path)) as source:
            expected = {p.display_index: _motion(p) for p in decode_pictures(source, wanted, motion=True)}
        agreed = total = 0
        with open_source(str(path)) as source:
            layout, _ = first_layout(source, wanted)
            for picture in session.pictures(source, wanted, layout, statistics=True):
                if picture.statistics is None:
                    return False
                vectors, inter = expected[picture.display_index]
                same = (picture.statistics.mv0 == vectors).all(-1) & (picture.statistics.inter == 1)
                agreed, total = agreed + int(same[inter].sum()), total + int(inter.sum())
    return total > 0 and agreed >= AGREEMENT * total


def _motion(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """FFmpeg's motion of a picture of undivided macroblocks: int16 [R, C, 2], and bool [R, C] where there is any."""
    shape = -(-picture.layout.height // BLOCK), -(-picture.layout.width // BLOCK)
    vectors, inter = np.zeros((*shape, 2), np.int16), np.zeros(shape, bool)
    records = picture.motion_records()
    if records is not None:
        _, _, _, x, y, motion_x, motion_y, scale = records
        at = y // BLOCK, x // BLOCK
        vectors[at] = np.stack([motion_x * 4 // scale, motion_y * 4 // scale], axis=-1)
        inter[at] = True
    return vectors, inter


def _write_trial(path: Path) -> None:
    width, height = TRIAL_SIZE
    random = np.random.default_rng(0)
    texture = np.kron(random.integers(40, 216, (height // 2, width)), np.ones((4, 4))).astype(np.uint8)
    options = {"bf": "0", "refs": "1", "x264-params": "partitions=none:weightp=0:scenecut=0:8x8dct=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(TRIAL_PICTURES):
            # Not by whole blocks and differently in x and y, in opposite directions above and below the middle.
            picture = np.empty((height, width), np.uint8)
            half = height // 2
            picture[:half] = texture[64 + number : 64 + number + half, 64 + 3 * number :][:, :width]
            picture[half:] = texture[192 - 2 * number : 192 - 2 * number + half, 64 - 5 * number :][:, :width]
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
