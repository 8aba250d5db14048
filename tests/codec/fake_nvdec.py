"""PyNvVideoCodec's documented interface on the CPU: FFmpeg decodes what it is sent, without any container.

It behaves where it matters as the real one does: headers must be in the packets, a surface is written over by the
next call, pictures keep the size that the decoder was last set up for, a decoder that failed is of no use, and
each picture comes out with the least timestamp there is, whichever it was sent with.
"""

from __future__ import annotations

import ctypes
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import torch
from av.codec.context import Flags

CODECS = {"H264": "h264", "HEVC": "hevc", "VP9": "vp9", "AV1": "libdav1d", "MPEG2": "mpeg2video"}
PADDING = 32
"""Samples by which rows of a surface lie further apart than they are long."""
UNUSED = 0xEE
SUPERFRAME = 0b110
"""Upper bits of the last byte of a VP9 packet with several pictures, of which all but one are hidden."""


@dataclass
class PacketData:
    bsl_data: int = 0
    bsl: int = 0
    pts: int = 0
    key: int = 0


class View:
    """A plane of a surface by its address, as `DecodedFrame.cuda` gives it."""

    def __init__(self, surface: torch.Tensor, shape: tuple[int, int, int], offset: int, size: int, unit: int) -> None:
        rows, columns, channels = shape
        assert offset + rows * (columns * channels + PADDING) * size <= surface.numel()
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": shape,
            "strides": ((columns * channels + PADDING) * unit, channels * unit, unit),
            "typestr": "|u1" if size == 1 else "|u2",
            "data": (surface.data_ptr() + offset, False),
            "stream": 0,
        }


@dataclass
class DecodedFrame:
    pts: int
    views: list[View]
    statistics: Any = None
    decode_stats_size: int = 0

    def getPTS(self) -> int:  # noqa: N802
        return self.pts

    def cuda(self) -> list[View]:
        return self.views

    def ParseDecodeStats(self) -> Any:  # noqa: N802
        return self.statistics


@dataclass
class Picture:
    """What FFmpeg decoded: the coded picture, and how much of it is shown."""

    luma: np.ndarray
    chroma: np.ndarray
    shown: tuple[int, int]
    pts: int
    records: np.ndarray | None


