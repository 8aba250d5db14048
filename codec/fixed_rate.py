"""Slots at a fixed rate: of a clip the frames nearest to 0, 1, 2, ... periods from its first one, by presentation time.

Each is shown once, also where it is the nearest of several times: a clip has as many slots as it lasts, and no more
than frames. Where there are more times than slots, these are spread evenly over its frames, as language models' own
readers do. On video of a constant rate these are the frames that codec-video-prep takes, but for ties, of which the
earlier frame is taken here; other video it samples by the average rate, which drifts. What is shown in the slots that
are left over, and what is decoded, is `plan`'s to say.
"""

from __future__ import annotations

import math

import numpy as np

from codecsieve.codec.source import PacketSource
from codecsieve.errors import VideoError

_EDGE = 1e-6  # seconds: what timestamps are rounded by


def frames_at_rate(source: PacketSource, first: int, frames: int, slots: int, fps: float) -> np.ndarray:
    """Display indices in the file, int64 [n <= slots], ascending, each once: of the frames from `first` on.

    fps: times a second. Raises VideoError where nothing tells when frames are shown.
    """
    last = first + frames - 1
    length = float(shown_at(source, last, last)[0] - shown_at(source, first, first)[0])
    times = math.floor((length + _EDGE) * fps) + 1
    if times > slots:
        return np.unique(first + np.linspace(0, frames - 1, slots, dtype=np.int64))
    shown = shown_at(source, first, last)
    return first + np.unique(nearest(shown - shown[0], np.arange(times) / fps))


def nearest(shown: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Which of ascending times is nearest to each of others, the earlier one where two are: int64 [others]."""
    after = np.searchsorted(shown, times).clip(1, max(1, len(shown) - 1))
    later = times - shown[after - 1] > shown[np.minimum(after, len(shown) - 1)] - times + _EDGE
    return np.minimum(after - 1 + later, len(shown) - 1)


def shown_at(source: PacketSource, first: int, last: int) -> np.ndarray:
    """When the frames from display index `first` to `last` are shown, float64 seconds, ascending; their first counts
    as 0 somewhere.
    """
    if not source.ordered:
        times = source.times_shown()
        if times is not None:
            return times[first : last + 1]
        if not source.facts.fps > 0:
            raise VideoError(f"{source.facts.path}: has no timestamps and no frame rate; remux it to use spread fps")
        return np.arange(first, last + 1) / source.facts.fps
    found = np.empty(last + 1 - first)
    for number in range(source.gop_of(first), source.gop_of(last) + 1):
        gop = source.read(number)
        here = (gop.display >= first) & (gop.display <= last)
        found[gop.display[here] - first] = gop.seconds[here]
    return found
