"""NVDEC gives the pictures and numbers of `decode_pictures`, or says why not; FFmpeg stands in for the hardware."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from codec_cases import CLOSED_GOP, HEVC_OPEN_GOP, OPEN_GOP, run_ffmpeg
from fake_nvdec import FakeNvdec

from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.nvdec import NvdecSession
from codecsieve.codec.nvdec_packets import ElementaryStream, NvdecError, hevc_origin
from codecsieve.codec.nvdec_statistics import block_statistics
from codecsieve.codec.nvdec_support import check_supported, first_layout, load_nvdec, nvdec_engines
from codecsieve.codec.nvdec_trial import statistics_agree
from codecsieve.codec.packets import open_source
from codecsieve.codec.scanned import ScannedSource

VP9 = {"g": "12", "lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "8", "deadline": "realtime"}
AV1 = {"g": "12", "preset": "12"}
FRAMES = 40
SUBSETS = [[0], [20], [33], [2, 22, 39], [10, 11, 12, 13], [9, 20, 30], list(range(FRAMES))]
KINDS = [
    *[(suffix, "libx264", OPEN_GOP) for suffix in ("mp4", "mkv", "ts", "264", "avi", "flv")],
    ("mp4", "libx264", CLOSED_GOP),
    *[(suffix, "libx265", HEVC_OPEN_GOP) for suffix in ("mp4", "mkv", "ts", "265")],
    *[(suffix, "libvpx-vp9", VP9) for suffix in ("webm", "mp4")],
    *[(suffix, "libsvtav1", AV1) for suffix in ("mkv", "mp4", "obu")],
]

Numbered = tuple[int, int, bool]


@pytest.fixture
def nvc(monkeypatch: pytest.MonkeyPatch) -> FakeNvdec:
    """The fake in place of PyNvVideoCodec."""
    fake = FakeNvdec()
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", fake)
    return fake


@pytest.fixture
def session(nvc: FakeNvdec) -> NvdecSession:
    return NvdecSession(0, 0, torch.device("cpu"))


def by_nvdec(
    session: NvdecSession, path: Path, wanted: list[int]
) -> tuple[list[Numbered], dict[int, tuple[np.ndarray, np.ndarray]]]:
    """Numbers of all pictures in their order, and copies of the wanted ones' planes."""
    numbers, planes = [], {}
    with open_source(str(path)) as source:
        layout, interlaced = first_layout(source, np.array(wanted))
        check_supported(source, layout, interlaced, gpu=0)
        for picture in session.pictures(source, np.array(wanted), layout):
            numbers.append((picture.decode_index, picture.display_index, picture.reference))
            if picture.display_index in wanted:
                shift = 16 - layout.bit_depth if layout.bit_depth > 8 else 0
                planes[picture.display_index] = (
                    picture.luma.numpy().copy() >> shift,
                    picture.chroma.numpy().copy() >> shift,
                )
    return numbers, planes


