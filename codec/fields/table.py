"""Where FFmpeg's decoders keep what they know of a picture: offsets in bytes, of exactly one build of libavcodec.

The one place that knows an offset. A table is used with the very version, machine and Python that it was made for
(`why_not`), and only after it proved itself (`proof`). What is read through it is left to `hevc` and `h264`.

To add the table of another version: take that version's sources of FFmpeg, let a C compiler print `offsetof` for each
field below (the comments name the structures, all in libavcodec's `avcodec.h`, `hevc/hevcdec.h`, `hevc/ps.h`,
`h264dec.h`, `h264_parse.h`, `h264_ps.h` and libavutil's `frame.h`), add it to TABLES, and run the tests of
`codec/fields`: they hold it against streams whose prediction is known to leave nothing.
"""

from __future__ import annotations

import platform
import struct
import sys
import sysconfig
from dataclasses import dataclass
from typing import Any

import av


@dataclass(frozen=True)
class Context:
    """AVCodecContext. Its class is its first field."""

    priv_data: int = 32


@dataclass(frozen=True)
class Frame:
    """AVFrame."""

    data: int = 0
    linesize: int = 64
    width: int = 104
    height: int = 108
    pts: int = 136
    crop: int = 344
    """crop_top, crop_bottom, crop_left, crop_right: size_t."""


@dataclass(frozen=True)
class Hevc:
    """HEVCContext; what follows it in the same order: HEVCLayerContext, HEVCFrame, RefPicList, HEVCSPS, HEVCPPS,
    SliceHeader.
    """

    layers: int = 32
    slice_header: int = 10912
    dpb: int = 0
    dpb_frames: int = 32
    current: int = 3328
    sps: int = 3336
    cbf_luma: int = 3384
    qp_y: int = 3424
    frame_size: int = 104
    frame_motion: int = 32
    frame_lists_by_block: int = 48
    frame_blocks: int = 56
    frame_pps: int = 64
    frame_lists: int = 72
    frame_slices: int = 80
    list_size: int = 264
    list_count: int = 256
    sps_bit_depth: int = 7304
    sps_log2_min_cb: int = 18596
    sps_log2_min_tb: int = 18604
    sps_log2_ctb: int = 18612
    sps_width: int = 20216
    sps_height: int = 20220
    sps_ctb_width: int = 20224
    sps_min_cb_width: int = 20236
    sps_min_cb_height: int = 20240
    sps_min_tb_width: int = 20244
    sps_min_tb_height: int = 20248
    sps_min_pu_width: int = 20252
    sps_min_pu_height: int = 20256
    pps_weighted: int = 41
    """weighted_pred_flag, weighted_bipred_flag: uint8 each."""
    slice_type: int = 12
    slice_weight_denominator: int = 741
    slice_weight: tuple[int, int] = (744, 904)
    slice_offset: tuple[int, int] = (936, 1032)


