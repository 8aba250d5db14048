"""How each decoded picture is laid out, in a stream that may change on its way: size, samples, colours, cropping.

Every frame tells this by itself but for one thing: H.264 is decoded uncropped, and what is shown of a picture stands
in the sequence parameter set that was in force when its packet was sent. What changes the packets themselves make,
and what a decoder loses by them, is in `changes`.
"""

from __future__ import annotations

import bisect

import av

from codecsieve.codec.facts import VideoFacts
from codecsieve.codec.nal import (
    SequenceParameters,
    find_sequence_parameters,
    first_sequence_parameters,
    nal_length_size,
    nal_units,
)
from codecsieve.codec.packets import PacketSource
from codecsieve.codec.picture import PictureFormat, read_format

MACROBLOCK = 16


class Layouts:
    """The layout of each picture of one pass over a source."""

    def __init__(self, source: PacketSource) -> None:
        self._facts = source.facts
        self._length_size = nal_length_size(source.facts.codec, source.stream.codec_context.extradata)
        self._since = [-1]
        """Decode indices from which on `_sequences` are in force."""
        self._sequences = [source.facts.sequence]
        self._signs: tuple[object, ...] = ()
        self._layout: PictureFormat | None = None

    def sent(self, packet: av.Packet) -> None:
        """Look at a packet on its way to the decoder; its timestamp is its decode index."""
        if self._facts.codec != "h264" or not packet.is_keyframe:
            return
        sequence = first_sequence_parameters(nal_units(memoryview(packet), self._length_size))
        if sequence is None and packet.has_sidedata("new_extradata"):
            sequence = find_sequence_parameters(bytes(packet.get_sidedata("new_extradata")), None)
        if sequence is not None and sequence != self._sequences[-1]:
            self._since.append(int(packet.pts or 0))
            self._sequences.append(sequence)

    def of(self, frame: av.VideoFrame, index: int) -> PictureFormat:
        """The layout of a frame by its decode index: the very object of the frame before where nothing changed."""
        sequence = self._sequences[bisect.bisect_right(self._since, index) - 1]
        colours = frame.colorspace, frame.color_range
        signs = frame.format.name, frame.width, frame.height, colours, sequence
        if self._layout is None or signs != self._signs:
            self._signs = signs
            if sequence and (sequence.coded_width, sequence.coded_height) != (frame.width, frame.height):
                sequence = None
            layout = read_format(frame, *shown_size(self._facts, frame, sequence), sequence)
            self._layout = self._layout if layout == self._layout else layout
        return self._layout


def shown_size(facts: VideoFacts, frame: av.VideoFrame, sequence: SequenceParameters | None) -> tuple[int, int]:
    """Width and height, in luma samples, that a player shows of a frame.

    H.264, which is not cropped yet, is shown as FFmpeg's decoder would crop it: by the sequence, or closer where the
    container states a smaller size of as many macroblocks (h264_slice.c, "handle container cropping").
    """
    coded, stated = (frame.width, frame.height), (facts.width, facts.height)
    if facts.codec != "h264":
        return coded
    shown = sequence.shown_size if sequence else coded
    closer = stated[0] <= shown[0] and stated[1] <= shown[1] and _macroblocks(stated) == _macroblocks(shown)
    moved = sequence is not None and bool(sequence.crop_left or sequence.crop_top)
    return stated if closer and not moved else shown


def _macroblocks(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[0] // MACROBLOCK), -(-size[1] // MACROBLOCK)
