"""Slots that show no keyframes: those are predicted from nothing, so of the codec's own signals they have none.

Of each equal segment of a clip the frame in its middle is shown, or where that is a keyframe one beside it. Packets
tell which are. What is sent to the decoder in the end is `plan`'s to say.
"""

from __future__ import annotations

import itertools

import numpy as np

from codecsieve.codec.source import PacketSource


def frames_off_keyframes(source: PacketSource, first: int, frames: int, slots: int) -> np.ndarray:
    """Display indices in the file, int64 [slots], one of each of so many equal segments of the frames from `first` on.

    The middle one; where that begins a GOP the next, or else the one before, as far as they are of the segment and do
    not. The source is `ordered`, and frames >= slots.
    """
    bounds = (first + np.arange(slots + 1) * frames // slots).tolist()
    keyframes: dict[int, int] = {}

    def is_keyframe(display: int) -> bool:
        gop = source.gop_of(display)
        if gop not in keyframes:
            keyframes[gop] = int(source.read(gop).display[0])
        return keyframes[gop] == display

    chosen = []
    for start, stop in itertools.pairwise(bounds):
        middle = (start + stop - 1) // 2
        inside = [display for display in (middle, middle + 1, middle - 1) if start <= display < stop]
        chosen.append(next((display for display in inside if not is_keyframe(display)), middle))
    return np.array(chosen, np.int64)
