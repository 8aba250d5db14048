"""Where decoding can begin, by the packets' own headers: what a container calls a keyframe may be none.

MP4 without a list of keyframes and some muxers of Matroska flag every packet. Each codec's rule looks at the first
bytes of a packet; codecs without a rule are left to `trust`, which decodes.
"""

from __future__ import annotations

from collections.abc import Callable

from codecsieve.codec.nal import h264_starts_intra, nal_units

RANDOM_ACCESS_TYPES = range(16, 24)
"""nal_unit_type of HEVC's intra random access point pictures (H.265 table 7-1)."""
AV1_SEQUENCE_HEADER, AV1_FRAME_HEADER, AV1_FRAME = 1, 3, 6
"""obu_type (AV1 6.2.2)."""


def begins_gop(codec: str, data: memoryview, length_size: int) -> bool | None:
    """Whether decoding can begin at a packet.

    Args:
        codec: FFmpeg's name.
        data: the packet.
        length_size: of H.264 and HEVC, from `nal.nal_length_size`.

    Returns:
        None where nothing is known of the codec's packets. True where the packet is too damaged to tell.
    """
    rule = _RULES.get(codec)
    return None if rule is None else rule(data, length_size)


def has_rule(codec: str) -> bool:
    """Whether packets of a codec (FFmpeg's name) tell by themselves that decoding can begin at them."""
    return codec in _RULES


def _hevc(data: memoryview, length_size: int) -> bool:
    kinds = (unit[0] >> 1 & 63 for unit in nal_units(data, length_size))
    return next((kind in RANDOM_ACCESS_TYPES for kind in kinds if kind < 32), True)


def _mpeg12(data: memoryview, _: int) -> bool:
    """picture_coding_type 1 (ISO/IEC 13818-2 6.3.9)."""
    return _after(data, b"\x00\x00\x01\x00", 1, lambda header: header >> 3 & 7) in (1, None)


def _mpeg4(data: memoryview, _: int) -> bool:
    """vop_coding_type 0 (ISO/IEC 14496-2 6.3.5)."""
    return _after(data, b"\x00\x00\x01\xb6", 0, lambda header: header >> 6) in (0, None)


def _after(data: memoryview, code: bytes, offset: int, read: Callable[[int], int]) -> int | None:
    """What a byte tells that comes `offset` bytes behind the first start code; None where there is none."""
    raw = bytes(data)
    at = raw.find(code)
    at += len(code) + offset
    return read(raw[at]) if at >= len(code) + offset and at < len(raw) else None


def _vp8(data: memoryview, _: int) -> bool:
    """frame_type 0 (RFC 6386 9.1)."""
    return not data[0] & 1


def _vp9(data: memoryview, _: int) -> bool:
    """No repeated frame, and frame_type 0 (VP9 6.2): behind marker and profile, which has a spare bit if it is 3."""
    spare = (data[0] >> 4 & 3) == 3
    return data[0] >> (1 if spare else 2) & 3 == 0


def _av1(data: memoryview, _: int) -> bool:
    """No repeated frame, and frame_type 0, in the first frame header (AV1 5.3, 5.9.2)."""
    at = 0
    while at < len(data):
        header, at = data[at], at + 1
        kind = header >> 3 & 15
        at += header >> 2 & 1
        size = len(data) - at
        if header & 2:
            size, at = _leb128(data, at)
        if kind in (AV1_FRAME_HEADER, AV1_FRAME) and at < len(data):
            return data[at] >> 5 == 0
        at += size
    return True


def _leb128(data: memoryview, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where it ends (AV1 4.10.5)."""
    value = 0
    for shift in range(0, 56, 7):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
    return value, at


_RULES: dict[str, Callable[[memoryview, int], bool]] = {
    "h264": h264_starts_intra,
    "hevc": _hevc,
    "mpeg1video": _mpeg12,
    "mpeg2video": _mpeg12,
    "mpeg4": _mpeg4,
    "vp8": _vp8,
    "vp9": _vp9,
    "av1": _av1,
}
