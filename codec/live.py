"""Pictures of a source that has no end yet, decoded once, as they come: those that are taken with their signals.

Nothing is known of what is still to come, so every packet is decoded and pictures are numbered as the decoder shows
them. What signals are made of is left to `bitstream`, `decoder_signals` and `search`; opening a source to `arriving`;
which are taken to `thinning`; what is made of so many pictures at a time, to whoever asks.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av

from codecsieve.codec.arriving import Bytes, Opened, open_arriving, silent, unreadable
from codecsieve.codec.clip import slot_signals
from codecsieve.codec.decode import LATE_MOTION, Watch, empty_decoder, numbered, open_decoder
from codecsieve.codec.decoder import MOST_HELD_BACK, decode_packet
from codecsieve.codec.facts import read_facts
from codecsieve.codec.fields import FIELD_CODECS
from codecsieve.codec.fields.proof import usable_table
from codecsieve.codec.gop import refuse_encrypted, unneeded_pictures
from codecsieve.codec.layouts import Layouts
from codecsieve.codec.picture import Picture, fit_format
from codecsieve.codec.signals import choose_signals
from codecsieve.codec.slots import SlotSignals
from codecsieve.codec.source import PacketSource
from codecsieve.codec.thinning import OneIn, PerSecond, Thinning
from codecsieve.errors import VideoError
from codecsieve.kernels.rules import Fit
from codecsieve.machine import MAX_MEMORY


class LiveSource(PacketSource):
    """The packets of a source, once, in the order that they come in."""

    ordered = False

    def __init__(self, opened: Opened, max_memory: int) -> None:
        """Raises VideoError as `read_facts`."""
        super().__init__(opened.container, read_facts(opened.container, opened.name, max_memory, size=0))
        self._opened = opened
        self.failure: VideoError | None = None
        """Why packets ended, where that was not the source's end."""

    def close(self) -> None:
        """Let the source go."""
        self._opened.close()

    def packets(self) -> Iterator[av.Packet]:
        """Every packet that is not empty, until nothing more comes: then `failure` may say why."""
        stream, name = self.stream, self.facts.path
        waited, since, any_came = 0.0, time.monotonic(), False
        while True:
            try:
                for packet in self.container.demux():
                    waited += time.monotonic() - since  # not what was done with the packet before
                    if packet.stream_index == stream.index and packet.size:
                        waited, any_came = 0.0, True
                        yield packet
                    elif waited > self._opened.patience:  # sound still comes, or whatever else there is
                        self.failure = silent(name, self._opened.patience)
                        return
                    since = time.monotonic()
            except IndexError:  # a stream that begins in mid-file (MPEG-TS), which PyAV does not know
                continue
            except av.error.ExitError:
                self.failure = silent(name, self._opened.patience)
            except av.FFmpegError as error:
                self.failure = (
                    VideoError(f"{name}: broke off ({error.strerror}); what came before was used")
                    if any_came
                    else unreadable(name, error)
                )
            arriving = self._opened.arriving
            self.failure = (arriving.failure if arriving else None) or self.failure
            return


@dataclass(frozen=True)
class Arrival:
    """What is known of how a picture came."""

    seconds: float | None
    """Its presentation time by the source's own clock; None where there is none."""
    damaged: bool
    """Whether damage was found in it, or in a picture since the last keyframe, of which it may be predicted."""
    refused: int
    """Packets that could not be decoded, from the stream's beginning until it was shown."""