@dataclass(frozen=True)
class H264:
    """H264Context; what follows it in the same order: H264Picture, H264SliceContext, H264PredWeightTable (within the
    former), H264Ref, PPS.
    """

    dpb: int = 1136
    dpb_pictures: int = 36
    current: int = 28496
    slice_context: int = 30024
    blocks_stride: int = 31048
    slice_numbers: int = 31056
    """uint16 by macroblock: which slice it is of, counted from 1; else none."""
    structure: int = 31068
    """1 of a top field, 2 of a bottom field, 3 of a frame; so in a reference."""
    coefficients: int = 30640
    """uint8 [48] by macroblock: how many coefficients its 4x4 blocks have, of which the first 16 are luma's."""
    mb_height: int = 31724
    """mb_height, mb_width, mb_stride: int32."""
    bit_depth: int = 31760
    short_references: int = 34264
    most_short_references: int = 32
    """Pointers to pictures, filled from the first on."""
    slice_references: int = 36992
    """int32 [32][2][64] by slice and list: 2 and on by index, 4 times a number that stands for the picture during this
    picture, and its structure; then the same by index of a field.
    """
    picture_size: int = 760
    picture_frame: int = 0
    picture_quantiser: int = 56
    """int8 by macroblock."""
    picture_motion: int = 80
    """Two pointers, by list: int16 x and y by 4x4 samples."""
    picture_types: int = 104
    """uint32 by macroblock."""
    picture_references: int = 120
    """Two pointers, by list: int8 by macroblock and quarter of it."""
    picture_field_poc: int = 136
    picture_poc: int = 144
    picture_frame_num: int = 148
    picture_long: int = 160
    picture_lists: int = 164
    """int32 [2][2][32] by field and list, of the last slice that refers: 4 times a frame_num, and a structure."""
    picture_list_counts: int = 676
    """int32 [2][2]."""
    picture_mixed: int = 692
    """int32: a frame with macroblocks of fields (MBAFF)."""
    picture_fields: int = 696
    """int32: two fields that were coded one by one (PAFF)."""
    picture_reference: int = 700
    """int32: bits 0 and 1 of fields that are references."""
    picture_pps: int = 720
    picture_mb_width: int = 728
    """mb_width, mb_height, mb_stride: int32."""
    slice_number: int = 40
    slice_use_weight: int = 88
    slice_weight_denominator: int = 96
    slice_weights: int = 120
    """int32 [48][2][2] by index and list: weight, offset."""
    slice_list_counts: int = 22640
    """uint32 [2]; behind them how many lists there are."""
    slice_lists: int = 22656
    """[2][48] of what follows."""
    list_entry_size: int = 56
    list_entry_structure: int = 36
    list_entry_picture: int = 48
    pps_weighted_bipred: int = 36


@dataclass(frozen=True)
class Table:
    """Offsets of one version of libavcodec."""

    version: tuple[int, int, int]
    context: Context = Context()
    frame: Frame = Frame()
    hevc: Hevc = Hevc()
    h264: H264 = H264()


def table_from_json(said: dict[str, Any]) -> Table:
    """A table out of what `dataclasses.asdict` made of one, and JSON of that."""

    def plain(part: dict[str, Any]) -> dict[str, Any]:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in part.items()}

    parts = {"context": Context, "frame": Frame, "hevc": Hevc, "h264": H264}
    made = {name: kind(**plain(said[name])) for name, kind in parts.items()}
    return Table(tuple(said["version"]), **made)


POINTER_BYTES = struct.calcsize("P")
TABLES = (Table((62, 28, 102)),)
PYAV_CONTEXT = 24
"""Where PyAV's CodecContext has its AVCodecContext*: behind CPython's reference count and type, and Cython's vtable."""


def choose_table() -> Table | None:
    """The table of the libavcodec in use; None where there is none, or it cannot be used here (`why_not` says why)."""
    version = av.library_versions["libavcodec"]
    return next((table for table in TABLES if table.version == version and _foreign() is None), None)


def why_not() -> str | None:
    """Why the decoder's fields cannot be read on this machine, in one line; None where a table fits."""
    reason = _foreign()
    if reason is None and choose_table() is None:
        known = ", ".join(".".join(map(str, table.version)) for table in TABLES)
        reason = f"libavcodec is {'.'.join(map(str, av.library_versions['libavcodec']))}, known is {known}"
    return reason


def _foreign() -> str | None:
    """What of this machine or Python a table would not fit."""
    if sys.platform != "linux":
        return f"the system is {platform.system()}, known is Linux"
    if POINTER_BYTES != 8 or sys.byteorder != "little" or platform.machine() not in ("x86_64", "aarch64"):
        return f"the machine is {platform.machine()}, known are x86_64 and aarch64 with 64 bits"
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python is not CPython with its lock"
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        return f"Python is {platform.python_version()}, known are 3.11 to 3.14"
    return None