def by_ffmpeg(path: Path, wanted: list[int]) -> tuple[list[Numbered], dict[int, tuple[np.ndarray, np.ndarray]]]:
    numbers, planes = [], {}
    with open_source(str(path)) as source:
        for picture in decode_pictures(source, np.array(wanted), motion=False):
            numbers.append((picture.decode_index, picture.display_index, picture.reference))
            if picture.display_index in wanted:
                top, left = picture.layout.crop_top, picture.layout.crop_left
                height, width = picture.layout.height, picture.layout.width
                y, *halves = picture.planes
                chroma = [p[top // 2 : (top + height) // 2, left // 2 : (left + width) // 2] for p in halves]
                planes[picture.display_index] = (
                    y[top : top + height, left : left + width].copy(),
                    np.stack(chroma, axis=-1),
                )
    return numbers, planes


def known(numbers: list[Numbered], path: Path, wanted: list[int]) -> list[Numbered] | list[int]:
    """Numbers of the wanted pictures: all three where the file's timestamps tell which packet each came from.

    The others may differ: what FFmpeg leaves out, undecodable leading pictures say, the hardware puts out.
    """
    with open_source(str(path)) as source:
        ordered = source.ordered
    of_wanted = [number for number in numbers if number[1] in wanted]
    return of_wanted if ordered else [display for _, display, _ in of_wanted]


def assert_same(session: NvdecSession, path: Path, wanted: list[int]) -> None:
    numbers, planes = by_nvdec(session, path, wanted)
    expected_numbers, expected = by_ffmpeg(path, wanted)
    assert known(numbers, path, wanted) == known(expected_numbers, path, wanted)
    assert sorted(planes) == wanted
    for index, (luma, chroma) in planes.items():
        np.testing.assert_array_equal(luma, expected[index][0], err_msg=f"luma of frame {index} of {wanted}")
        np.testing.assert_array_equal(chroma, expected[index][1], err_msg=f"chroma of frame {index} of {wanted}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "codec", "options"), KINDS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_pictures_and_numbers_are_those_of_the_cpu(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession, suffix: str, codec: str, options: dict[str, str]
) -> None:
    nvc.engines["AV1"] = 1
    path = make_video(tmp_path / f"clip.{suffix}", codec, frames=FRAMES, options=options, moving="pan")
    for wanted in SUBSETS:
        assert_same(session, path, wanted)
    assert len(nvc.created) == 1


@pytest.mark.parametrize("strides_in_samples", [False, True])
@pytest.mark.parametrize("codec", ["libx265", "libsvtav1"])
def test_ten_bits_lie_in_the_upper_bits(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession, codec: str, strides_in_samples: bool
) -> None:
    nvc.strides_in_samples = strides_in_samples
    nvc.engines["AV1"] = 1
    path = make_video(tmp_path / "clip.mkv", codec, frames=8, moving="pan", pixel_format="yuv420p10le")
    assert_same(session, path, [0, 3, 7])
    with open_source(str(path)) as source:
        layout, _ = first_layout(source, np.array([0]))
        picture = next(session.pictures(source, np.array([0]), layout))
        assert picture.luma.dtype == torch.uint16
        assert int(picture.luma.numpy().max()) > 1023
        assert not (picture.luma.numpy() & 63).any()


def test_sparse_samples_of_a_long_gop(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=100, options={"g": "250", "bf": "3"}, moving="pan")
    assert_same(session, path, [0, 33, 66, 99])


def test_frames_that_an_edit_list_hides_are_left_out(tmp_path: Path, make_video, session: NvdecSession) -> None:
    source = make_video(tmp_path / "source.mp4", frames=FRAMES, options=OPEN_GOP, moving="pan")
    path = run_ffmpeg(tmp_path / "cut.mp4", "-ss", "0.7", "-i", source, "-c", "copy")
    for wanted in ([0], [0, 9], [3, 12, 20]):
        assert_same(session, path, wanted)


def test_the_layout_is_that_of_the_cpu_and_leaves_the_packets_alone(tmp_path: Path, make_video) -> None:
    plain = make_video(tmp_path / "plain.mp4", frames=30, size=(90, 50), options=OPEN_GOP, colour=(1, 2))
    turned = run_ffmpeg(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", plain, "-c", "copy")
    for path in (plain, turned):
        with open_source(str(path)) as source:
            expected = next(decode_pictures(source, np.array([14]), motion=False)).layout
        with open_source(str(path)) as source:
            layout, interlaced = first_layout(source, np.array([14]))
            assert (layout, interlaced) == (expected, False)
    assert layout.orientation.rotation == 270
    assert (layout.matrix, layout.full_range, layout.width, layout.height) == ("bt709", True, 90, 50)
    path = make_video(tmp_path / "clip.mkv", frames=30, options=OPEN_GOP)
    with open_source(str(path)) as source:
        before = [source.read(gop).display.tolist() for gop in range(source.gops)]
        first_layout(source, np.array([14]))
        assert [source.read(gop).display.tolist() for gop in range(source.gops)] == before


def test_a_picture_is_gone_when_the_next_is_asked_for(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=12, options={"bf": "0"}, moving="pan")
    with open_source(str(path)) as source:
        layout, _ = first_layout(source, np.arange(12))
        pictures = session.pictures(source, np.arange(12), layout)
        first = next(pictures)
        kept = first.luma.clone()
        next(pictures)
        assert not torch.equal(first.luma, kept)


def test_a_clip_of_another_size_sets_the_decoder_up_anew(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession
) -> None:
    sizes = [(96, 64), (320, 192), (90, 150), (96, 64)]
    for number, size in enumerate(sizes):
        path = make_video(tmp_path / f"{number}.mp4", frames=14, size=size, options=CLOSED_GOP, moving="pan")
        assert_same(session, path, [1, 13])
    assert (len(nvc.created), nvc.reconfigured) == (1, 3)
    assert nvc.created[0].room == (1920, 1920)


def test_another_picture_of_the_same_coded_size_takes_another_decoder(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession
) -> None:
    for number, size in enumerate([(96, 64), (90, 50), (96, 64)]):
        path = make_video(tmp_path / f"{number}.mp4", frames=14, size=size, options=CLOSED_GOP, moving="pan")
        assert_same(session, path, [1, 13])
    assert (len(nvc.created), nvc.reconfigured) == (3, 0)
    # The size is the same, but not how many pictures the decoder must hold.
    path = make_video(tmp_path / "refs.mp4", frames=14, options={"bf": "0", "refs": "1"}, moving="pan")
    assert_same(session, path, [1, 13])
    assert len(nvc.created) == 4


def test_codecs_and_depths_take_a_decoder_each(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession
) -> None:
    assert_same(session, make_video(tmp_path / "a.mp4", frames=6, size=(160, 96)), [0, 5])
    assert_same(session, make_video(tmp_path / "b.mp4", "libx265", frames=6), [0, 5])
    deep = make_video(tmp_path / "c.mp4", "libx265", frames=6, size=(160, 96), pixel_format="yuv420p10le")
    assert_same(session, deep, [0, 5])
    assert (len(nvc.created), nvc.reconfigured) == (3, 0)


def test_a_decoder_that_failed_is_thrown_away(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession
) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=14, options=CLOSED_GOP)
    nvc.fail_at = 2
    with pytest.raises(NvdecError, match=r"^NVDEC failed \(HandlePictureDecode : .* error 999\)$"):
        by_nvdec(session, path, [13])
    assert_same(session, path, [13])
    assert len(nvc.created) == 2


def test_a_clip_that_is_given_up_takes_its_pictures_along(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession
) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=14, options=CLOSED_GOP)
    with open_source(str(path)) as source:
        layout, _ = first_layout(source, np.arange(14))
        for picture in session.pictures(source, np.arange(14), layout):
            if picture.display_index == 3:
                break
    assert_same(session, path, [13])
    assert len(nvc.created) == 2
    session.close()
    assert session.decoder is None


def test_pictures_of_the_wrong_size_are_not_taken(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession
) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=14)
    with open_source(str(path)) as source:
        layout, _ = first_layout(source, np.arange(14))
        wrong = dataclasses.replace(layout, height=62)
        with pytest.raises(NvdecError, match="not of a 4:2:0 picture of 96x62"):
            next(session.pictures(source, np.arange(14), wrong))
    assert session.decoder is None