class LiveDecoder:
    """One pass over a source. Use as a context manager; iterate `slots` once."""

    def __init__(
        self,
        source: str | os.PathLike[str] | Bytes,
        every: int,
        signals: str,
        follow: bool = False,
        patience: float = 10.0,
        max_memory: int = MAX_MEMORY,
        decoder_fields: str = "auto",
        fps: float | None = None,
    ) -> None:
        """Open a source; `source`, `follow` and `patience`: see `open_arriving`; the rest as `ClipDecoder`.

        every: pictures shown from one slot to the next; fps: or slots a second, see `PerSecond`.

        Raises:
            ConfigError: the decoder's fields must be read, and cannot be.
            VideoError: the source cannot be used.
        """
        opened = open_arriving(source, follow, patience)
        try:
            self.source = LiveSource(opened, max_memory)
            facts = self.source.facts
            reads = facts.codec in FIELD_CODECS and signals in ("auto", "bitstream", "bits")
            self.table = usable_table(decoder_fields if reads else "off")
            self.signals = choose_signals(facts, signals, self.table is not None)
        except BaseException:
            opened.close()
            raise
        tick = self.source.stream.time_base or Fraction(1)
        self._chosen = _Chosen(OneIn(every) if fps is None else PerSecond(fps, tick, facts.path))
        self._arrivals: dict[int, Arrival] = {}
        self.pictures_decoded = self._refused = 0
        self._damaged = False

    def __enter__(self) -> LiveDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()

    def slots(self, size: int, fit: Fit = "crop") -> Iterator[tuple[SlotSignals, Arrival]]:
        """Signals of the pictures that are taken, in order of presentation, each as soon as it is there.

        Raises VideoError where the source falls silent or breaks off, behind all that came before.
        """
        waiting: dict[int, SlotSignals] = {}
        taken = self._chosen.taken
        for slot in slot_signals(self.source, self.signals, self.table, self._chosen, self._pictures, size, fit):
            waiting[slot.picture.display_index] = slot
            while taken and taken[0] in waiting:
                due = taken.popleft()
                yield waiting.pop(due), self._arrivals.pop(due)
        if self.source.failure is not None:
            raise self.source.failure

    def _pictures(self, motion: bool, watch: Watch | None) -> Iterator[Picture]:
        """Every picture, numbered as it is shown."""
        source, facts = self.source, self.source.facts
        decoder, layouts = open_decoder(source, motion), Layouts(source)
        base = source.stream.time_base or Fraction(0)
        sent: dict[int, _Sent] = {}
        last: tuple[int, av.Packet] | None = None
        for index, packet in enumerate(source.packets()):
            refuse_encrypted(facts, [packet])
            reference = not unneeded_pictures(facts, source.stream, [packet])[0][0]
            sent[index] = _Sent(None if packet.pts is None else packet.pts * base, reference, packet.is_corrupt)
            if len(sent) > MOST_HELD_BACK:  # one that is not shown, and will not be
                del sent[next(iter(sent))]
            packet.pts = packet.dts = index
            layouts.sent(packet)
            decoded = decode_packet(decoder, packet)
            self._refused += decoded is None
            self._damaged |= decoded is None
            shown = list(numbered(decoded or ()))
            if watch is not None and self._may_be_taken(index, shown, sent[index].seconds):
                watch(decoder, index, -1, layouts)
            yield from (self._picture(*one, layouts, sent) for one in shown)
            if motion and reference and facts.codec in LATE_MOTION:
                last = index, packet
        for index, frame in empty_decoder(decoder, last, sent):
            yield self._picture(index, frame, layouts, sent)

    def _may_be_taken(self, index: int, shown: list[tuple[int, av.VideoFrame]], seconds: Fraction | None) -> bool:
        """Whether a packet's picture is taken, as far as is known: not yet, where it is held back."""
        places = [place for place, (own, _) in enumerate(shown) if own == index]
        if not places:
            return True
        at = seconds if places[0] == 0 else None  # of those behind it is not told yet what is taken before them
        return self._chosen.thinning.may_take(self.pictures_decoded + places[0], at)

    def _picture(self, index: int, frame: av.VideoFrame, layouts: Layouts, sent: dict[int, _Sent]) -> Picture:
        display, self.pictures_decoded = self.pictures_decoded, self.pictures_decoded + 1
        if self._chosen.taken and display > self._chosen.taken[0] + MOST_HELD_BACK:
            name = self.source.facts.path
            raise VideoError(f"{name}: its pictures come in no order that can be followed; transcode it")
        layout, own = layouts.of(frame, index), sent.pop(index, _Sent(None, False, False))
        self._damaged = bool(own.damaged or frame.is_corrupt or (self._damaged and not frame.key_frame))
        if self._chosen.show(own.seconds):
            seconds = None if own.seconds is None else float(own.seconds)
            self._arrivals[display] = Arrival(seconds, self._damaged, self._refused)
        return Picture(fit_format(frame, layout), layout, index, display, own.reference)


class _Chosen:
    """Display indices of pictures that are taken and not given yet, and of those to come that may be."""

    def __init__(self, thinning: Thinning) -> None:
        self.thinning = thinning
        self.taken: deque[int] = deque()
        self._shown = 0

    def __contains__(self, display: object) -> bool:
        if not isinstance(display, int):
            return False
        return display in self.taken if display < self._shown else self.thinning.may_take(display, None)

    def show(self, seconds: Fraction | None) -> bool:
        """Whether the next picture, which is shown now, is taken."""
        taken = self.thinning.takes(self._shown, seconds)
        if taken:
            self.taken.append(self._shown)
        self._shown += 1
        return taken


class _Sent(NamedTuple):
    """A packet whose picture was not shown yet."""

    seconds: Fraction | None
    reference: bool
    damaged: bool
