"""What raw packet bytes tell: NAL units, droppable pictures, and the sequence parameters of H.264."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from codec_cases import HEVC_OPEN_GOP, run_ffmpeg
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.codec.facts import open_container, read_facts
from codecsieve.codec.nal import (
    find_sequence_parameters,
    h264_is_droppable,
    hevc_picture,
    mpeg2_is_droppable,
    mpeg4_is_droppable,
    nal_length_size,
    nal_units,
)

units = st.lists(st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"\0", b"\1")), min_size=1)


@given(units, st.integers(1, 4))
def test_length_prefixed_units_come_back(content: list[bytes], length_size: int) -> None:
    packet = b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in content)
    assert [bytes(unit) for unit in nal_units(memoryview(packet), length_size)] == content


@given(units)
def test_units_behind_start_codes_come_back(content: list[bytes]) -> None:
    packet = b"".join(b"\0\0\1" + unit for unit in content)
    assert [bytes(unit) for unit in nal_units(memoryview(packet), 0)] == content


@given(st.binary(max_size=60), st.sampled_from([0, 1, 2, 4]))
def test_damaged_packets_are_read_without_an_error(data: bytes, length_size: int) -> None:
    view = memoryview(data)
    list(nal_units(view, length_size))
    assert h264_is_droppable(view, length_size) in (True, False)
    assert hevc_picture(view, length_size)[0] >= -1
    mpeg2_is_droppable(view)
    mpeg4_is_droppable(view)
    find_sequence_parameters(data, view)


def test_a_length_beyond_the_packet_ends_it() -> None:
    assert [bytes(unit) for unit in nal_units(memoryview(b"\0\0\0\2ab\0\0\0\x09c"), 4)] == [b"ab"]


def test_start_codes_without_a_unit_are_passed_over() -> None:
    stray = memoryview(b"\0\0\1\0\0\1\x41\x9a\0\0\1")
    assert [bytes(unit) for unit in nal_units(stray, 0)] == [b"\x41\x9a"]
    assert not h264_is_droppable(stray, 0)
    assert hevc_picture(memoryview(b"\0\0\1\0\0\1"), 0) == (0, False, False)


def test_length_size_of_each_kind_of_header(tmp_path: Path, make_video) -> None:
    for name, codec, expected in (
        ("a.mp4", "libx264", 4),
        ("a.mkv", "libx265", 4),
        ("a.ts", "libx264", 0),
        ("a.265", "libx265", 0),
    ):
        with open_container(make_video(tmp_path / name, codec, frames=4)) as container:
            context = container.streams.video[0].codec_context
            assert nal_length_size(context.codec.canonical_name, context.extradata) == expected
    assert nal_length_size("h264", None) == nal_length_size("hevc", b"") == 0


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts"])
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "2", "x264-params": "b-pyramid=none:b-adapt=0:scenecut=0"}),
        ("mpeg2video", {"bf": "2"}),
        ("mpeg4", {"bf": "2"}),
    ],
)
def test_droppable_packets_are_those_of_b_pictures(
    tmp_path: Path, make_video, name: str, codec: str, options: dict[str, str]
) -> None:
    path = make_video(tmp_path / name, codec, frames=20, options=options)
    told, truth = {}, {}
    with open_container(path) as container:
        stream = container.streams.video[0]
        size = nal_length_size(stream.codec_context.codec.canonical_name, stream.codec_context.extradata)
        for packet in container.demux(stream):
            if packet.size:
                view = memoryview(packet)
                told[packet.pts] = {
                    "libx264": lambda view=view: h264_is_droppable(view, size),
                    "mpeg2video": lambda view=view: mpeg2_is_droppable(view),
                    "mpeg4": lambda view=view: mpeg4_is_droppable(view),
                }[codec]()
            for frame in stream.decode(packet):
                truth[frame.pts] = int(frame.pict_type) == 3
    assert told == truth
    assert 0 < sum(truth.values()) < 20


def test_hevc_pictures_of_the_highest_layer_are_unreferenced(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.265", "libx265", frames=24, options=HEVC_OPEN_GOP)
    with open_container(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        found = [hevc_picture(memoryview(packet), 0) for packet in packets]
    layers = [picture.layer for picture in found]
    assert max(layers) > 0
    assert layers[0] == 0
    assert any(picture.unreferenced for picture in found if picture.layer == max(layers))
    keyframes = [picture for picture, packet in zip(found, packets, strict=True) if packet.is_keyframe]
    assert not any(picture.unreferenced or picture.skipped for picture in keyframes)
    first, second, *_ = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert not any(picture.skipped for picture in found[first:second])
    assert found[second + 1].skipped


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.264"])
@pytest.mark.parametrize(
    ("size", "pixel_format", "options"),
    [
        ((96, 64), "yuv420p", {"refs": "3", "bf": "0"}),
        ((100, 50), "yuv420p", {"refs": "1", "bf": "0"}),
        ((90, 62), "yuv422p", {}),
        ((91, 63), "yuv444p", {}),
        ((90, 60), "yuv420p10le", {"x264-params": "cqm=jvt"}),
        ((96, 72), "yuv420p", {"x264-params": "interlaced=1"}),
    ],
    ids=["aligned", "cropped", "4:2:2", "odd 4:4:4", "scaling lists", "interlaced"],
)
def test_sequence_parameters_state_the_coded_size_and_the_crop(
    tmp_path: Path, make_video, name: str, size: tuple[int, int], pixel_format: str, options: dict[str, str]
) -> None:
    path = make_video(tmp_path / name, frames=3, size=size, pixel_format=pixel_format, options=options)
    with open_container(path) as container:
        found = read_facts(container, path).sequence
    assert found is not None
    assert found.coded_width % 16 == found.coded_height % 16 == 0
    assert found.coded_width - found.crop_left - found.crop_right == size[0]
    assert found.coded_height - found.crop_top - found.crop_bottom == size[1]
    assert found.frame_macroblocks_only == ("interlaced=1" not in options.get("x264-params", ""))
    if "refs" in options:
        assert found.reference_frames == int(options["refs"])


def test_crop_on_the_left_and_above(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=3)
    cropped = run_ffmpeg(
        tmp_path / "crop.mp4", "-i", path, "-c", "copy", "-bsf:v", "h264_metadata=crop_left=8:crop_top=6:crop_right=2"
    )
    with open_container(cropped) as container:
        found = read_facts(container, cropped).sequence
    assert found is not None
    assert (found.crop_left, found.crop_top, found.crop_right, found.crop_bottom) == (8, 6, 2, 0)


def test_only_h264_has_sequence_parameters_here(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", "mpeg4", frames=2)
    with av.open(str(path)) as container:
        assert read_facts(container, path).sequence is None
    assert find_sequence_parameters(None, None) is None
    assert find_sequence_parameters(np.arange(40, dtype=np.uint8).tobytes(), None) is None
