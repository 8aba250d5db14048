"""The labelled clips in the one form that all tools read: their centre squares, as H.264, and how these are sampled.

In a square none sees more of a picture than another, and the shape of a picture tells nothing of its class.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph

SIZE, PATCH, SLOTS = 224, 32, 64
FRAME = (SIZE // PATCH) ** 2
"""Tokens of a whole frame."""
BUDGETS = (2 * FRAME, 4 * FRAME)
CRF = 23
"""x264's own default."""


def write_square(source: Path, target: Path) -> None:
    """Encode the centre square of every frame that a decoder shows; nothing where it is there already."""
    if target.exists():
        return
    draft = target.with_suffix(".draft.mp4")
    with av.open(str(source)) as shown, av.open(str(draft), "w") as made:
        first = shown.streams.video[0]
        graph = Graph()
        graph.link_nodes(
            graph.add_buffer(template=first),
            graph.add("crop", "w='min(iw,ih)':h='min(iw,ih)'"),
            graph.add("scale", f"{SIZE}:{SIZE}"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ).configure()
        stream = made.add_stream("libx264", rate=first.average_rate, options={"crf": str(CRF)})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(shown.decode(first)):
            graph.vpush(frame)
            square = graph.vpull()
            square.pts, square.time_base = number, 1 / Fraction(first.average_rate or 25)
            square.pict_type = 0
            made.mux(stream.encode(square))
        made.mux(stream.encode(None))
    draft.rename(target)


def write_squares(sources: Sequence[Path], root: Path, folder: Path, processes: int) -> list[Path]:
    """The squares of all clips, which lie below `root`, by their places there."""
    targets = [(folder / source.relative_to(root)).with_suffix(".mp4") for source in sources]
    for parent in {target.parent for target in targets}:
        parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_square, sources, targets))
    return targets
