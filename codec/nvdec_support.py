"""What this machine's NVDEC can decode, and how FFmpeg would lay the same pictures out.

NVDEC is used only where its pictures are FFmpeg's bit for bit; everything else is refused here with the reason, and
the caller decodes on the CPU. Decoding itself is in `nvdec`. PyNvVideoCodec is imported when first asked for: it
fails to load where the driver's video libraries are missing.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from types import ModuleType

import av
import numpy as np

from codecsieve.codec.decode import open_decoder
from codecsieve.codec.decoder import decode_packet
from codecsieve.codec.facts import VideoFacts
from codecsieve.codec.layouts import Layouts
from codecsieve.codec.nvdec_packets import NvdecError, h264_is_grey, hevc_origin
from codecsieve.codec.picture import PictureFormat
from codecsieve.codec.source import PacketSource

CODECS = {"h264": "H264", "hevc": "HEVC", "vp9": "VP9", "av1": "AV1"}
"""FFmpeg's name -> PyNvVideoCodec's, of the codecs whose decoding is defined to the bit (that of MPEG-1, 2 and 4 is
not: their inverse transforms may differ by rounding)."""
LAYOUTS = frozenset({"yuv420p", "yuvj420p", "yuv420p10le"})
"""FFmpeg's names of what NVDEC puts out as NV12 and P016."""
PROGRESSIVE = frozenset({0, 1})
"""AVFieldOrder of streams that are progressive, or do not say otherwise."""


def load_nvdec() -> ModuleType:
    """PyNvVideoCodec. Raises NvdecError where it is not installed or does not load."""
    try:
        return import_module("PyNvVideoCodec")
    except ModuleNotFoundError as error:
        if error.name == "PyNvVideoCodec":
            raise NvdecError("PyNvVideoCodec is not installed; pip install 'codecsieve[gpu]'") from error
        raise
    except Exception as error:  # a missing or old driver shows as ImportError, OSError or RuntimeError
        raise NvdecError(
            f"PyNvVideoCodec does not load ({_first_line(error)}); install NVIDIA's driver, and in a container set "
            "NVIDIA_DRIVER_CAPABILITIES to compute,utility,video"
        ) from error


def nvdec_engines(gpu: int, codec: str, bit_depth: int) -> int:
    """How many decoder engines a GPU has for a codec (FFmpeg's name) in 4:2:0; 0 where it cannot decode it.

    Raises NvdecError where NVDEC cannot be used at all.
    """
    return _limits(load_nvdec(), gpu, codec, bit_depth).get("num_decoder_engines", 0)


@lru_cache
def _limits(nvc: ModuleType, gpu: int, codec: str, bit_depth: int) -> dict[str, int]:
    """What GetDecoderCaps tells of 4:2:0, its default; {} where the codec is not supported."""
    if codec not in CODECS:
        return {}
    identifier = getattr(nvc.cudaVideoCodec, CODECS[codec])
    try:
        limits = dict(nvc.GetDecoderCaps(gpuid=gpu, codec=identifier, bitdepth=bit_depth))
    except Exception as error:
        if isinstance(error, getattr(nvc, "PyNvVCExceptionUnsupported", ())):
            return {}
        raise NvdecError(f"NVDEC of GPU {gpu} does not answer ({_first_line(error)}); does its driver work?") from error
    return limits if limits.get("supported", 1) and limits["width_max"] > 0 else {}


def first_layout(source: PacketSource, wanted: np.ndarray) -> tuple[PictureFormat, bool]:
    """How FFmpeg lays the wanted pictures out, and whether they are interlaced, from one keyframe decoded by it.

    Args:
        source: the open file. FFmpeg's decoder of it is used up; its packets are as before.
        wanted: int64 [n], ascending display indices, n > 0.

    Raises NvdecError where nothing in the first GOP that is wanted can be decoded.
    """
    gop = source.read(source.gop_of(int(wanted[0])) if source.ordered else 0)
    decoder = open_decoder(source, motion=False)
    # The rest is sent only where the keyframe alone shows nothing: it is hidden by an edit list, say.
    for packets in (gop.packets[:1], gop.packets):
        frame = _first_frame(decoder, packets)
        if frame is not None:
            fields = bool(frame.interlaced_frame) or int(decoder.field_order) not in PROGRESSIVE
            return Layouts(source).of(frame, 0), fields
    raise NvdecError("FFmpeg decodes nothing of the first GOP; whether NVDEC would give the same is not known")


def _first_frame(decoder: av.VideoCodecContext, packets: list[av.Packet]) -> av.VideoFrame | None:
    try:
        for packet in [*packets, None]:
            frames = decode_packet(decoder, packet)
            if frames is None:
                return None
            if frames:
                return frames[0]
    finally:
        decoder.flush_buffers()
    return None


def check_supported(source: PacketSource, layout: PictureFormat, interlaced: bool, gpu: int) -> None:
    """Raise NvdecError for a stream that NVDEC does not decode to the same bits as FFmpeg, or not at all.

    Args:
        source: the open file.
        layout: of its pictures, from `first_layout`.
        interlaced: likewise.
        gpu: index of the GPU.
    """
    facts, size = source.facts, f"{layout.width}x{layout.height}"
    if facts.codec not in CODECS:
        raise NvdecError(f"NVDEC is not used for {facts.codec}: its pictures could differ from FFmpeg's")
    if layout.pixel_format not in LAYOUTS:
        raise NvdecError(f"NVDEC is not used for {layout.pixel_format}, only for 4:2:0 of 8 or 10 bits")
    if source.doubtful:
        raise NvdecError("NVDEC is not used where timestamps may be decode times: it would not show it")
    if facts.codec == "h264" and h264_is_grey(source.stream.codec_context.extradata):
        raise NvdecError("NVDEC is not used for video without chroma")
    if interlaced or (facts.sequence is not None and not facts.sequence.frame_macroblocks_only):
        raise NvdecError("NVDEC is not used for interlaced video: it would deinterlace it")
    if layout.width % 2 or layout.height % 2:
        raise NvdecError(f"NVDEC is not used for pictures of odd size ({size})")
    top, left = _origin(source, facts, layout)
    if top or left:
        raise NvdecError(f"NVDEC is not used for pictures cropped at the top ({top}) or on the left ({left})")
    limits = _limits(load_nvdec(), gpu, facts.codec, layout.bit_depth)
    if not limits.get("num_decoder_engines"):
        raise NvdecError(f"NVDEC of GPU {gpu} does not decode {facts.codec} of {layout.bit_depth} bits")
    low, high = (limits["width_min"], limits["height_min"]), (limits["width_max"], limits["height_max"])
    macroblocks = -(-layout.width // 16) * -(-layout.height // 16)
    if not (low[0] <= layout.width <= high[0] and low[1] <= layout.height <= high[1]):
        raise NvdecError(f"NVDEC decodes {facts.codec} from {low[0]}x{low[1]} to {high[0]}x{high[1]}, not {size}")
    if macroblocks > limits["mb_num_max"]:
        raise NvdecError(f"NVDEC decodes up to {limits['mb_num_max']} macroblocks, not {macroblocks} ({size})")


def _origin(source: PacketSource, facts: VideoFacts, layout: PictureFormat) -> tuple[int, int]:
    """Row and column of the coded picture at which the shown one begins. VP9 and AV1 have no such offset."""
    if facts.codec == "hevc":
        return hevc_origin(source.stream.codec_context.extradata)
    return layout.crop_top, layout.crop_left


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
