"""The parameter sets that a container keeps of H.264 and HEVC, and what HEVC's tell.

What H.264's tell is in `nal`; what is made of all of it, in `facts` and `nvdec_packets`.
"""

from __future__ import annotations

from dataclasses import dataclass

from codecsieve.codec.nal import BitReader, nal_length_size, nal_units

SEQUENCE_TYPES = {"h264": 7, "hevc": 33}
"""nal_unit_type of a sequence parameter set."""


@dataclass(frozen=True)
class HevcSequence:
    """The part of an HEVC sequence parameter set that is wanted here (H.265 7.3.2.2.1)."""

    crop_top: int
    """Row and column, in luma samples, at which the shown picture begins in the coded one."""
    crop_left: int
    pictures: int
    """sps_max_dec_pic_buffering: how many pictures a decoder may have to hold at once."""


def header_units(codec: str, extradata: bytes | None) -> list[bytes]:
    """NAL units of a stream's headers: avcC (an array of SPS, one of PPS), hvcC (as many arrays as byte 22 says), or
    start codes.

    Raises IndexError where they are cut short. Source: ISO/IEC 14496-15 5.3.3.1 and 8.3.3.1.
    """
    record = extradata or b""
    if not nal_length_size(codec, record):
        return [bytes(unit) for unit in nal_units(memoryview(record), 0)]
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


def nal_type(codec: str, unit: memoryview | bytes) -> int:
    """nal_unit_type of a NAL unit of H.264 or HEVC."""
    return unit[0] >> 1 & 63 if codec == "hevc" else unit[0] & 31


def first_sequence(codec: str, extradata: bytes | None) -> BitReader | None:
    """The first sequence parameter set of a stream's headers, from behind its NAL unit header; None without one.

    Raises IndexError where the headers are cut short.
    """
    for unit in header_units(codec, extradata):
        if unit and nal_type(codec, unit) == SEQUENCE_TYPES[codec]:
            return BitReader(unit[2 if codec == "hevc" else 1 :].replace(b"\x00\x00\x03", b"\x00\x00"))
    return None


def read_hevc_sequence(bits: BitReader) -> HevcSequence:
    """Read an HEVC sequence parameter set. Raises IndexError where it ends too early."""
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
    for _ in range(3):  # bit depths, and the length of a picture's number
        bits.golomb()
    layers = sub_layers + 1 if bits.take(1) else 1
    pictures = max([bits.golomb() + 1, bits.golomb(), bits.golomb()][0] for _ in range(layers))
    return HevcSequence(
        crop_top=top * (2 if chroma_format == 1 else 1),
        crop_left=left * (2 if chroma_format in (1, 2) else 1),
        pictures=pictures,
    )