def test_a_lost_picture_is_an_error(tmp_path: Path, make_video, session: NvdecSession) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=14, options={"bf": "0", "g": "50"}, moving="pan")
    with open_source(str(path)) as source:
        layout, _ = first_layout(source, np.arange(14))
        source.read(0).packets[13] = av.Packet(b"\x00\x00\x00\x01\x09")
        with pytest.raises(NvdecError, match="no picture for frame 13"):
            list(session.pictures(source, np.arange(14), layout))


@pytest.mark.parametrize(
    ("suffix", "codec", "given", "reason"),
    [
        ("mp4", "mpeg4", {}, "not used for mpeg4: its pictures could differ"),
        ("ts", "mpeg2video", {}, "not used for mpeg2video"),
        ("mp4", "libx264", {"pixel_format": "yuv444p"}, "not used for yuv444p, only for 4:2:0"),
        ("mp4", "libx264", {"pixel_format": "gray"}, "without chroma"),
        ("mp4", "libx265", {"pixel_format": "gray"}, "not used for gray"),
        ("mp4", "libx264", {"pixel_format": "yuv420p10le"}, "GPU 0 does not decode h264 of 10 bits"),
        ("mp4", "libx264", {"options": {"x264-params": "tff=1"}}, "interlaced"),
        ("webm", "libvpx-vp9", {"size": (95, 64)}, r"odd size \(95x64\)"),
        ("mkv", "libsvtav1", {"options": AV1}, "GPU 0 does not decode av1 of 8 bits"),
        ("mp4", "libx264", {"size": (96, 30)}, "from 32x32 to 4096x4096, not 96x30"),
    ],
)
def test_what_nvdec_does_not_decode_alike_is_refused(
    tmp_path: Path, make_video, session: NvdecSession, suffix: str, codec: str, given: dict[str, Any], reason: str
) -> None:
    path = make_video(tmp_path / f"clip.{suffix}", codec, frames=6, **given)
    with pytest.raises(NvdecError, match=reason):
        by_nvdec(session, path, [0])


