"""Whether NVDEC's decode statistics are to be believed: a trial clip's, against the motion that FFmpeg gives.

NVIDIA documents the statistics' fields by name only; their unit, sign and list are therefore tried on a small clip
before anyone relies on them. What the statistics say is left to `nvdec_statistics`.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.nvdec import NvdecSession
from codecsieve.codec.nvdec_statistics import BLOCK
from codecsieve.codec.nvdec_support import first_layout
from codecsieve.codec.packets import open_source
from codecsieve.codec.picture import Picture

AGREEMENT = 0.95
"""Part of a trial clip's inter blocks whose motion must be FFmpeg's exactly."""

TRIAL_SIZE = 320, 192
"""Width and height of the trial clip."""

TRIAL_PICTURES = 8


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
