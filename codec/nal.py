"""What a packet's first bytes tell before any decoding, of H.264, HEVC and MPEG: which pictures nothing refers to, and
an H.264 SPS.

Works on raw packet bytes only. Everything that needs a decoder (motion, pixels) is left to `decode`; everything
that needs more than one packet (GOPs, display order) to `gop` and `packets`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

START_CODE = b"\x00\x00\x01"
# H.264 profiles whose SPS carries chroma format, bit depth and scaling lists (ITU-T H.264 7.3.2.1.1).
HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})

RASL_TYPES = frozenset({8, 9})
"""nal_unit_type of HEVC's random access skipped leading pictures (H.265 table 7-1)."""


@dataclass(frozen=True)
class SequenceParameters:
    """The part of an H.264 sequence parameter set that the signals need."""

    coded_width: int
    """Luma samples a row as coded: a multiple of 16."""
    coded_height: int
    """Luma rows as coded."""
    crop_left: int
    """Luma samples cut from the left for display; likewise the next three."""
    crop_right: int
    crop_top: int
    crop_bottom: int
    reference_frames: int
    """max_num_ref_frames: how many reference pictures the decoder may keep."""
    frame_macroblocks_only: bool
    """False where the stream may hold fields (interlaced coding)."""

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height inside the cropping rectangle."""
        width = self.coded_width - self.crop_left - self.crop_right
        return width, self.coded_height - self.crop_top - self.crop_bottom


def nal_length_size(codec: str, extradata: bytes | None) -> int:
    """Bytes of each NAL unit's length prefix (avcC, hvcC), or 0 for Annex-B start codes.

    Source: ISO/IEC 14496-15, AVCDecoderConfigurationRecord and HEVCDecoderConfigurationRecord.
    """
    at = 21 if codec == "hevc" else 4
    if not extradata or len(extradata) <= at or extradata[0] != 1:
        return 0
    return extradata[at] % 4 + 1


def nal_units(data: memoryview, length_size: int) -> Iterator[memoryview]:
    """Each NAL unit of a packet that is not empty, without its prefix; ends at the first damaged length."""
    if length_size:
        at = 0
        while at + length_size < len(data):
            size = int.from_bytes(data[at : at + length_size], "big")
            at += length_size
            if not 0 < size <= len(data) - at:
                return
            yield data[at : at + size]
            at += size
        return
    raw = bytes(data)
    at = raw.find(START_CODE)
    while at >= 0:
        end = raw.find(START_CODE, at + 3)
        unit = data[at + 3 : end if end >= 0 else len(data)]
        if unit:
            yield unit
        at = end


def h264_starts_intra(data: memoryview, length_size: int) -> bool:
    """Whether a packet's first slice is intra (H.264 7.4.3): containers also mark recovery points as keyframes,
    from which a stream with intra refresh mends picture by picture, and those do not begin a GOP.
    """
    for unit in nal_units(data, length_size):
        if unit[0] & 31 == 5:
            return True
        if unit[0] & 31 in (1, 2):
            bits = BitReader(bytes(unit[1:17]).replace(b"\x00\x00\x03", b"\x00\x00"))
            try:
                bits.golomb()  # first_mb_in_slice
                return bits.golomb() % 5 in (2, 4)
            except IndexError:
                return True
    return True


def h264_is_droppable(data: memoryview, length_size: int) -> bool:
    """True where no later picture refers to this one: nal_ref_idc of its first slice is 0 (H.264 7.4.1)."""
    for unit in nal_units(data, length_size):
        if unit[0] & 31 in (1, 2, 5):
            return unit[0] >> 5 & 3 == 0
    return False


class HevcPicture(NamedTuple):
    """What the NAL unit header of a picture's first slice tells (H.265 table 7-1)."""

    layer: int
    """Temporal sub-layer."""
    unreferenced: bool
    """A sub-layer non-reference picture. It may still serve pictures of higher sub-layers: only those of the
    stream's highest one can be dropped."""
    skipped: bool
    """A random access skipped leading picture (RASL): without the GOP before its keyframe, decoders leave it out."""


def hevc_picture(data: memoryview, length_size: int) -> HevcPicture:
    """The picture of a packet. One without a slice is (0, False, False)."""
    for unit in nal_units(data, length_size):
        kind = unit[0] >> 1 & 63
        if kind < 32 and len(unit) > 1:
            return HevcPicture((unit[1] & 7) - 1, kind < 16 and kind % 2 == 0, kind in RASL_TYPES)
    return HevcPicture(0, False, False)


def mpeg2_is_droppable(data: memoryview) -> bool:
    """True for a packet of B-pictures only (ISO/IEC 13818-2 6.2.3, picture_coding_type 3)."""
    raw = bytes(data)
    types = [raw[at + 5] >> 3 & 7 for at in _positions(raw, b"\x00\x00\x01\x00") if at + 5 < len(raw)]
    return bool(types) and all(kind == 3 for kind in types)


