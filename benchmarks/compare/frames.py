"""Whether every slot shows the frame that it claims: random access against a full decode of the same file.

    python -m benchmarks.compare.frames VIDEO... [--draws 300]

VIDEO are files or folders. Each draw takes a file, a part of it and a number of slots. A slot is right if its picture
is nearer to the full decode's frame of that number than to any other; `equal` counts those that are that frame, bit
for bit: what a decoder makes up for damaged pictures may depend on what it decoded before. Where timestamps tell the
order, a frame that no decoder shows keeps its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import click
import numpy as np

from benchmarks.common import save, show
from codecsieve.codec.clip import in_true_order
from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.facts import open_container, video_stream
from codecsieve.codec.packets import open_source
from codecsieve.codec.plan import sample_frames
from codecsieve.errors import VideoError
from codecsieve.pipelines.inputs.clips import read_inputs

HELD_FILES = 4
"""Files whose full decode is kept; draws of one file come together."""


@click.command(help=__doc__)
@click.argument("videos", nargs=-1, required=True)
@click.option("--draws", default=300, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(videos: tuple[str, ...], draws: int, seed: int) -> None:
    """Draw, compare, show and write."""
    random = np.random.default_rng(seed)
    paths = [request.path for request in read_inputs(list(videos))]
    chosen = sorted(random.choice(paths, draws).tolist())
    rows = [_draw(path, random) for path in chosen]
    by_file: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_file.setdefault(Path(row["file"]).name, []).append(row)
    columns = ["file", "order", "draws", "right", "frames", "equal", "first wrong"]
    table = [
        [
            name,
            of[0]["order"],
            len(of),
            *(sum(row[count] for row in of) for count in ("right", "shown", "equal")),
            next((str(row["wrong"]) for row in of if not row["right"]), ""),
        ]
        for name, of in by_file.items()
    ]
    show("Slots against a full decode", columns, table)
    figures = {
        "draws": len(rows),
        "draws_right": sum(row["right"] for row in rows),
        "frames": sum(row["shown"] for row in rows),
        "frames_equal": sum(row["equal"] for row in rows),
        "files": [dict(zip(columns, row, strict=True)) for row in table],
    }
    click.echo(f"{figures['draws_right']} of {figures['draws']} draws right")
    save("frames", figures)


def _draw(path: str, random: np.random.Generator) -> dict[str, Any]:
    """One part of one file, and whether all of its slots are right."""
    slots, whole = int(random.integers(1, 65)), random.random() < 0.25
    with open_source(path) as source:
        order, seconds = source.order, max(source.facts.seconds, 0.5)
    start, end = np.sort(random.uniform(0, seconds, 2)).round(2).tolist()
    part = (None, None) if whole or end - start < 0.1 else (start, end)
    told = {"file": path, "order": order, "slots": slots, "start": part[0], "end": part[1]}
    try:
        shown = in_true_order(lambda believe: _shown(path, slots, *part, believe))
    except VideoError as error:
        none = "no frame between" in str(error)
        return {**told, "slots": 0, "shown": 0, "equal": 0, "right": none, "wrong": str(error)}
    truth = _full_decode(path, order == "timestamps")
    wrong = [index for index, luma in shown if not _nearest(luma, index, truth)]
    equal = sum(index in truth and hash(luma.tobytes()) == truth[index].digest for index, luma in shown)
    return {**told, "shown": len(shown), "equal": equal, "right": not wrong, "wrong": wrong[0] if wrong else None}


def _nearest(luma: np.ndarray, index: int, truth: dict[int, Seen]) -> bool:
    """Whether no other frame is nearer to a picture than the one with this number."""
    small = _small(luma)
    distances = {
        number: np.abs(small - seen.small).sum() if seen.small.shape == small.shape else np.inf
        for number, seen in truth.items()
    }
    return index in distances and bool(distances[index] == min(distances.values()))


def _shown(
    path: str, slots: int, start: float | None, end: float | None, believe: bool
) -> list[tuple[int, np.ndarray]]:
    """Frame id and luma of every distinct slot that can be decoded, by the plan."""
    with open_source(path, believe) as source:
        wanted = np.unique(sample_frames(source, slots, start, end).frame_ids)
        chosen = set(wanted.tolist())
        return [
            (picture.display_index, _luma(picture.frame))
            for picture in decode_pictures(source, wanted, motion=False)
            if picture.display_index in chosen
        ]


@dataclass(frozen=True)
class Seen:
    """What is kept of a frame: a hash of its luma, and every so many samples of it."""

    digest: int
    small: np.ndarray


def _small(luma: np.ndarray) -> np.ndarray:
    return luma[:: max(1, luma.shape[0] // 64), :: max(1, luma.shape[1] // 64)].astype(np.int32)


@lru_cache(maxsize=HELD_FILES)
def _full_decode(path: str, ordered: bool) -> dict[int, Seen]:
    """Every frame that a decoder shows which is given all packets, by its number."""
    times: list[tuple[int | None, Seen]] = []
    listed: set[int | None] = set()
    with open_container(path) as container:
        stream = video_stream(container)
        assert stream is not None
        decoder = stream.codec_context
        decoder.thread_count = 1
        if decoder.codec.canonical_name == "h264":
            decoder.options = {"apply_cropping": "0"}
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard:
                listed.add(packet.pts)
            try:
                frames = decoder.decode(packet if packet.size else None)
            except av.FFmpegError:
                continue
            times += [(frame.pts, Seen(hash(_luma(frame).tobytes()), _small(_luma(frame)))) for frame in frames]
    if not ordered:
        return dict(enumerate(seen for _, seen in times))
    numbers = listed_numbers([pts for pts, _ in times], listed)
    return {number: seen for number, (_, seen) in zip(numbers, times, strict=True)}


def listed_numbers(shown: Sequence[int | None], listed: set[int | None]) -> list[int]:
    """Numbers of the frames that a decoder shows, by timestamps, among all that packets list from the first shown on.

    shown: of the frames, in order; listed: of all packets. Where timestamps do not tell, frames are numbered as shown.
    """
    if None in listed or any(pts not in listed for pts in shown):
        return list(range(len(shown)))
    first = min((pts for pts in shown if pts is not None), default=0)
    numbers = {pts: number for number, pts in enumerate(sorted(p for p in listed if p is not None and p >= first))}
    return [numbers[pts] for pts in shown if pts is not None]


def _luma(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8)[: plane.height * plane.line_size].reshape(plane.height, -1)
    return np.ascontiguousarray(rows[:, : plane.width * max(1, frame.format.components[0].bits + 7 >> 3)])


if __name__ == "__main__":
    main()
