"""`bitstream` signals on a GPU: the motion that NVDEC's decode statistics tell, and the residual that it leaves.

The counterpart of `bitstream`, with two differences. Motion is that of 16x16 blocks, one vector a list. And a
picture's type is not told: it counts as bidirectional if the next reference picture in order of presentation was
decoded before it. The arithmetic is in `kernels`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from codecsieve.codec.bitstream import KEPT_REFERENCES, PAST_CANDIDATES
from codecsieve.codec.nvdec import DevicePicture
from codecsieve.codec.nvdec_packets import NvdecError
from codecsieve.codec.nvdec_statistics import BlockStatistics
from codecsieve.codec.picture import PictureFormat
from codecsieve.codec.surfaces import as_bits, as_samples, unused_bits
from codecsieve.kernels.cupy.predict import cell_motions, prediction_residuals, statistics_vectors
from codecsieve.kernels.reference.predict import SIX_TAP

STATISTICS_CODECS = frozenset({"h264", "hevc"})
"""Codecs of which NVDEC gives statistics."""


@dataclass(frozen=True)
class DeviceSignals:
    """Signals of one picture, on the device."""

    display_index: int
    motion: torch.Tensor | None
    """int16 [ceil(H / 4), ceil(W / 4), 2], quarter-pel, x then y; None for a picture without prediction."""
    residual: torch.Tensor | None
    """uint8 [H, W]; likewise."""


@dataclass(frozen=True)
class _Held:
    """A copy of what is needed of a picture once its surface is gone."""

    luma: torch.Tensor
    decode_index: int
    display_index: int
    statistics: BlockStatistics | None


def statistics_signals(
    pictures: Iterator[DevicePicture], wanted: set[int], layout: PictureFormat
) -> Iterator[DeviceSignals]:
    """Signals of the wanted pictures.

    Args:
        pictures: all that was decoded, in order of presentation, with their statistics.
        wanted: display indices.
        layout: of the pictures.

    Yields:
        One DeviceSignals a wanted picture, nearly in order: each waits for the next reference picture.

    Raises:
        NvdecError: the video is stored rotated or mirrored, or a picture comes without statistics.
    """
    if layout.orientation:
        raise NvdecError("NVDEC's decode statistics are not read of rotated or mirrored video")
    recent: list[_Held] = []
    waiting: list[_Held] = []
    for picture in pictures:
        if not (picture.reference or picture.display_index in wanted):
            continue
        held = _Held(as_bits(picture.luma).clone(), picture.decode_index, picture.display_index, picture.statistics)
        if picture.reference:
            for earlier in waiting:
                future = held if held.decode_index < earlier.decode_index else None
                yield _signals(earlier, recent, future, layout)
            # What waited and is a reference picture itself was put into `recent` when it came.
            waiting = []
        if held.display_index in wanted:
            waiting.append(held)
        if picture.reference:
            recent = [*recent[1 - KEPT_REFERENCES :], held]
    for earlier in waiting:
        yield _signals(earlier, recent, None, layout)


def _signals(held: _Held, recent: list[_Held], future: _Held | None, layout: PictureFormat) -> DeviceSignals:
    if held.statistics is None:
        raise NvdecError("NVDEC gave a picture without decode statistics")
    decoded = [p for p in recent if p.decode_index < held.decode_index and p.display_index < held.display_index]
    if future is None:
        decoded.sort(key=lambda p: p.decode_index)  # a P-picture's list 0 begins with what was decoded last
    past = decoded[::-1][:PAST_CANDIDATES]
    if not held.statistics.inter.any() or not (past or future):
        return DeviceSignals(held.display_index, None, None)
    device = held.luma.device
    vectors, lists = statistics_vectors(
        *(
            torch.from_numpy(array).to(device)[None]
            for array in (held.statistics.mv0, held.statistics.mv1, held.statistics.inter)
        )
    )
    nearest = past or ([future] if future else [])
    planes = [held, *nearest, *([future] if future else [])]
    luma = torch.stack([p.luma for p in planes])
    numbers = [*range(1, len(nearest) + 1), -1][:2]
    shown = (0, 0, layout.height, layout.width)
    residual = prediction_residuals(
        as_samples(luma),
        torch.tensor([0], device=device),
        torch.tensor([numbers], device=device),
        torch.tensor([len(planes) - 1 if future else -1], device=device),
        vectors,
        lists,
        shown,
        layout.width,
        SIX_TAP,
        layout.bit_depth,
        unused_bits(layout.bit_depth),
    )
    return DeviceSignals(held.display_index, cell_motions(vectors, lists, *shown)[0], residual[0])