@pytest.mark.parametrize(("codec", "filtered"), [("libx264", "h264_metadata"), ("libx265", "hevc_metadata")])
def test_pictures_cropped_on_the_left_or_at_the_top_are_refused(
    tmp_path: Path, make_video, session: NvdecSession, codec: str, filtered: str
) -> None:
    source = make_video(tmp_path / "source.mp4", codec, frames=6)
    right = run_ffmpeg(
        tmp_path / "right.mp4", "-i", source, "-c", "copy", "-bsf:v", f"{filtered}=crop_right=8:crop_bottom=4"
    )
    assert_same(session, right, [0, 5])
    left = run_ffmpeg(tmp_path / "left.mp4", "-i", source, "-c", "copy", "-bsf:v", f"{filtered}=crop_left=8:crop_top=4")
    with pytest.raises(NvdecError, match=r"cropped at the top \(4\) or on the left \(8\)"):
        by_nvdec(session, left, [0])


def test_too_many_macroblocks_are_refused(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=3)
    answer = nvc.GetDecoderCaps
    monkeypatch.setattr(nvc, "GetDecoderCaps", lambda **asked: answer(**asked) | {"mb_num_max": 23})
    with pytest.raises(NvdecError, match=r"up to 23 macroblocks, not 24 \(96x64\)"):
        by_nvdec(session, path, [0])


def test_engines_are_asked_for_once(nvc: FakeNvdec) -> None:
    assert [nvdec_engines(0, "h264", 8) for _ in range(3)] == [7, 7, 7]
    assert nvc.asked == 1
    assert nvdec_engines(0, "h264", 10) == nvdec_engines(0, "av1", 8) == nvdec_engines(0, "mpeg4", 8) == 0
    with pytest.raises(NvdecError, match="NVDEC of GPU 1 does not answer"):
        nvdec_engines(1, "h264", 8)


