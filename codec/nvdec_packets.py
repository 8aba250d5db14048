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
from codecsieve.errors import CodecsieveError

Told = TypeVar("Told")

SEQUENCE_TYPES = {"h264": 7, "hevc": 33}
"""nal_unit_type of a sequence parameter set."""
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
            if first and not any(_nal_type(self.codec, unit) == SEQUENCE_TYPES[self.codec] for unit in units):
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
        return {bytes(unit).rstrip(b"\0") for unit in units if _nal_type(self.codec, unit) == kind}

    def _has_header(self, data: memoryview) -> bool:
        if self.codec == "av1":
            at = len(TEMPORAL_DELIMITER) if data[:2] == TEMPORAL_DELIMITER else 0
            return len(data) > at and data[at] >> 3 & 15 == AV1_SEQUENCE_HEADER
        return any(_nal_type(self.codec, unit) == SEQUENCE_TYPES[self.codec] for unit in nal_units(data, 0))


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
        return b"".join(LONG_START_CODE + unit for unit in _configured_units(codec, extradata))
    except IndexError as error:
        raise NvdecError("NVDEC is not used for a file whose headers are cut short") from error


def _configured_units(codec: str, record: bytes) -> list[bytes]:
    """NAL units of avcC (an array of SPS, one of PPS) or hvcC (as many arrays as byte 22 says)."""
    units: list[bytes] = []
    at = 23 if codec == "hevc" else 5
    for array in range(record[22] if codec == "hevc" else 2):
        if codec == "hevc":  # a byte with the type, then the count in two bytes
            count, at = int.from_bytes(record[at + 1 : at + 3], "big"), at + 3
        else:  # the count; that of the SPS has 5 bits
            count, at = record[at] & (31 if array == 0 else 255), at + 1
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            units.append(record[at + 2 : at + 2 + size])
            at += 2 + size
    return units


def h264_is_grey(extradata: bytes | None) -> bool:
    """True for H.264 without chroma (H.264 7.3.2.1.1), which FFmpeg decodes as if there were some.

    Raises NvdecError where the container's headers do not tell.
    """
    return _from_sequence("h264", extradata, _is_grey)


def hevc_origin(extradata: bytes | None) -> tuple[int, int]:
    """Row and column, in luma samples, at which the shown picture begins in the coded one (H.265 7.3.2.2.1).

    Raises NvdecError where the container's headers do not tell.
    """
    return _from_sequence("hevc", extradata, _conformance_origin)


def _from_sequence(codec: str, extradata: bytes | None, read: Callable[[BitReader], Told]) -> Told:
    """What the first sequence parameter set tells, read from behind its NAL unit header."""
    headers = memoryview(stream_headers(codec, extradata or b""))
    for unit in nal_units(headers, 0):
        if _nal_type(codec, unit) == SEQUENCE_TYPES[codec]:
            payload = bytes(unit[2 if codec == "hevc" else 1 :]).replace(b"\x00\x00\x03", b"\x00\x00")
            try:
                return read(BitReader(payload))
            except IndexError as error:
                raise NvdecError("NVDEC is not used for a file whose headers are cut short") from error
    raise NvdecError(f"NVDEC is not used for {codec} without a sequence parameter set in the container's headers")


def _is_grey(bits: BitReader) -> bool:
    profile = bits.take(8)
    bits.take(16)  # constraint flags, level
    bits.golomb()  # seq_parameter_set_id
    return profile in HIGH_PROFILES and bits.golomb() == 0


def _conformance_origin(bits: BitReader) -> tuple[int, int]:
    bits.take(4)  # sps_video_parameter_set_id
    sub_layers = bits.take(3)
    bits.take(1)  # sps_temporal_id_nesting_flag
    bits.take(88 + 8)  # profile, level
    present = [(bits.take(1), bits.take(1)) for _ in range(sub_layers)]
    bits.take(2 * (8 - sub_layers) if sub_layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.golomb()  # sps_seq_parameter_set_id
    chroma_format = bits.golomb()
    if chroma_format == 3:
        bits.take(1)  # separate_colour_plane_flag
    bits.golomb()  # width
    bits.golomb()  # height
    left, _, top, _ = [bits.golomb() for _ in range(4)] if bits.take(1) else [0, 0, 0, 0]
    return top * (2 if chroma_format == 1 else 1), left * (2 if chroma_format in (1, 2) else 1)


def _nal_type(codec: str, unit: memoryview) -> int:
    return unit[0] >> 1 & 63 if codec == "hevc" else unit[0] & 31
