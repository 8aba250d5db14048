"""`bitstream` signals: the codec's own motion, and the exact residual that its prediction leaves.

For each wanted picture: FFmpeg's motion records on a grid of 8x8 blocks, and the difference between the picture
and its prediction from the reference pictures it may have used. FFmpeg does not tell which reference picture of a
list that was, so the nearest few are candidates (`kernels.reference.predict` picks the one with the least error).
The arithmetic is in `kernels`; which pictures are decoded at all, in `plan`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np

from codecsieve.codec.memory import KEPT_REFERENCES
from codecsieve.codec.picture import Picture
from codecsieve.codec.slots import SlotSignals
from codecsieve.codec.upright import upright_motion, upright_residual, upright_size
from codecsieve.kernels.cpu.predict import block_motion, cell_motion, prediction_residual
from codecsieve.kernels.reference.predict import BILINEAR, BLOCK, SIX_TAP

PAST_CANDIDATES = 2
"""Reference pictures of list 0 that are tried, likeliest first."""


def bitstream_signals(
    pictures: Iterator[Picture], wanted: Container[int], codec: str, references: int
) -> Iterator[SlotSignals]:
    """Signals of the wanted pictures.

    Args:
        pictures: all that was decoded, in order of presentation.
        wanted: display indices.
        codec: FFmpeg's name; it decides how reference pictures and filters work.
        references: how many reference pictures the stream may use at once (H.264 max_num_ref_frames).

    Yields:
        One SlotSignals a wanted picture, nearly in order: a B-picture waits for its future reference picture.
    """
    taps = SIX_TAP if codec == "h264" else BILINEAR
    count = min(PAST_CANDIDATES, max(references, 1)) if codec == "h264" else 1
    recent: list[Picture] = []
    waiting: list[Picture] = []
    for picture in pictures:
        if recent and recent[-1].layout != picture.layout:
            # Nothing is predicted across a change of the stream's parameters.
            yield from (_signals(held, recent, None, taps, count) for held in waiting)
            recent, waiting = [], []
        reference = picture.reference if codec == "h264" else not picture.bidirectional
        if reference:
            for held in [p for p in waiting if p.decode_index > picture.decode_index]:
                waiting.remove(held)
                yield _signals(held, recent, picture, taps, count)
        if picture.display_index in wanted:
            if picture.bidirectional:
                waiting.append(picture)
            else:
                yield _signals(picture, recent, None, taps, count)
        if reference:
            recent = [*recent[1 - KEPT_REFERENCES :], picture]
            if picture.intra and codec == "h264" and picture.frame.key_frame:
                # What is shown after a keyframe refers to nothing that is shown before it, leading pictures included.
                recent = [picture]
    for held in waiting:
        yield _signals(held, recent, None, taps, count)


def _signals(picture: Picture, recent: list[Picture], future: Picture | None, taps: int, count: int) -> SlotSignals:
    layout = picture.layout
    decoded = [p for p in recent if p.decode_index < picture.decode_index]
    if picture.bidirectional:
        past = decoded[::-1][:count]  # list 0 of a B-picture: nearest in time first (H.264 8.2.4.2.3)
    else:
        past = sorted(decoded, key=lambda p: -p.decode_index)[:count]  # of a P-picture: last decoded first (8.2.4.2.1)
    nearest = past or ([future] if future else [])
    if picture.intra or not nearest:
        return SlotSignals.unpredicted(picture, *upright_size(picture))
    width = picture.frame.width
    grid = -(-picture.luma.shape[0] // BLOCK), -(-width // BLOCK)
    records = picture.motion_records()
    if records is None:
        vectors, lists = np.zeros((*grid, 2, 2), np.int16), np.zeros(grid, np.uint8)
    else:
        vectors, lists = block_motion(*records, *grid)  # type: ignore[call-arg, arg-type]
    residual = prediction_residual(
        picture.luma,
        tuple(p.luma for p in nearest),
        future.luma if future else None,
        vectors,
        lists,
        (layout.crop_top, layout.crop_left, layout.height, layout.width),
        width,
        taps,
        layout.bit_depth,
    )
    turned = layout.orientation
    motion = cell_motion(vectors, lists, layout.crop_top, layout.crop_left, layout.height, layout.width)
    motion = upright_motion(motion, layout.height, layout.width, turned)
    return SlotSignals(picture, motion, upright_residual(residual, turned), predicted=True)
