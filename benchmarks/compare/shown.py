"""Whether the pictures that a tool gives are of the frames that it says: against a full decode by PyAV.

A tool shows boxes, each with the mean of its colours and the number of the frame it is said to be of. A frame is wrong
if its boxes are clearly nearer to another frame of the video: whoever shows a frame beside one that looks the same is
not found out. Tools number frames as a decoder shows them, or as packets list them; and may or may not turn a
picture that is to be turned: of both, whichever suits a tool on this video counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type

from benchmarks.compare.frames import listed_numbers
from codecsieve.codec.facts import open_container, video_stream

SIDE = 256
"""Of the square, in samples, that each frame is brought to for this."""
CLEARLY = 1.0, 0.15
"""How much nearer another frame must be: grey levels a box, and part of the distance to the frame said."""


@dataclass(frozen=True)
class FullDecode:
    """All frames that a decoder shows which is given all packets. grey: uint8 [N, 256, 256], mean of R, G and B."""

    grey: np.ndarray
    numberings: tuple[list[int], ...]
    """Numbers of all: as shown, among what packets list from the first shown on, and from the first packet on."""
    upright: bool
    """Whether players show them as they are coded, neither turned nor mirrored."""

    @classmethod
    def of(cls, video: str | Path) -> FullDecode:
        """Decode a video; raises VideoError where it cannot be opened."""
        frames: list[np.ndarray] = []
        times: list[int | None] = []
        listed: set[int | None] = set()
        upright = True
        with open_container(str(video)) as container:
            stream = video_stream(container)
            assert stream is not None
            stream.codec_context.thread_count = 1
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    listed.add(packet.pts)
                try:
                    shown = stream.codec_context.decode(packet if packet.size else None)
                except av.FFmpegError:
                    continue
                for frame in shown:
                    frames.append(_grey(frame))
                    times.append(frame.pts)
                    upright &= not any(data.type is Type.DISPLAYMATRIX for data in frame.side_data)
        grey = np.stack(frames) if frames else np.zeros((0, SIDE, SIDE), np.uint8)
        return cls(grey, _numberings(times, listed), upright)

    def views(self) -> Iterator[np.ndarray]:
        """The frames as coded, and, if they are to be turned or mirrored, in every way that there is."""
        yield self.grey
        if not self.upright:
            for turns, mirrored in ((turns, mirrored) for turns in range(4) for mirrored in (False, True)):
                turned = np.rot90(self.grey, turns, axes=(1, 2))
                yield turned[:, :, ::-1] if mirrored else turned


def _numberings(times: list[int | None], listed: set[int | None]) -> tuple[list[int], ...]:
    from_first = listed_numbers(times, listed)
    first = min((time for time in times if time is not None), default=0)
    never_shown = sum(time is not None and time < first for time in listed)
    return list(range(len(times))), from_first, [number + never_shown for number in from_first]


def _grey(frame: av.VideoFrame) -> np.ndarray:
    colours = frame.reformat(SIDE, SIDE, "rgb24").to_ndarray()
    return (colours.sum(axis=2, dtype=np.uint16) // 3).astype(np.uint8)


def wrong_frames(frames: np.ndarray, boxes: np.ndarray, means: np.ndarray, decode: FullDecode) -> tuple[int, int]:
    """How many of the frames shown are wrong, and how many are shown.

    frames: int [n], as the tool numbers them; boxes: float [n, 4], left, top, right, bottom as parts of the picture;
    means: float [n].
    """
    shown = len(np.unique(frames))
    if not len(decode.grey):
        return shown, shown
    least = shown
    for view in decode.views():
        seen = box_means(view, boxes)
        for numbers in decode.numberings:
            least = min(least, _count_wrong(frames, means, seen, numbers))
        if not least:
            break
    return least, shown


def _count_wrong(frames: np.ndarray, means: np.ndarray, seen: np.ndarray, numbers: list[int]) -> int:
    """seen: means of every box in every frame, [n, N]; numbers: of these frames, [N]."""
    place = {number: index for index, number in enumerate(numbers)}
    said = np.array([place.get(int(frame), -1) for frame in frames])
    known = said >= 0
    # Colours are converted in several ways; what that changes on the whole is no difference of frames.
    shift = np.median(means[known] - seen[known, said[known]]) if known.any() else 0.0
    distance = np.abs(means[:, None] - shift - seen)
    wrong = 0
    for frame in np.unique(frames):
        own = frames == frame
        index = place.get(int(frame))
        each = distance[own].mean(axis=0)
        wrong += index is None or bool(each[index] - each.min() > CLEARLY[0] + CLEARLY[1] * each[index])
    return wrong


def box_means(pictures: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mean of each box in each picture: uint8 [N, S, S], float [n, 4] -> float32 [n, N]; edges may cut samples."""
    side = pictures.shape[-1]
    left, top, right, bottom = np.clip(boxes, 0, 1).T * side
    area = np.maximum((right - left) * (bottom - top), 1e-9)
    found: np.ndarray = np.empty((len(boxes), len(pictures)), np.float32)
    sums = np.zeros((side + 1, side + 1))
    for number, picture in enumerate(pictures):
        np.cumsum(np.cumsum(picture, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
        whole = _at(sums, bottom, right) - _at(sums, top, right) - _at(sums, bottom, left) + _at(sums, top, left)
        found[:, number] = whole / area
    return found


def _at(sums: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """A table of sums between its points, linearly."""
    last = len(sums) - 2
    top, left = (np.minimum(value.astype(np.int64), last) for value in (row, column))
    down, over = row - top, column - left
    return (
        sums[top, left] * (1 - down) * (1 - over)
        + sums[top, left + 1] * (1 - down) * over
        + sums[top + 1, left] * down * (1 - over)
        + sums[top + 1, left + 1] * down * over
    )
