"""Packets as NVDEC's parser wants them: H.264 and HEVC with start codes, and headers wherever decoding begins.

A container keeps the headers of a stream (parameter sets, AV1's sequence header) aside, and NVDEC sees no container.
FFmpeg's bitstream filters put H.264's parameter sets only before IDR pictures; here decoding also begins at the
keyframes of open GOPs, with a decoder that may remember another file. Which packets are sent is planned in `plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import av

from codecsieve.codec.nal import HIGH_PROFILES, START_CODE, BitReader, nal_length_size, nal_units
from codecsieve.codec.parameter_sets import (
    SEQUENCE_TYPES,
    first_sequence,
    header_units,
    nal_type,
    read_hevc_sequence,
)
from codecsieve.errors import CodecsieveError

Told = TypeVar("Told")

LONG_START_CODE = b"\x00" + START_CODE
AV1_CONFIGURATION = 0x81
"""First byte of av1C, the record of AV1 in MP4 and Matroska; OBUs follow from the fifth byte on."""
TEMPORAL_DELIMITER = b"\x12\x00"
"""The OBU that may come before a sequence header."""
AV1_SEQUENCE_HEADER = 1
CHANGED = "NVDEC is not used for a file whose headers change on the way"
DAMAGED = "NVDEC is not used for a damaged file: it mends pictures in its own way"


class NvdecError(CodecsieveError):
    """NVDEC cannot do this: one line that says why. The same can be done on the CPU."""


class ElementaryStream:
    """The packets of one stream, one by one, without their container."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        """Args: codec: FFmpeg's name. extradata: the container's headers (avcC, hvcC, av1C, or start codes)."""
        self.codec = codec
        self.extradata = extradata or b""
        self.length_size = nal_length_size(codec, extradata) if codec in SEQUENCE_TYPES else 0
        self.headers = stream_headers(codec, self.extradata)
        self._sequences = self._sequences_of(nal_units(memoryview(self.headers), 0))

    def packet(self, packet: av.Packet, first: bool) -> bytes | memoryview:
        """The bytes to send; `first`: the decoder is empty, so that headers must come before the picture.

        Raises NvdecError where the packet is damaged, as far as it shows, or the headers change within the file.
        """
        if packet.has_sidedata("new_extradata") and bytes(packet.get_sidedata("new_extradata")) != self.extradata:
            raise NvdecError(CHANGED)
        if packet.is_corrupt:
            raise NvdecError(DAMAGED)
        data = memoryview(packet)
        if packet.is_keyframe:
            self._check_sequences(data)
        if self.length_size:
            units = list(nal_units(data, self.length_size))
            if sum(self.length_size + len(unit) for unit in units) != len(data):
                raise NvdecError(DAMAGED)
            converted = b"".join(part for unit in units for part in (LONG_START_CODE, unit))
            if first and not any(nal_type(self.codec, unit) == SEQUENCE_TYPES[self.codec] for unit in units):
                return self.headers + converted
            return converted
        if first and self.headers and not self._has_header(data):
            return self.headers + bytes(data)
        return data

    def _check_sequences(self, data: memoryview) -> None:
        """Refuse a picture by other parameters than the first: NVDEC would crop it as those before."""
        sequences = self._sequences_of(nal_units(data, self.length_size)) if self.codec in SEQUENCE_TYPES else None
        if sequences:
            self._sequences = self._sequences or sequences
            if not sequences <= self._sequences:
                raise NvdecError(CHANGED)

    def _sequences_of(self, units: Iterable[memoryview]) -> set[bytes]:
        """Sequence parameter sets, without the zeros that may come before the next start code."""
        kind = SEQUENCE_TYPES.get(self.codec)
        return {bytes(unit).rstrip(b"\0") for unit in units if nal_type(self.codec, unit) == kind}

    def _has_header(self, data: memoryview) -> bool:
        if self.codec == "av1":
            at = len(TEMPORAL_DELIMITER) if data[:2] == TEMPORAL_DELIMITER else 0
            return len(data) > at and data[at] >> 3 & 15 == AV1_SEQUENCE_HEADER
        return any(nal_type(self.codec, unit) == SEQUENCE_TYPES[self.codec] for unit in nal_units(data, 0))


def stream_headers(codec: str, extradata: bytes) -> bytes:
    """A stream's headers as they stand in an elementary stream; empty where the container keeps none.

    Raises NvdecError where they are cut short.

    Source: ISO/IEC 14496-15 5.3.3.1 (avcC) and 8.3.3.1 (hvcC); AV1 Codec ISO Media File Format Binding 2.3 (av1C).
    """
    if codec == "av1":
        return extradata[4:] if extradata[:1] == bytes([AV1_CONFIGURATION]) else b""
    if codec not in SEQUENCE_TYPES:
        return b""
    if not nal_length_size(codec, extradata):
        return extradata
    try:
        return b"".join(LONG_START_CODE + unit for unit in header_units(codec, extradata))
    except IndexError as error:
        raise NvdecError("NVDEC is not used for a file whose headers are cut short") from error


def h264_is_grey(extradata: bytes | None) -> bool:
    """True for H.264 without chroma (H.264 7.3.2.1.1), which FFmpeg decodes as if there were some.

    Raises NvdecError where the container's headers do not tell.
    """
    return _from_sequence("h264", extradata, _is_grey)


def hevc_origin(extradata: bytes | None) -> tuple[int, int]:
    """Row and column, in luma samples, at which the shown picture begins in the coded one (H.265 7.3.2.2.1).

    Raises NvdecError where the container's headers do not tell.
    """
    sequence = _from_sequence("hevc", extradata, read_hevc_sequence)
    return sequence.crop_top, sequence.crop_left


def _from_sequence(codec: str, extradata: bytes | None, read: Callable[[BitReader], Told]) -> Told:
    """What the first sequence parameter set tells."""
    try:
        sequence = first_sequence(codec, extradata)
        if sequence is not None:
            return read(sequence)
    except IndexError as error:
        raise NvdecError("NVDEC is not used for a file whose headers are cut short") from error
    raise NvdecError(f"NVDEC is not used for {codec} without a sequence parameter set in the container's headers")


def _is_grey(bits: BitReader) -> bool:
    profile = bits.take(8)
    bits.take(16)  # constraint flags, level
    bits.golomb()  # seq_parameter_set_id
    return profile in HIGH_PROFILES and bits.golomb() == 0
