"""The packet table: which packets a file holds, where its GOPs begin, and in what order its pictures are shown.

A `PacketSource` numbers pictures in two ways: by decode index (the order of packets in the file) and by display
index (the order of presentation). It hands out one GOP at a time, so that a long file is never held whole.
How a file's packets are found is left to `indexed` and `scanned`, whether its table is believed to `packets`, which
pictures are worth decoding to `plan`.

Display order is found GOP by GOP: a GOP's pictures are shown after all of the GOP before, leading pictures
included, so sorting each GOP by presentation timestamp orders the file. Where timestamps are missing, repeated
or not in that order (raw streams, AVI, damaged transport streams), or are not what the decoder shows (decode times,
see `trust`), `ordered` is False: a picture's display index is known only when the decoder puts it out, and everything
must be decoded from the start.
"""

from __future__ import annotations

import av
import av.packet
import numpy as np

from codecsieve.codec.changes import (
    CarriedHeaders,
    SizeChange,
    size_changes,
    size_header,
)
from codecsieve.codec.facts import VideoFacts, check_memory, video_stream
from codecsieve.codec.gop import Gop
from codecsieve.errors import VideoError

HELD_GOPS = 2
"""GOPs whose packets are held at once: the one that is decoded and the next."""


class PacketTableError(VideoError):
    """What a file's packets or its decoder show is not what its packet table says: open it without believing that."""


class PacketSource:
    """The packets of one file's video stream, a GOP at a time. Use as a context manager."""

    facts: VideoFacts
    ordered: bool
    """False where display order is known only after decoding."""
    starts: np.ndarray
    """int64 [G + 1]: decode index at which each GOP begins, and the number of packets."""
    shown: np.ndarray
    """int64 [G + 1]: pictures shown before each GOP, and the number of pictures shown."""
    start_time: int
    """Presentation timestamp of the first picture shown."""
    lost: frozenset[int] = frozenset()
    """Decode indices of pictures that are never shown, because they cannot be decoded."""
    changes: list[SizeChange]
    """Where the size changes, of codecs whose decoders lose a picture there."""
    palette: av.packet.PacketSideData | None = None
    """Of a file whose container holds the colours of its pictures' numbers: what its first packet brings along."""
    doubtful = False
    """True where the timestamps may yet be decode times: then the decoder is sent every picture, to tell by."""

    def __init__(self, container: av.container.InputContainer, facts: VideoFacts) -> None:
        self.container = container
        self.facts = facts
        self.changes = []
        self.headers = CarriedHeaders()

    def __enter__(self) -> PacketSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    @property
    def frames(self) -> int:
        """Pictures shown from the first to the last."""
        return int(self.shown[-1])

    @property
    def order(self) -> str:
        """What tells the order of presentation: `timestamps` or `decoder`."""
        return "timestamps" if self.ordered else "decoder"

    @property
    def gops(self) -> int:
        """Number of GOPs."""
        return len(self.starts) - 1

    @property
    def stream(self) -> av.VideoStream:
        """The video stream, whose codec context decodes its packets."""
        stream = video_stream(self.container)
        assert stream is not None, "open_container opens nothing without a video stream"
        return stream

    def gop_of(self, display: int) -> int:
        """The GOP that holds a display index."""
        return int(np.searchsorted(self.shown, display, side="right")) - 1

    def read(self, gop: int) -> Gop:
        """Read one GOP. Raises VideoError where the file no longer gives it."""
        raise NotImplementedError

    def times_shown(self) -> np.ndarray | None:
        """float64 [frames]: seconds at which pictures are shown, ascending, of a source that is not `ordered`; None
        where there are no timestamps.
        """
        return None

    def _find_changes(self, headers: list[tuple[bytes, ...]]) -> None:
        """Take note of where the size changes, by what each GOP states of it. GOPs behind that which state nothing can
        only be decoded from the start.
        """
        if headers:
            headers[0] = headers[0] or size_header(self.facts.codec, bytes(self.stream.codec_context.extradata or b""))
        self.changes = size_changes(headers)
        self.ordered &= not self.changes or all(headers[self.changes[0].after :])

    def leave_out(self, lost: frozenset[int]) -> None:
        """Take pictures, by their decode indices, for such that are never shown."""
        hidden, times = np.zeros(self.gops + 1, np.int64), []
        holding = np.searchsorted(self.starts, sorted(lost), side="right") - 1
        for number in sorted({*range(min(2, self.gops)), *holding.tolist()}):
            gop = self.read(number)
            shown = [offset for offset in np.flatnonzero(gop.display >= 0).tolist() if gop.first + offset not in lost]
            hidden[number + 1] = (gop.display >= 0).sum() - len(shown)
            times += [gop.seconds[offset] for offset in shown]
        self.shown = self.shown - np.cumsum(hidden)
        self.lost = lost
        self.start_time += round(min(times, default=0.0) / float(self.stream.time_base or 1))


def check_gops(facts: VideoFacts, sizes: np.ndarray, kept: int = 0) -> None:
    """Raise VideoError where GOPs, of these sizes in bytes, are too large to be held beside what is kept anyway."""
    packets = kept + HELD_GOPS * int(sizes.max())
    check_memory(facts, facts.pixel_format, facts.width, facts.height, packets)