def mpeg4_is_droppable(data: memoryview) -> bool:
    """True for a packet of exactly one B-VOP (ISO/IEC 14496-2 6.2.5, vop_coding_type 2).

    A packed packet (a P- and a B-VOP together, as DivX writes into AVI) is never droppable.
    """
    raw = bytes(data)
    types = [raw[at + 4] >> 6 for at in _positions(raw, b"\x00\x00\x01\xb6") if at + 4 < len(raw)]
    return types == [2]


def _positions(raw: bytes, code: bytes) -> Iterator[int]:
    at = raw.find(code)
    while at >= 0:
        yield at
        at = raw.find(code, at + 4)


def find_sequence_parameters(extradata: bytes | None, packet: memoryview | None) -> SequenceParameters | None:
    """The first H.264 SPS of the stream's header (avcC or Annex-B) or, failing that, of its first packet."""
    units: Iterable[memoryview] = ()
    if extradata and extradata[0] == 1 and len(extradata) > 8 and extradata[5] & 31:
        size = int.from_bytes(extradata[6:8], "big")
        units = [memoryview(extradata)[8 : 8 + size]]
    elif extradata:
        units = nal_units(memoryview(extradata), 0)
    if packet is not None:
        units = itertools.chain(units, nal_units(packet, nal_length_size("h264", extradata)))
    return first_sequence_parameters(units)


def first_sequence_parameters(units: Iterable[memoryview]) -> SequenceParameters | None:
    """The first H.264 SPS among NAL units, as far as their first slice; None where there is none that is whole."""
    for unit in units:
        kind = unit[0] & 31
        if kind == 7 and len(unit) > 4:
            try:
                return parse_sequence_parameters(bytes(unit))
            except IndexError:  # the SPS is cut short: signals then do without what it tells
                return None
        if kind in (1, 2, 5):
            return None
    return None


@lru_cache(maxsize=64)
def parse_sequence_parameters(unit: bytes) -> SequenceParameters:
    """Read an H.264 SPS NAL unit (ITU-T H.264 7.3.2.1.1) up to its cropping rectangle.

    Raises IndexError where the unit ends too early.
    """
    bits = BitReader(unit[1:].replace(b"\x00\x00\x03", b"\x00\x00"))
    profile = bits.take(8)
    bits.take(16)  # constraint flags, level
    bits.golomb()  # seq_parameter_set_id
    subsampled = _chroma_planes(bits) if profile in HIGH_PROFILES else 1
    bits.golomb()  # log2_max_frame_num_minus4
    _skip_picture_order(bits)
    reference_frames = bits.golomb()
    bits.take(1)  # gaps_in_frame_num_value_allowed_flag
    width = 16 * (bits.golomb() + 1)
    map_units = bits.golomb() + 1
    frames_only = bits.take(1)
    if not frames_only:
        bits.take(1)  # mb_adaptive_frame_field_flag
    bits.take(1)  # direct_8x8_inference_flag
    crop = [bits.golomb() for _ in range(4)] if bits.take(1) else [0, 0, 0, 0]
    unit_x = 2 if subsampled in (1, 2) else 1
    unit_y = (2 if subsampled == 1 else 1) * (2 - frames_only)
    return SequenceParameters(
        coded_width=width,
        coded_height=16 * map_units * (2 - frames_only),
        crop_left=crop[0] * unit_x,
        crop_right=crop[1] * unit_x,
        crop_top=crop[2] * unit_y,
        crop_bottom=crop[3] * unit_y,
        reference_frames=reference_frames,
        frame_macroblocks_only=bool(frames_only),
    )


def _chroma_planes(bits: BitReader) -> int:
    """The part of a high profile: ChromaArrayType, 0 where planes are coded apart."""
    chroma_format = bits.golomb()
    separate_planes = bits.take(1) if chroma_format == 3 else 0
    bits.golomb()  # bit_depth_luma_minus8
    bits.golomb()  # bit_depth_chroma_minus8
    bits.take(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.take(1):
        for index in range(12 if chroma_format == 3 else 8):
            if bits.take(1):
                bits.skip_scaling_list(16 if index < 6 else 64)
    return 0 if separate_planes else chroma_format


def _skip_picture_order(bits: BitReader) -> None:
    order_type = bits.golomb()
    if order_type == 0:
        bits.golomb()
    elif order_type == 1:
        bits.take(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()


class BitReader:
    """Bits of an RBSP, most significant first."""

    def __init__(self, data: bytes) -> None:
        self.bits = np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
        self.at = 0

    def take(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self.bits[self.at]
            self.at += 1
        return value

    def golomb(self) -> int:
        """Unsigned Exp-Golomb code, ue(v), H.264 9.1; se(v) has the same length, so skipping it is the same."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip_scaling_list(self, size: int) -> None:
        last = following = 8
        for _ in range(size):
            if following:
                code = self.golomb()
                following = (last + (code + 1 >> 1 if code & 1 else -(code >> 1))) % 256
            last = following or last