class Decoder:
    def __init__(self, nvc: FakeNvdec, codec: str, room: tuple[int, int], statistics: bool) -> None:
        self.nvc, self.codec, self.room, self.statistics = nvc, codec, room, statistics
        self.context = self._open()
        self.coded: tuple[int, int] | None = None
        self.size, self.surface_size, self.asked = (0, 0), (0, 0), (0, 0)
        self.reconfigure = self.broken = False
        self.depth = 0
        self.surfaces: list[torch.Tensor] = []
        self.stamps: list[int] = []
        self.late = False

    def _open(self) -> av.VideoCodecContext:
        context = av.CodecContext.create(CODECS[self.codec], "r")
        context.thread_count = 1
        context.flags |= Flags.output_corrupt  # leading pictures of an open GOP's keyframe come out of it, too
        context.options = {"apply_cropping": "0"} | ({"flags2": "+export_mvs"} if self.statistics else {})
        return context

    def setReconfigParams(self, width: int, height: int) -> int:  # noqa: N802
        if width > self.room[0] or height > self.room[1]:
            raise RuntimeError("Resize dimensions must be lower than max width and height")
        self.nvc.reconfigured += 1
        self.asked, self.reconfigure = (height, width), True
        return 1

    def Decode(self, packet: PacketData) -> list[DecodedFrame]:  # noqa: N802
        assert not self.broken, "a decoder that failed was used again"
        self.nvc.calls += 1
        for surface in self.surfaces:
            surface.fill_(UNUSED)
        if self.nvc.calls == self.nvc.fail_at:
            self.broken = True
            raise RuntimeError("HandlePictureDecode : cuvidDecodePicture returned error 999\nat NvDecoder.cpp:1")
        data = ctypes.string_at(packet.bsl_data, packet.bsl) if packet.bsl else b""
        frames = [self._output(picture, at) for at, picture in enumerate(self._decode(data, packet.pts))]
        if not data:
            self.context = self._open()  # what comes next begins with headers
            self.stamps.clear()
            self.late = False
        return frames

    def _decode(self, data: bytes, pts: int) -> list[Picture]:
        packet = None
        if data:
            packet = av.Packet(data)
            heapq.heappush(self.stamps, pts)
            if self.codec == "VP9" and data[-1] >> 5 == SUPERFRAME and not self.late:
                self.late = True  # from its first hidden picture on, timestamps are those of the packet before
                heapq.heappush(self.stamps, pts - 1)
        try:
            frames = self.context.decode(packet)
        except av.error.InvalidDataError:
            return []
        return [self._picture(frame) for frame in frames]

    def _picture(self, frame: av.VideoFrame) -> Picture:
        self.depth = self.depth or frame.format.components[0].bits
        if self.depth != frame.format.components[0].bits:
            raise RuntimeError("Reconfigure Not supported for bit depth change")
        high = self.depth > 8
        dtype, shift = (np.uint16, 16 - self.depth) if high else (np.uint8, 0)
        y, u, v = (_plane(plane, dtype) << shift for plane in frame.planes)
        shown = self.context.height, self.context.width
        records = frame.side_data.get("MOTION_VECTORS") if self.statistics else None
        stamp = heapq.heappop(self.stamps)
        return Picture(y, np.stack([u, v], -1), shown, stamp, records.to_ndarray() if records else None)

    def _output(self, picture: Picture, at: int) -> DecodedFrame:
        self._follow(picture.luma.shape, picture.shown)
        (height, width), size = self.size, picture.luma.itemsize
        planes = [_fit(picture.luma[..., None], self.surface_size, self.size)]
        halves = [(n[0] // 2, n[1] // 2) for n in (self.surface_size, self.size)]
        planes.append(_fit(picture.chroma, *halves))
        need = 2 * height * (width + PADDING) * size
        if at == len(self.surfaces):
            self.surfaces.append(torch.empty(need, dtype=torch.uint8))
        if self.surfaces[at].numel() < need:
            self.surfaces[at] = torch.empty(need, dtype=torch.uint8)
        surface, views, offset = self.surfaces[at], [], 0
        surface.fill_(UNUSED)
        for plane in planes:
            rows, columns, channels = plane.shape
            pitch = columns * channels + PADDING
            part = surface.numpy()[offset : offset + rows * pitch * size].view(plane.dtype).reshape(rows, pitch)
            part[:, : columns * channels] = plane.reshape(rows, -1)
            views.append(View(surface, plane.shape, offset, size, 1 if self.nvc.strides_in_samples else size))
            offset += rows * pitch * size
        return self._with_statistics(DecodedFrame(picture.pts, views), picture)

    def _follow(self, coded: tuple[int, ...], shown: tuple[int, int]) -> None:
        """What happens at a sequence header: only another coded size sets the decoder up anew."""
        if self.coded is None:
            self.size, self.surface_size = shown, coded
        elif self.coded != coded:
            if coded[0] > self.room[1] or coded[1] > self.room[0]:
                raise RuntimeError("Reconfigure Not supported when width/height > maxwidth/maxheight")
            if self.reconfigure:
                self.size = self.surface_size = self.asked
                self.reconfigure = False
        self.coded = coded

    def _with_statistics(self, frame: DecodedFrame, picture: Picture) -> DecodedFrame:
        if self.statistics and self.nvc.statistics:
            parsed = _statistics(picture)
            parsed = self.nvc.change(parsed) if self.nvc.change else parsed
            frame.statistics = tuple(parsed.values()) if self.nvc.statistics == "tuple" else parsed
            frame.decode_stats_size = 16 * len(parsed["cu_type"])
        return frame


@dataclass(eq=False)
class FakeNvdec:
    """Stands for the module. What it can do may be changed before it is used; what was done is counted."""

    engines: dict[str, int] = field(default_factory=lambda: {"H264": 7, "HEVC": 7, "VP9": 7, "AV1": 0})
    limits: tuple[int, int] = (32, 4096)
    statistics: str = ""
    """`tuple` or `dict`: what ParseDecodeStats gives; empty where the driver has none."""
    change: Callable[[dict[str, list[int]]], dict[str, list[int]]] | None = None
    """Applied to the statistics."""
    strides_in_samples: bool = False
    fail_at: int = 0
    """The call of Decode, counted from 1, that fails."""
    created: list[Decoder] = field(default_factory=list)
    reconfigured: int = 0
    calls: int = 0
    asked: int = 0
    """How often GetDecoderCaps was called."""

    cudaVideoCodec = SimpleNamespace(**{name: name for name in CODECS})  # noqa: N815
    OutputColorType = SimpleNamespace(NATIVE=0)
    DisplayDecodeLatencyType = SimpleNamespace(NATIVE=0)
    PacketData = PacketData

    class PyNvVCExceptionUnsupported(Exception):  # noqa: N818
        pass

    def GetDecoderCaps(self, gpuid: int, codec: str, bitdepth: int) -> dict[str, int]:  # noqa: N802
        self.asked += 1
        if gpuid != 0:
            raise RuntimeError("GPU ordinal out of range. Should be within [0, 0]\n")
        low, high = self.limits
        engines = 0 if codec == "H264" and bitdepth > 8 else self.engines.get(codec, 0)
        supported = high if engines else 0
        return {
            "num_decoder_engines": engines,
            "width_min": low,
            "height_min": low,
            "width_max": supported,
            "height_max": supported,
            "mb_num_max": supported * supported // 256,
        }

    def CreateDecoder(  # noqa: N802
        self,
        gpuid: int,
        codec: str,
        cudacontext: int,
        cudastream: int,
        usedevicememory: bool,
        maxwidth: int,
        maxheight: int,
        outputColorType: int,  # noqa: N803
        latency: int,
        enableDecodeStats: bool,  # noqa: N803
    ) -> Decoder:
        assert not usedevicememory
        if not self.engines.get(codec):
            raise self.PyNvVCExceptionUnsupported("Codec not supported on this GPU")
        self.created.append(Decoder(self, codec, (maxwidth, maxheight), enableDecodeStats))
        return self.created[-1]


def _plane(plane: av.video.plane.VideoPlane, dtype: type) -> np.ndarray:
    rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
    return rows[:, : plane.width].copy()


def _fit(plane: np.ndarray, surface: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """What of a coded plane lies on a surface, and is copied from there: cut off, or scaled without smoothing."""
    rows, columns = plane.shape[:2]
    if rows < surface[0] or columns < surface[1] or (rows - surface[0] >= 64 or columns - surface[1] >= 64):
        plane = plane[np.arange(surface[0]) * rows // surface[0]][:, np.arange(surface[1]) * columns // surface[1]]
    out = np.full((*size, plane.shape[2]), UNUSED, plane.dtype)
    part = plane[: min(surface[0], size[0]), : min(surface[1], size[1])]
    out[: part.shape[0], : part.shape[1]] = part
    return out


def _statistics(picture: Picture) -> dict[str, list[int]]:
    """FFmpeg's motion on 16x16 blocks, in raster order: that of the record that covers a block's corner."""
    rows, columns = -(-picture.shown[0] // 16), -(-picture.shown[1] // 16)
    inter = np.zeros((rows, columns), int)
    vectors = np.zeros((2, rows, columns, 2), int)
    for record in [] if picture.records is None else picture.records:
        y, x = (record["dst_y"] - record["h"] // 2) / 16, (record["dst_x"] - record["w"] // 2) / 16
        if y == int(y) and x == int(x):
            inter[int(y), int(x)] = 1
            motion = [int(record[name]) * 4 // int(record["motion_scale"]) for name in ("motion_x", "motion_y")]
            vectors[int(record["source"] > 0), int(y), int(x)] = motion
    flat = vectors.reshape(2, -1, 2)
    names = {"mv0_x": flat[0, :, 0], "mv0_y": flat[0, :, 1], "mv1_x": flat[1, :, 0], "mv1_y": flat[1, :, 1]}
    fields = {"qp_luma": [26] * inter.size, "cu_type": inter.reshape(-1).tolist()}
    return fields | {name: values.tolist() for name, values in names.items()}
