"""Decode what a plan asks for by NVDEC, on the GPU, with the numbers and in the order of `decode`.

The pictures stay on the GPU: they view the decoder's own surfaces, which it uses again. What NVDEC can do at all is
asked of `nvdec_support` first; whatever fails here raises NvdecError, and the clip can still be decoded on the CPU.
Interface: NVIDIA PyNvVideoCodec 2.2, API Programming Guide, "Core Decoder".
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from codecsieve.codec.decode import PictureNumbers
from codecsieve.codec.nvdec_packets import ElementaryStream, NvdecError
from codecsieve.codec.nvdec_statistics import BlockStatistics, block_statistics
from codecsieve.codec.nvdec_support import CODECS, load_nvdec
from codecsieve.codec.picture import PictureFormat
from codecsieve.codec.plan import GopPlan, plan_gops
from codecsieve.codec.source import PacketSource

ROOM = 1920
"""A decoder has room for pictures of this many samples in width and height at least, so that it serves most clips."""
REORDERED_CODECS = frozenset({"h264", "hevc"})
"""Codecs whose pictures may be shown in another order than they are sent in."""
CODED_STEP = 64
"""The largest block of any codec: a coded picture is larger than the shown one by less than this, cropping aside."""


@dataclass(frozen=True)
class DevicePicture:
    """One decoded picture on the device. Its planes are the decoder's: gone when the next picture is asked for."""

    luma: torch.Tensor
    """uint8 or uint16 [rows, columns]: the shown picture before it is turned upright. A view whose rows may lie
    further apart than they are long. Samples of 10 bits lie in the upper bits of 16 (P016)."""
    chroma: torch.Tensor
    """uint8 or uint16 [rows / 2, columns / 2, 2]: U, V; likewise."""
    decode_index: int
    """Its packet's number in the file."""
    display_index: int
    """Its number in order of presentation."""
    reference: bool
    """False where no other picture refers to it."""
    statistics: BlockStatistics | None
    """None where they were not asked for, or the driver gives none."""