def test_a_machine_without_nvdec_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", None)
    with pytest.raises(NvdecError, match=r"pip install 'codecsieve\[gpu\]'"):
        load_nvdec()
    monkeypatch.delitem(sys.modules, "PyNvVideoCodec")
    (tmp_path / "PyNvVideoCodec.py").write_text("raise RuntimeError('libnvidia-encode.so.1: not found\\n\\nSTEPS')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NvdecError, match=r"\(libnvidia-encode.so.1: not found\); .*NVIDIA_DRIVER_CAPABILITIES"):
        NvdecSession(0, 0, torch.device("cpu"))


def test_headers_come_before_the_first_picture_only(tmp_path: Path, make_video) -> None:
    for suffix, codec, mark in [
        ("mp4", "libx264", b"\x00\x00\x00\x01\x67"),
        ("mp4", "libx265", b"\x00\x00\x00\x01\x42"),
    ]:
        path = make_video(tmp_path / f"{codec}.{suffix}", codec, frames=6)
        with open_source(str(path)) as source:
            stream = ElementaryStream(source.facts.codec, source.stream.codec_context.extradata)
            packet = source.read(0).packets[0]
            assert bytes(stream.packet(packet, first=True)).count(mark) == 1
            assert bytes(stream.packet(packet, first=False)).count(mark) == 0
    path = make_video(tmp_path / "clip.ts", frames=6)
    with open_source(str(path)) as source:
        stream = ElementaryStream("h264", source.stream.codec_context.extradata)
        packet = source.read(0).packets[0]
        assert bytes(stream.packet(packet, first=True)) == bytes(packet)
        assert bytes(stream.packet(source.read(0).packets[1], first=True)).startswith(stream.headers)


def test_av1_s_sequence_header_is_taken_from_the_container_where_packets_lack_it() -> None:
    stream = ElementaryStream("av1", b"\x81\x00\x0c\x00" + b"\x0a\x01\x77")
    frame = StoredPacket(b"\x32\x01\x55")
    assert bytes(stream.packet(frame, first=True)) == b"\x0a\x01\x77" + frame
    assert bytes(stream.packet(frame, first=False)) == frame
    for keyframe in (StoredPacket(b"\x0a\x01\x77" + frame), StoredPacket(b"\x12\x00\x0a\x01\x77" + frame)):
        assert bytes(stream.packet(keyframe, first=True)) == keyframe


class StoredPacket(bytes):
    """A packet with which the container's headers may come again, perhaps others than before."""

    headers: bytes | None = None
    is_corrupt = False
    is_keyframe = True

    def has_sidedata(self, kind: str) -> bool:
        return kind == "new_extradata" and self.headers is not None

    def get_sidedata(self, kind: str) -> bytes:
        return self.headers


def test_headers_that_change_or_are_cut_short_are_refused(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=6)
    with open_source(str(path)) as source:
        extradata = source.stream.codec_context.extradata
        packet = StoredPacket(bytes(source.read(0).packets[0]))
        stream = ElementaryStream("h264", extradata)
        packet.headers = extradata
        assert bytes(stream.packet(packet, first=True)).startswith(stream.headers)
        packet.headers = extradata + b"\x00"
        with pytest.raises(NvdecError, match="headers change"):
            stream.packet(packet, first=True)
    with pytest.raises(NvdecError, match="cut short"):
        ElementaryStream("h264", extradata[:6] + b"\xff\xff")
    with pytest.raises(NvdecError, match="hevc without a sequence parameter set"):
        hevc_origin(None)
    with pytest.raises(NvdecError, match="cut short"):
        hevc_origin(b"\x00\x00\x01\x42\x01\x01\x01\x60")


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_parameters_that_change_in_band_are_refused(tmp_path: Path, make_video, codec: str) -> None:
    """Also where the coded size stays: NVDEC would crop as before."""
    name = "h264" if codec == "libx264" else "hevc"
    packets, headers = [], []
    for height in (56, 64):
        path = make_video(tmp_path / f"{height}.ts", codec, frames=6, size=(96, height))
        with open_source(str(path)) as source:
            packets.append(source.read(0).packets[0])
            headers.append(source.stream.codec_context.extradata)
    for first in (headers[0], None):
        stream = ElementaryStream(name, first)
        stream.packet(packets[0], first=True)
        stream.packet(packets[0], first=False)
        with pytest.raises(NvdecError, match="headers change"):
            stream.packet(packets[1], first=False)


def test_damage_that_shows_is_refused(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=6)
    with open_source(str(path)) as source:
        stream = ElementaryStream("h264", source.stream.codec_context.extradata)
        whole = StoredPacket(bytes(source.read(0).packets[1]))
    stream.packet(whole, first=False)
    with pytest.raises(NvdecError, match="damaged"):
        stream.packet(StoredPacket(whole[:-1]), first=False)
    whole.is_corrupt = True
    with pytest.raises(NvdecError, match="damaged"):
        stream.packet(whole, first=False)


def test_a_file_read_twice_is_decoded_alike(
    tmp_path: Path, make_video, session: NvdecSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codecsieve.codec.scanned.KEEP_BYTES", 1000)
    path = make_video(tmp_path / "clip.mkv", frames=FRAMES, options=OPEN_GOP, moving="pan")
    with open_source(str(path)) as source:
        assert isinstance(source, ScannedSource)
        assert source.kept is None
    for wanted in SUBSETS:
        assert_same(session, path, wanted)


def test_timestamps_that_are_in_doubt_are_left_to_the_cpu(tmp_path: Path, make_video, nvc: FakeNvdec) -> None:
    with open_source(str(make_video(tmp_path / "clip.mp4", frames=12))) as source:
        layout, interlaced = first_layout(source, np.array([0]))
        source.doubtful = True
        with pytest.raises(NvdecError, match="timestamps may be decode times"):
            check_supported(source, layout, interlaced, gpu=0)


# Decode statistics


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_statistics_are_arranged_by_blocks(
    tmp_path: Path, make_video, nvc: FakeNvdec, session: NvdecSession, form: str
) -> None:
    nvc.statistics = form
    path = make_video(tmp_path / "clip.mp4", frames=6, size=(90, 50), options={"bf": "0"}, moving="pan")
    with open_source(str(path)) as source:
        layout, _ = first_layout(source, np.arange(6))
        statistics = [picture.statistics for picture in session.pictures(source, np.arange(6), layout, statistics=True)]
    assert all(s is not None and s.mv0.shape == s.mv1.shape == (4, 6, 2) for s in statistics)
    assert not statistics[0].inter.any()
    assert statistics[3].inter.any()
    assert (statistics[3].mv0.dtype, statistics[3].inter.dtype) == (np.int16, np.uint8)
    with open_source(str(path)) as source:
        first_layout(source, np.arange(6))
        assert next(session.pictures(source, np.arange(6), layout)).statistics is None


def test_statistics_that_do_not_cover_the_picture_are_an_error() -> None:
    fields = {name: [0] * 24 for name in ("qp_luma", "cu_type", "mv0_x", "mv0_y", "mv1_x", "mv1_y")}
    assert block_statistics(tuple(fields.values()), 64, 96).mv0.shape == (4, 6, 2)
    assert block_statistics((*fields.values(), [7]), 64, 96).inter.shape == (4, 6)
    with pytest.raises(NvdecError, match="24 blocks, not 4 x 7"):
        block_statistics(fields, 64, 97)
    with pytest.raises(NvdecError, match="lack mv1_y"):
        block_statistics({name: fields[name] for name in list(fields)[:-1]}, 64, 96)


def test_statistics_agree_with_ffmpeg(nvc: FakeNvdec, session: NvdecSession) -> None:
    nvc.statistics = "tuple"
    assert statistics_agree(session)


def _halved(parsed: dict[str, list[int]]) -> dict[str, list[int]]:
    return parsed | {name: [value // 2 for value in parsed[name]] for name in ("mv0_x", "mv0_y")}


def _negated(parsed: dict[str, list[int]]) -> dict[str, list[int]]:
    return parsed | {name: [-value for value in parsed[name]] for name in ("mv0_x", "mv0_y")}


def _exchanged(parsed: dict[str, list[int]]) -> dict[str, list[int]]:
    return parsed | {"mv0_x": parsed["mv1_x"], "mv0_y": parsed["mv1_y"], "mv1_x": parsed["mv0_x"]}


def _transposed(parsed: dict[str, list[int]]) -> dict[str, list[int]]:
    return parsed | {"mv0_x": parsed["mv0_y"], "mv0_y": parsed["mv0_x"]}


def _intra(parsed: dict[str, list[int]]) -> dict[str, list[int]]:
    return parsed | {"cu_type": [0] * len(parsed["cu_type"])}


@pytest.mark.parametrize("change", [_halved, _negated, _exchanged, _transposed, _intra])
def test_statistics_of_another_meaning_do_not_agree(nvc: FakeNvdec, session: NvdecSession, change: Any) -> None:
    nvc.statistics, nvc.change = "tuple", change
    assert not statistics_agree(session)


def test_a_driver_without_statistics_does_not_agree(nvc: FakeNvdec, session: NvdecSession) -> None:
    assert not statistics_agree(session)


@pytest.mark.gpu
@pytest.mark.parametrize(("codec", "options"), [("libx264", OPEN_GOP), ("libx265", HEVC_OPEN_GOP)])
def test_the_hardware_gives_the_cpu_s_pictures(tmp_path: Path, make_video, codec: str, options: dict[str, str]) -> None:
    stream = torch.cuda.Stream()
    with NvdecSession(0, stream.cuda_stream, torch.device("cuda:0")) as session, torch.cuda.stream(stream):
        for number, size in enumerate([(640, 360), (1280, 720), (600, 352), (640, 360)]):
            path = make_video(
                tmp_path / f"{number}.mp4", codec, frames=FRAMES, size=size, options=options, moving="pan"
            )
            for wanted in SUBSETS:
                numbers, planes = [], {}
                with open_source(str(path)) as source:
                    layout, interlaced = first_layout(source, np.array(wanted))
                    check_supported(source, layout, interlaced, gpu=0)
                    for picture in session.pictures(source, np.array(wanted), layout):
                        numbers.append((picture.decode_index, picture.display_index, picture.reference))
                        if picture.display_index in wanted:
                            planes[picture.display_index] = picture.luma.cpu().numpy(), picture.chroma.cpu().numpy()
                expected_numbers, expected = by_ffmpeg(path, wanted)
                assert known(numbers, path, wanted) == known(expected_numbers, path, wanted)
                for index, (luma, chroma) in planes.items():
                    np.testing.assert_array_equal(luma, expected[index][0])
                    np.testing.assert_array_equal(chroma, expected[index][1])
