"""What FFmpeg attaches to a decoded frame beside its samples."""

from __future__ import annotations

from typing import Any

import av
from av.sidedata.sidedata import SideDataContainer, Type


def _of_unknown_kind(cls: type[Type], value: int) -> Type:
    kind: Any = object.__new__(cls)
    kind._value_, kind._name_ = value, f"UNKNOWN_{value}"
    return kind


# FFmpeg has more kinds than PyAV names (Exif of MJPEG, the views of a spatial HEVC, ...), and PyAV lists a frame's by
# name: without this, one that it cannot name keeps the others from being read.
Type._missing_ = classmethod(_of_unknown_kind)  # type: ignore[method-assign, assignment]


def side_data(frame: av.VideoFrame, kind: str) -> Any:
    """A frame's side data of a kind, by PyAV's name: its bytes, or motion vectors; None where it has none."""
    # `frame.side_data` would make a reference cycle and keep the frame until the garbage collector runs.
    return SideDataContainer(frame).get(kind)  # type: ignore[call-arg]