@dataclass(frozen=True)
class _Setup:
    """What a decoder is set up for."""

    kind: tuple[str, int, bool]
    """Codec (FFmpeg's name), bit depth and whether statistics are given: fixed once a decoder is made."""
    width: int
    height: int
    headers: bytes

    @property
    def coded(self) -> tuple[int, int]:
        """The coded size in steps, at most: setups that differ in this differ in the coded size."""
        return -(-self.width // CODED_STEP), -(-self.height // CODED_STEP)


class NvdecSession:
    """The decoder of one thread, on one GPU and one CUDA stream, kept from clip to clip. Use as a context manager.

    Making a decoder takes ten times as long as setting one up for another size. One that has failed, or still holds
    pictures of a clip that was given up, is thrown away.
    """

    def __init__(self, gpu: int, stream: int, device: torch.device) -> None:
        """Make a session; its decoder is made for the first clip.

        Args:
            gpu: index of the GPU.
            stream: handle of the CUDA stream on which surfaces are filled (`torch.cuda.Stream.cuda_stream`). Nothing
                waits for it: read the pictures on the same stream, or wait for it first.
            device: where the planes are: the GPU, or the CPU for surfaces in host memory.

        Raises NvdecError where PyNvVideoCodec cannot be used.
        """
        self.nvc = load_nvdec()
        self.gpu, self.stream, self.device = gpu, stream, device
        self.decoder: Any = None
        self.setup: _Setup | None = None
        self.room = (0, 0)

    def __enter__(self) -> NvdecSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Throw the decoder away, and the surfaces with it; the next clip gets a new one."""
        self.decoder = self.setup = None

    def pictures(
        self, source: PacketSource, wanted: np.ndarray, layout: PictureFormat, statistics: bool = False
    ) -> Generator[DevicePicture]:
        """Decode the wanted pictures and the reference pictures they need, as `decode.decode_pictures` does.

        Args:
            source: the open file, used up by this. It must have passed `nvdec_support.check_supported`.
            wanted: int64 [n], ascending display indices.
            layout: of its pictures, from `nvdec_support.first_layout`.
            statistics: also give decode statistics, where the driver has them. Only of an `ordered` source: of others
                it is not known which packet a picture came from, and its decode index and `reference` are a guess.

        Yields:
            Pictures in order of presentation, wanted or not. Be done with each, or copy it, before the next.

        Raises:
            NvdecError: decoding fails, perhaps after some pictures: begin again on the CPU, which can also do with
                a damaged file.
            VideoError: the file cannot be read.
        """
        if statistics and not source.ordered:
            raise NvdecError("NVDEC's decode statistics are not read where timestamps do not tell the pictures' order")
        numbers = PictureNumbers(source, wanted)
        missing = set(wanted.tolist())
        stream = ElementaryStream(source.facts.codec, source.stream.codec_context.extradata)
        whole = False
        try:
            kind = stream.codec, layout.bit_depth, statistics
            self._prepare(_Setup(kind, layout.width, layout.height, stream.headers))
            sent = _Sent(stream.codec, source.ordered)
            for frame in self._frames(plan_gops(source, wanted), numbers, stream, sent):
                index = sent.take(int(frame.getPTS()))
                if numbers.sent[index][0] < 0:
                    del numbers.sent[index]  # hidden by an edit list
                    continue
                display, reference = numbers.number(index)
                missing.discard(display)
                yield self._picture(frame, layout, index, display, reference, statistics)
                if numbers.ends(display, reference):
                    self._decode(None, 0)
                    break
            if missing:
                raise NvdecError(f"NVDEC gave no picture for frame {min(missing)}; the file may be damaged")
            if source.ordered and sent.lost():
                raise NvdecError(f"NVDEC gave no picture for packet {sent.lost()[0]}; the file may be damaged")
            whole = True
        finally:
            if not whole:
                self.close()

    def _prepare(self, wanted: _Setup) -> None:
        """Have a decoder for a clip: the one at hand as it is, set up anew, or a new one."""
        if self.setup == wanted:
            return
        fits = wanted.width <= self.room[0] and wanted.height <= self.room[1]
        # The parser sets surfaces, their count and cropping up anew only where the coded size changes. Two clips of
        # one coded size that differ in what is shown of it, or in their headers, need a decoder each.
        if self.setup is not None and self.setup.kind == wanted.kind and self.setup.coded != wanted.coded and fits:
            self._call(self.decoder.setReconfigParams, wanted.width, wanted.height)
            self.setup = wanted
            return
        self.close()
        self.room = max(CODED_STEP * wanted.coded[0], ROOM), max(CODED_STEP * wanted.coded[1], ROOM)
        self.decoder = self._call(
            self.nvc.CreateDecoder,
            gpuid=self.gpu,
            codec=getattr(self.nvc.cudaVideoCodec, CODECS[wanted.kind[0]]),
            cudacontext=0,
            cudastream=self.stream,
            usedevicememory=self.device.type == "cuda",
            maxwidth=self.room[0],
            maxheight=self.room[1],
            outputColorType=self.nvc.OutputColorType.NATIVE,
            latency=self.nvc.DisplayDecodeLatencyType.NATIVE,
            enableDecodeStats=wanted.kind[2],
        )
        self.setup = wanted

    def _frames(
        self, plans: Iterator[GopPlan], numbers: PictureNumbers, stream: ElementaryStream, sent: _Sent
    ) -> Iterator[Any]:
        first = True
        for plan in plans:
            empty = first
            for packet in numbers.packets(plan):
                stamp = sent.give(plan, int(packet.pts or 0), empty)
                yield from self._decode(stream.packet(packet, first), stamp, packet.is_keyframe)
                first = False
            if plan.closes:
                yield from self._decode(None, 0)
                first = True

    def _decode(self, data: bytes | memoryview | None, stamp: int, keyframe: bool = False) -> list[Any]:
        """Frames that come out when a packet is sent; None: all that are still inside."""
        packet = self.nvc.PacketData()
        packet.bsl_data = packet.bsl = 0
        if data is not None:
            held = np.frombuffer(data, np.uint8)  # lives until the call is over
            packet.bsl_data, packet.bsl, packet.pts, packet.key = held.ctypes.data, held.size, stamp, int(keyframe)
        frames: list[Any] = self._call(self.decoder.Decode, packet)
        return frames

    def _call(self, function: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except Exception as error:  # PyNvVideoCodec's own exceptions have no common base
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise NvdecError(f"NVDEC failed ({reason})") from error

    def _picture(
        self, frame: Any, layout: PictureFormat, index: int, display: int, reference: bool, statistics: bool
    ) -> DevicePicture:
        planes = [_plane(view.__cuda_array_interface__, self.device) for view in self._call(frame.cuda)]
        height, width = layout.height, layout.width
        shapes = [tuple(plane.shape) for plane in planes]
        if shapes != [(height, width, 1), (height // 2, width // 2, 2)]:
            raise NvdecError(f"NVDEC gave planes of {shapes}, not of a 4:2:0 picture of {width}x{height}")
        if planes[0].element_size() != (1 if layout.bit_depth == 8 else 2):
            raise NvdecError(f"NVDEC gave {planes[0].element_size()} bytes a sample for {layout.bit_depth} bits")
        blocks = None
        if statistics and getattr(frame, "decode_stats_size", 0) > 0:
            blocks = block_statistics(self._call(frame.ParseDecodeStats), height, width)
        return DevicePicture(planes[0][:, :, 0], planes[1], index, display, reference, blocks)


class _Sent:
    """The packets that were sent, and the timestamps by which their pictures are known when they come out.

    NVDEC's parser gives the next picture the least timestamp that it has, whichever picture that was sent with (seen
    with driver 580). So they must ascend in order of presentation, as true ones do. Where that order is not known they
    ascend in decode order, and tell nothing but that a picture came out. VP9's hidden pictures take timestamps, too;
    but VP9 and AV1 show one picture a packet, in the packets' order.
    """

    def __init__(self, codec: str, ordered: bool) -> None:
        """Args: codec: FFmpeg's name. ordered: of the source."""
        self._one_a_packet = codec not in REORDERED_CODECS
        self._ordered = ordered
        self._indices: dict[int, int] = {}
        self._last = -1
        self._undecodable: set[int] = set()

    def give(self, plan: GopPlan, index: int, empty: bool) -> int:
        """The timestamp for a packet of a plan, by its decode index; `empty`: the plan began with nothing decoded."""
        gop, offset = plan.gop, index - plan.gop.first
        stamp = gop.first + int(gop.order[offset]) if self._ordered else index
        self._indices[stamp] = index
        if empty and gop.order[offset] < gop.order[0]:
            self._undecodable.add(index)
        return stamp

    def take(self, stamp: int) -> int:
        """The decode index of a picture that came out. Raises NvdecError unless it is a later one that was sent."""
        if self._one_a_packet:
            stamp = next(iter(self._indices), stamp)
        index = self._indices.pop(stamp, None)
        if index is None:
            raise NvdecError(f"NVDEC gave a picture that is none of those asked for (timestamp {stamp})")
        if stamp < self._last:
            raise NvdecError("NVDEC gave pictures in another order than the file's timestamps have")
        self._last = stamp
        return index

    def lost(self) -> list[int]:
        """Decode indices of pictures that should have come out: those behind them may bear their timestamps."""
        return sorted(set(self._indices.values()) - self._undecodable)


def _plane(interface: dict[str, Any], device: torch.device) -> torch.Tensor:
    """A plane of a surface as a tensor [rows, columns, channels] over the same memory.

    The distance of rows is taken from its ratio to that of columns: PyNvVideoCodec counts strides in bytes for 8 bits
    a sample and in samples for 16, where the CUDA array interface wants bytes.
    """
    rows, columns, channels = interface["shape"]
    size = int(interface["typestr"][2:])
    pair = channels * size
    pitch = columns * pair
    if interface.get("strides"):
        pitch = interface["strides"][0] // interface["strides"][1] * pair
    described = {
        "version": 3,
        "shape": (rows, columns, channels),
        "strides": (pitch, pair, size),
        "typestr": "|u1" if size == 1 else "<u2",
        "data": (interface["data"][0], False),
    }
    if device.type == "cuda":
        return torch.as_tensor(_Memory(__cuda_array_interface__=described), device=device)
    return torch.from_numpy(np.asarray(_Memory(__array_interface__=described)))


class _Memory:
    """Memory that someone else owns, for a library that takes it by its description."""

    def __init__(self, **interface: dict[str, Any]) -> None:
        self.__dict__.update(interface)
