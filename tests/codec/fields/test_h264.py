"""H.264 read out of the decoder: where the stream adds nothing to its prediction, nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from field_cases import needs_table, residual_of, uncoded_residual
from h264_writer import B, I, P, Slice, Stream

from codecsieve.codec.fields.coded import FRAME, CodedPicture
from codecsieve.codec.fields.memory import FieldsError
from codecsieve.codec.fields.reader import FieldReader
from codecsieve.codec.fields.table import choose_table

MakeVideo = Callable[..., Path]

pytestmark = needs_table


def draw(frames: int, size: tuple[int, int], fields: bool = False, fade: bool = False) -> list[np.ndarray]:
    """Pictures with a ground and a patch that move apart; below a third of them from field to field."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height + 64, width + 104))
    moved = [noise[y : y - 4 or None, x : x - 4 or None] for y in range(5) for x in range(5)]
    ground = 4 * np.mean(moved, axis=0) - 382

    def at(time: float) -> np.ndarray:
        picture = ground[int(0.8 * time) :, int(1.5 * time) :][:height, :width].copy()
        y, x = int(2 * time) % (height - 20), int(3 * time) % (width - 24)
        picture[y : y + 20, x : x + 24] = ground[:20, :24]
        return picture

    pictures = []
    for number in range(frames):
        picture = at(number)
        if fields:
            picture[1::2] = at(number + 0.5)[1::2]
            picture[: height // 3] = at(0)[: height // 3]
        bright = 0.4 + 0.6 * abs(np.cos(number / 5)) if fade else 1.0
        pictures.append(np.clip(picture * bright + (number % 3 if fade else 0), 0, 255).astype(np.uint8))
    return pictures


def open_decoder(codec: av.VideoCodecContext) -> av.VideoCodecContext:
    """Set a decoder up as the project does for reading its fields."""
    codec.thread_count = 1
    codec.options = {"apply_cropping": "0", "flags2": "+export_mvs"}
    return codec


def read_packets(decoder: av.VideoCodecContext, packets: list[av.Packet]) -> Iterator[tuple[int, CodedPicture | None]]:
    """Each packet's number, and its picture while it may be looked at."""
    table = choose_table()
    assert table is not None
    reader = None
    for index, packet in enumerate(packets):
        packet.pts = index
        decoder.decode(packet)
        reader = reader or FieldReader(decoder, table)
        yield index, reader.read(index)


def read_file(path: Path) -> Iterator[tuple[av.VideoCodecContext, int, CodedPicture | None]]:
    """Likewise of a file, with its decoder."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = open_decoder(stream.codec_context)
        packets = [packet for packet in container.demux(stream) if packet.size]
        for index, picture in read_packets(decoder, packets):
            yield decoder, index, picture


class Case(NamedTuple):
    """How a video is made."""

    parameters: str
    pixel_format: str = "yuv420p"
    size: tuple[int, int] = (112, 80)
    fields: bool = False
    fade: bool = False
    weighted: bool = False
    """Whether some of its pictures must be."""


TWO_B = "ref=3:bframes=2:b-adapt=0"
PYRAMID = "ref=4:bframes=5:b-adapt=0:b-pyramid=normal"
FINE = "partitions=all:subme=9:crf=14"
CASES = {
    "one reference": Case("ref=1:bframes=0:weightp=0"),
    "four references": Case("ref=4:bframes=0:weightp=0"),
    "sixteen references": Case("ref=16:bframes=3:b-adapt=0"),
    "pyramid": Case(PYRAMID, weighted=True),
    "deep pyramid": Case("ref=4:bframes=8:b-adapt=0:b-pyramid=strict", weighted=True),
    "spatial direct": Case(f"{TWO_B}:direct=spatial:weightb=0"),
    "temporal direct": Case(f"{TWO_B}:direct=temporal"),
    "4x4 direct": Case(f"{TWO_B}:direct=temporal:level=10:{FINE}"),
    "4x4 partitions": Case(f"{TWO_B}:{FINE}"),
    "4x4 transform": Case(f"{TWO_B}:8x8dct=0:{FINE}"),
    "8x8 transform, CAVLC": Case(f"{TWO_B}:8x8dct=1:cabac=0"),
    "CAVLC": Case(f"{PYRAMID}:cabac=0:8x8dct=0"),
    "fade, not weighted": Case(f"{TWO_B}:weightp=0:weightb=0", fade=True),
    "fade, weighted": Case(f"{TWO_B}:weightp=1", fade=True, weighted=True),
    "fade, a reference twice": Case("ref=4:bframes=0:weightp=2", fade=True, weighted=True),
    "slices": Case(f"{PYRAMID}:weightp=2:slices=4", fade=True, weighted=True),
    "more slices than are kept": Case(f"{TWO_B}:weightp=2:slice-max-mbs=1", fade=True, weighted=True),
    "10 bits": Case(f"{TWO_B}:weightp=2", "yuv420p10le", fade=True, weighted=True),
    "4:2:2": Case(TWO_B, "yuv422p"),
    "4:4:4": Case(f"{TWO_B}:{FINE}", "yuv444p"),
    "4:0:0": Case(TWO_B, "gray"),
    "odd sizes": Case(TWO_B, size=(102, 70)),
    "short GOPs": Case(f"{TWO_B}:keyint=4:min-keyint=1"),
    "open GOPs": Case(f"{PYRAMID}:keyint=6:min-keyint=6:open-gop=1"),
    "intra refresh": Case("ref=4:bframes=0:intra-refresh=1:keyint=6"),
    "lossless": Case(f"{TWO_B}:qp=0"),
    "MBAFF": Case(f"{TWO_B}:tff=1:weightp=0", fields=True, weighted=True),
    "MBAFF, temporal direct": Case(f"{PYRAMID}:bff=1:direct=temporal:{FINE}", fields=True),
    "MBAFF, weighted": Case(f"{TWO_B}:tff=1:weightp=2", fields=True, fade=True, weighted=True),
    "MBAFF, slices, CAVLC": Case(f"{PYRAMID}:tff=1:slices=2:cabac=0", fields=True),
    "MBAFF, 10 bits, odd sizes": Case(f"{TWO_B}:tff=1", "yuv420p10le", (102, 76), fields=True),
    "MBAFF, sixteen references": Case("ref=16:bframes=2:b-adapt=0:tff=1", fields=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_left_where_nothing_is_coded(name: str, make_video: MakeVideo, tmp_path: Path) -> None:
    """All samples of inter macroblocks' 8x8 quarters without coefficients are exactly their prediction."""
    case = CASES[name]
    path = make_video(
        tmp_path / "video.mp4",
        pictures=draw(18, case.size, case.fields, case.fade),
        pixel_format=case.pixel_format,
        options={"x264-params": f"no-deblock=1:scenecut=0:{case.parameters}"},
    )
    samples, bare, rows, weighted, table = 0, 0, set(), False, choose_table()
    assert table is not None
    for decoder, index, picture in read_file(path):
        if picture is None:
            continue
        for part in picture.predictions:
            with FieldReader(decoder, table) as reader:
                left = uncoded_residual(picture, reader.blocks(index), part)
            assert not left.any()
            samples, bare = samples + part.picture.shape[0] * picture.width, bare + left.size
            rows.add(part.rows)
            weighted |= part.weights is not None
    assert bare > samples / 20
    assert rows == ({FRAME, 0, 1} if case.fields else {FRAME})
    assert weighted or not case.weighted


@pytest.mark.parametrize("parameters", [f"{PYRAMID}:{FINE}", f"{TWO_B}:slices=3:cabac=0:direct=temporal"])
def test_vectors_are_those_that_ffmpeg_exports(parameters: str, make_video: MakeVideo, tmp_path: Path) -> None:
    """FFmpeg tells each block's vector and list when it shows a picture, here later than it is read."""
    path = make_video(
        tmp_path / "video.mp4", pictures=draw(14, (112, 80)), options={"x264-params": f"scenecut=0:{parameters}"}
    )
    read: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    compared = 0
    table = choose_table()
    assert table is not None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = open_decoder(stream.codec_context)
        reader = None
        for index, packet in enumerate(container.demux(stream)):
            packet.pts = index if packet.size else None
            shown = decoder.decode(packet if packet.size else None)
            reader = reader or FieldReader(decoder, table)
            if packet.size and (picture := reader.read(index)):
                read[index] = picture.predictions[0].motion.units()
            for frame in shown:
                if frame.pts in read:
                    compared += compare_with_export(frame, *read[frame.pts])
    assert compared > 500


def compare_with_export(frame: av.VideoFrame, vectors: np.ndarray, entries: np.ndarray) -> int:
    """How many vectors are alike: all that FFmpeg exports of lists that a block uses."""
    data = frame.side_data.get("MOTION_VECTORS")
    assert data is not None
    records = data.to_ndarray()
    named, compared = np.zeros(entries.shape, bool), 0
    for record in records:
        which = 0 if record["source"] < 0 else 1
        y, x = (int(record["dst_y"]) - record["h"] // 2) // 4, (int(record["dst_x"]) - record["w"] // 2) // 4
        named[y : y + record["h"] // 4, x : x + record["w"] // 4, which] = True
        if entries[y, x, which] >= 0:
            assert tuple(vectors[y, x, which]) == (record["motion_x"], record["motion_y"])
            compared += 1
    assert named[entries >= 0].all()
    return compared


def decode_slices(pictures: list[list[Slice]], stream: Stream) -> dict[int, list[tuple[int, float, int]]]:
    """By packet and Prediction: its rows, the part of its units that are predicted, and the largest residual there."""
    packets = [b"".join(stream.slice(what) for what in slices) for slices in pictures]
    packets[0] = stream.parameter_sets() + packets[0]
    decoder = open_decoder(av.CodecContext.create("h264", "r"))
    found: dict[int, list[tuple[int, float, int]]] = {}
    for index, picture in read_packets(decoder, [av.Packet(packet) for packet in packets]):
        if picture is None:
            continue
        for part in picture.predictions:
            units = part.motion.units()[1].max(-1) >= 0
            left = residual_of(picture, part)[units.repeat(4, axis=0).repeat(4, axis=1)]
            found.setdefault(index, []).append((part.rows, units.mean(), left.max()))
    return found


def pair(kinds: tuple[int, int], frame_num: int, poc: int, first: int = 0, **what: object) -> list[Slice]:
    """Two fields of a frame."""
    return [
        Slice(kinds[0], frame_num, poc, first, **what),  # type: ignore[arg-type]
        Slice(kinds[1], frame_num, poc + 1, 1 - first, **what),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
def test_fields_that_are_coded_one_by_one(implicit: bool, late: bool) -> None:
    """PAFF: both fields of a frame are predicted exactly, whichever came first, and frames between them."""
    pictures = [
        [Slice(I, 0, 0, 0, idr=True), Slice(P, 0, 1, 1)],
        pair((P, P), 1, 8, counts=(2, 1)),
        pair((B, B), 2, 4, counts=(2, 2), reference=False),
        [Slice(P, 2, 16, counts=(2, 1))],
        pair((B, B), 3, 12, first=1, counts=(4, 2), reference=False),
        pair((P, I), 3, 20, counts=(4, 1)),
        pair((I, P), 4, 24, counts=(3, 1)),
    ]
    found = decode_slices(pictures, Stream(4, 4, fields=True, weighted_bipred=2 if implicit else 0, late=late))
    both = [(0, 1.0, 0), (1, 1.0, 0)]
    assert found == {0: both[1:], 1: both, 2: both, 3: [(FRAME, 1.0, 0)], 4: both, 5: both[:1], 6: both[1:]}


@pytest.mark.parametrize("late", [False, True])
def test_references_of_a_first_field_that_the_second_lets_go(late: bool) -> None:
    """Where they are not shown yet they are still there; else what they predicted is not known any more."""
    pictures = [
        [Slice(I, 0, 0, 0, idr=True), Slice(P, 0, 1, 1)],
        pair((P, P), 1, 64, counts=(2, 1)),
        pair((B, B), 2, 32, counts=(2, 2)),
    ]
    first, second = decode_slices(pictures, Stream(4, 4, fields=True, references=2, late=late))[2]
    assert first == (0, 1.0, 0) if late else (0 < first[1] < 1 and first[2] == 0)
    assert second == (1, 1.0, 0)


def test_fields_in_packets_of_their_own() -> None:
    """A transport stream has one for each field: the second one completes the first one's picture."""
    stream = Stream(4, 4, fields=True)
    slices = [
        *[Slice(I, 0, 0, 0, idr=True), Slice(P, 0, 1, 1)],
        *pair((P, P), 1, 8, counts=(2, 1)),
        *pair((B, B), 2, 4, counts=(2, 2), reference=False),
    ]
    packets = [stream.slice(what) for what in slices]
    decoder = open_decoder(av.CodecContext.create("h264", "r"))
    decoder.open(strict=False)
    table = choose_table()
    assert table is not None
    with FieldReader(decoder, table) as reader:
        for index, data in enumerate(packets):
            packet = av.Packet(data if index else stream.parameter_sets() + data)
            packet.pts = index
            decoder.decode(packet)
            picture = reader.read(index // 2 * 2)
            parts = picture.predictions if picture else ()
            assert [part.rows for part in parts] == [[], [1], [0], [0, 1], [0], [0, 1]][index]
            assert not any(residual_of(picture, part).any() for part in parts if picture)


def explicit(*counts: int) -> tuple[int, list[list[tuple[int, int]]]]:
    """Weights that differ from entry to entry."""
    return 5, [[(22 + 4 * k, k - 2) for k in range(count)] for count in counts]


def test_explicit_weights_of_the_field_that_came_last() -> None:
    """The decoder keeps no others: of the first field the prediction is known, but not how bright it is."""
    pictures = [
        [Slice(I, 0, 0, 0, idr=True), Slice(P, 0, 1, 1, weights=explicit(1))],
        pair((P, P), 1, 8, counts=(2, 1), weights=explicit(2)),
        pair((B, B), 2, 4, counts=(2, 2), reference=False, weights=explicit(2, 2)),
    ]
    found = decode_slices(pictures, Stream(4, 4, fields=True, weighted=True, weighted_bipred=1))
    assert [found[index][-1] for index in range(3)] == [(1, 1.0, 0)] * 3
    assert all(rows == 0 and predicted == 1 for rows, predicted, _ in (found[1][0], found[2][0]))


def test_partitions_of_every_size() -> None:
    """Down to 4x4 samples, and direct ones."""
    pictures = [
        [Slice(I, 0, 0, idr=True)],
        [Slice(P, 1, 12)],
        [Slice(P, 2, 24, counts=(2, 1))],
        [Slice(B, 3, 16, counts=(3, 3), reference=False)],
    ]
    found = decode_slices(pictures, Stream(12, 12, fields=False))
    assert found == {index: [(FRAME, 1.0, 0)] for index in range(1, 4)}


@pytest.mark.parametrize("last", [P, I])
def test_slices_of_one_picture_whose_lists_differ(last: int) -> None:
    """Each has what its own list refers to; where the last slice is intra, its lists tell nothing of the others'."""
    pictures = [[Slice(I, 0, 0, idr=True)]] + [[Slice(P, number, 4 * number)] for number in range(1, 4)]
    pictures.append(
        [
            Slice(P, 4, 16, counts=(3, 1), count=5),
            Slice(P, 4, 16, counts=(2, 1), reorder=([(0, 1)],), first=5, count=5),
            Slice(last, 4, 16, counts=(2, 1), first=10),
        ]
    )
    found = decode_slices(pictures, Stream(4, 4, fields=False, references=8))
    assert found[4] == [(FRAME, 1.0 if last == P else 10 / 16, 0)]


def test_long_term_references_count_alike() -> None:
    """Implicit weights follow from distances in time only between short-term references (H.264 8.4.2.3.1)."""
    pictures = [
        [Slice(I, 0, 0, idr=True)],
        [Slice(P, 1, 12, marking=((4, 1), (6, 0)))],
        [Slice(P, 2, 20, counts=(2, 1))],
        [Slice(B, 3, 6, counts=(3, 3), reorder=([(2, 0)], [(0, 0)]), reference=False)],
    ]
    found = decode_slices(pictures, Stream(4, 4, fields=False, weighted_bipred=2))
    assert found[3] == [(FRAME, 1.0, 0)]


def test_damaged_packets_leave_an_error_or_a_picture(make_video: MakeVideo, tmp_path: Path) -> None:
    """Whatever a damaged stream leaves in the decoder, what is read of it can be predicted from."""
    path = make_video(
        tmp_path / "video.mp4",
        pictures=draw(18, (112, 80), fields=True),
        options={"x264-params": f"scenecut=0:{PYRAMID}:tff=1:slices=2"},
    )
    random = np.random.default_rng(0)
    table = choose_table()
    assert table is not None
    read = 0
    for _ in range(6):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            decoder = open_decoder(stream.codec_context)
            packets = [bytearray(bytes(packet)) for packet in container.demux(stream) if packet.size]
            decoder.open(strict=False)
            with FieldReader(decoder, table) as reader:
                for index, data in enumerate(packets):
                    for at in random.integers(min(8, len(data) - 1), len(data), index and 1 + len(data) // 200):
                        data[at] ^= 1 << random.integers(8)
                    packet = av.Packet(bytes(data))
                    packet.pts = index
                    try:
                        decoder.decode(packet)
                        picture = reader.read(index)
                    except (av.FFmpegError, FieldsError):
                        continue
                    if picture is None:
                        continue
                    for part in picture.predictions:
                        residual_of(picture, part)
                        read += 1
    assert read > 20


def test_crop_is_that_of_the_stream(make_video: MakeVideo, tmp_path: Path) -> None:
    """Samples and units are those of the picture as coded; the crop says where the shown one lies."""
    path = make_video(tmp_path / "video.h264", frames=3, size=(96, 64), options={"x264-params": "bframes=0"})
    decoder = open_decoder(av.CodecContext.create("h264", "r"))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        crop = av.BitStreamFilterContext("h264_metadata=crop_left=6:crop_top=10", stream)
        packets = [part for packet in container.demux(stream) for part in crop.filter(packet)]
    for _, picture in read_packets(decoder, [packet for packet in packets if packet.size]):
        if picture:
            assert (picture.crop[0], picture.crop[2], picture.width) == (10, 6, 96)
            assert len(picture.predictions[0].picture) == 64


def test_another_packets_picture_is_refused(make_video: MakeVideo, tmp_path: Path) -> None:
    """A packet that the decoder made nothing of leaves the picture before it in its memory."""
    path = make_video(tmp_path / "video.mp4", frames=3, options={"x264-params": "bframes=0"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder = open_decoder(stream.codec_context)
        packets = [packet for packet in container.demux(stream) if packet.size]
        pictures = read_packets(decoder, packets)
        assert next(pictures) == (0, None)
        next(pictures)
        table = choose_table()
        assert table is not None
        with FieldReader(decoder, table) as reader, pytest.raises(FieldsError, match="another"):
            reader.read(7)
