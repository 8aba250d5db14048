"""Streams that change on their way: size, samples, cropping. Every slot is the frame that a full decode shows there."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.packet import PacketSideData
from codec_cases import run_ffmpeg
from PIL import Image

from codecsieve.codec.changes import size_changes
from codecsieve.codec.clip import ClipDecoder, read_clip
from codecsieve.codec.packets import open_source
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip

FRAMES = 12
"""Of each part."""
SIDE = 56
SIZES = [(160, 96), (96, 64), (128, 128)]
H264 = {"g": "6", "bf": "2", "x264-params": "scenecut=0"}
HEVC = {"x265-params": "log-level=error:keyint=6:min-keyint=6:bframes=2:b-adapt=0"}
MPEG = {"g": "6", "bf": "2"}
VPX = {"g": "6", "deadline": "realtime", "lag-in-frames": "0"}
HIDDEN = {"g": "6", "deadline": "good", "cpu-used": "8", "lag-in-frames": "8", "auto-alt-ref": "1"}
AV1 = {"g": "6", "preset": "11"}
KINDS = [
    *[("libx264", H264, suffix) for suffix in ("ts", "264", "mkv", "mp4")],
    *[("libx265", HEVC, suffix) for suffix in ("ts", "265", "mkv", "mp4")],
    *[("mpeg2video", MPEG, suffix) for suffix in ("ts", "mpg", "m2v", "mkv", "mp4")],
    *[("mpeg1video", MPEG, suffix) for suffix in ("mpg", "mkv")],
    *[("mpeg4", MPEG, suffix) for suffix in ("avi", "ts", "m4v", "mp4", "mkv")],
    ("mpeg4", {"g": "6", "bf": "0"}, "mkv"),
    *[("libvpx", VPX, suffix) for suffix in ("webm", "ivf")],
    *[("libvpx-vp9", VPX, suffix) for suffix in ("webm", "mp4", "ivf")],
    ("libvpx-vp9", HIDDEN, "webm"),
    *[("libsvtav1", AV1, suffix) for suffix in ("mkv", "mp4", "obu", "ivf")],
]


def numbered(first: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Pictures of the width and height, with their number in six bars in the middle, over ground that moves."""
    width, height = size
    ground = np.random.default_rng(3).integers(60, 120, (height // 8, width // 8)).astype(np.uint8)
    pictures = []
    for number in range(first, first + FRAMES):
        picture = np.kron(np.roll(ground, number - first, 1), np.ones((8, 8), np.uint8))
        picture = np.pad(picture, [(0, height - len(picture)), (0, width - picture.shape[1])], "edge")
        bar, left = height // 8, (width - height) // 2
        for bit in range(6):
            columns = slice(left + (bit + 1) * bar, left + (bit + 2) * bar)
            picture[height // 2 - bar : height // 2 + bar, columns] = 235 if number >> bit & 1 else 16
        pictures.append(picture)
    return pictures


def number_of(picture: np.ndarray) -> int:
    """The number that a square crop bears, of whatever size: [side, side]."""
    bar = len(picture) / 8
    middle = picture[len(picture) // 2 - 2 : len(picture) // 2 + 2].mean(0)
    return sum(1 << bit for bit in range(6) if middle[round((bit + 1.3) * bar) : round((bit + 1.7) * bar)].mean() > 128)


def join(folder: Path, make_video, codec: str, options, suffix: str, sizes, formats=("yuv420p",), aside=False) -> Path:
    """Encodes of several sizes one behind the other, packet by packet. aside: their headers stand in the container."""
    target = folder / f"joined.{suffix}"
    vpx = codec.startswith("libvpx")
    part_suffix = "mp4" if aside or codec == "mpeg4" else "webm" if vpx else "mkv" if "av1" in codec else "ts"
    with av.open(str(target), "w") as written:
        stream = None
        for part, size in enumerate(sizes):
            pictures, layout = numbered(part * FRAMES, size), formats[part % len(formats)]
            path = folder / f"{part}.{part_suffix}"
            make_video(path, codec, pictures=pictures, options=options, pixel_format=layout)
            with av.open(str(path)) as read:
                source = read.streams.video[0]
                stream = stream or written.add_stream_from_template(source, opaque=True)
                headers = bytes(source.codec_context.extradata or b"")
                packets = [packet for packet in read.demux(source) if packet.size]
                unit, start = float(source.time_base) * 25, min(packet.pts for packet in packets)
                shift = part * FRAMES + 2
                for number, packet in enumerate(packets):
                    times = [round((time - start) * unit) + shift for time in (packet.pts, packet.dts)]
                    if codec == "mpeg4" and number == 0:
                        packet = av.Packet(headers + bytes(packet))
                        packet.is_keyframe = True
                    if aside and part and number == 0:
                        data = PacketSideData(1, len(headers))  # new_extradata
                        data.update(headers)
                        data.to_packet(packet)
                    packet.time_base, packet.stream = Fraction(1, 25), stream
                    packet.pts, packet.dts = times
                    written.mux(packet)
    return target


def full_decode(path: Path) -> list[av.VideoFrame]:
    """Every frame of a decoder that is given all packets."""
    with av.open(str(path)) as container:
        decoder = container.streams.video[0].codec_context
        decoder.thread_count = 1
        packets = container.demux(video=0)
        return [frame for packet in packets for frame in decoder.decode(packet if packet.size else None)]


def alone(frame: av.VideoFrame) -> np.ndarray:
    """The model's crop of a frame, made without this package: uint8 [SIDE, SIDE, 3]."""
    pixels = frame.to_ndarray(format="rgb24")
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def changes_of(frames: list[av.VideoFrame]) -> set[int]:
    signs = [(frame.width, frame.height, frame.format.name) for frame in frames]
    return {index for index in range(1, len(signs)) if signs[index] != signs[index - 1]}


def assert_slots_are_their_frames(path: Path, changes: int, start: float | None = None) -> None:
    truth = full_decode(path)
    crops, after = [alone(frame) for frame in truth], changes_of(truth)
    numbers = [number_of(crop[..., 0].astype(float)) for crop in crops]
    assert len(after) == changes
    assert sorted(set(numbers)) == numbers
    for signals in ("search", "auto"):
        for slots in (5, 16, 64):
            config = SieveConfig(num_frames=slots, input_size=SIDE, k_keep=16 * slots, signals=signals)
            clip = sieve_clip(path, config, start)
            first = clip.frame_ids[0]
            assert clip.frames == len(truth) - first
            assert (clip.width, clip.height) == (truth[first].width, truth[first].height)
            np.testing.assert_array_equal(clip.frame_ids, first + np.linspace(0, clip.frames - 1, slots, dtype=int))
            pictures = clip.patches.reshape(slots, 4, 4, 3, 14, 14).transpose(0, 1, 4, 2, 5, 3)
            for index, picture in zip(clip.frame_ids.tolist(), pictures.reshape(slots, SIDE, SIDE, 3), strict=True):
                name = f"{path.name}, {signals}, frame {index} of {slots} slots"
                assert number_of(picture[..., 0].astype(float)) == numbers[index], name
                # Pillow's crop is of whole samples and chroma is scaled up twice: near, not equal.
                assert np.abs(picture.astype(int) - crops[index]).mean() < 6, name
            with ClipDecoder(path, slots, signals, start) as opened:
                for slot in opened.slots(SIDE):
                    if slot.picture.display_index in {0, *after}:
                        assert not slot.predicted
                        assert not slot.motion.any()
                        assert not slot.residual.any()
                    elif signals == "search":
                        assert slot.predicted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "options", "suffix"), KINDS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_sizes_that_change_in_the_stream(tmp_path: Path, make_video, codec: str, options, suffix: str) -> None:
    path = join(tmp_path, make_video, codec, options, suffix, SIZES)
    assert_slots_are_their_frames(path, 2)


@pytest.mark.slow
@pytest.mark.parametrize("start", [None, 0.55, 1.1])
@pytest.mark.parametrize(("codec", "options"), [("libx264", H264), ("libx265", HEVC)], ids=["h264", "hevc"])
@pytest.mark.parametrize("sizes", [SIZES, [(160, 96), (96, 60), (160, 96)]], ids=["three", "and back"])
def test_headers_that_change_in_the_container(tmp_path: Path, make_video, codec: str, options, start, sizes) -> None:
    path = join(tmp_path, make_video, codec, options, "mp4", sizes, aside=True)
    with open_source(str(path)) as source:
        assert type(source).__name__ == "IndexedSource"
    assert path.read_bytes().count(b"avcC" if codec == "libx264" else b"hvcC") == len(set(sizes))
    assert_slots_are_their_frames(path, 2, start)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "options", "suffix", "second"),
    [
        ("libx264", H264, "ts", "yuv444p"),
        ("libx264", H264, "mkv", "yuv420p10le"),
        ("libx265", HEVC, "265", "yuv422p10le"),
        ("libvpx-vp9", VPX, "webm", "yuv444p"),
        ("mpeg2video", MPEG, "ts", "yuv422p"),
    ],
)
def test_samples_that_change(tmp_path: Path, make_video, codec: str, options, suffix: str, second: str) -> None:
    sizes = [(96, 64), (96, 64), (160, 96)]
    assert_slots_are_their_frames(join(tmp_path, make_video, codec, options, suffix, sizes, ("yuv420p", second)), 2)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["ts", "264", "mkv", "mp4"])
@pytest.mark.parametrize(
    ("sizes", "changes"),
    [
        ([(96, 64), (96, 56), (90, 58)], 2),
        ([(96, 56), (96, 64), (96, 56)], 0),  # FFmpeg goes on cropping to the container's size
        ([(96, 56), (192, 120), (96, 64)], 2),  # until another size comes
    ],
)
def test_h264_that_changes_its_cropping_alone(tmp_path: Path, make_video, sizes, changes: int, suffix: str) -> None:
    assert_slots_are_their_frames(join(tmp_path, make_video, "libx264", H264, suffix, sizes), changes)


def test_av1_that_scales_its_reference_pictures(tmp_path: Path, make_video) -> None:
    """Sizes change between keyframes: what follows cannot be decoded by itself."""
    resized = "resize-mode=4:frame-resz-events=7,14:frame-resz-denoms=12,16:pred-struct=1"
    options = {"g": "24", "preset": "8", "svtav1-params": resized}
    pictures = numbered(0, (256, 160)) + numbered(FRAMES, (256, 160))
    assert_slots_are_their_frames(make_video(tmp_path / "a.mkv", "libsvtav1", pictures=pictures, options=options), 2)


@pytest.mark.slow
def test_two_files_joined_by_ffmpeg(tmp_path: Path, make_video) -> None:
    for part, size in enumerate(SIZES[:2]):
        make_video(tmp_path / f"{part}.mp4", pictures=numbered(part * FRAMES, size), options=H264)
    parts = tmp_path / "parts.txt"
    parts.write_text("file 0.mp4\nfile 1.mp4\n")
    for suffix in ("mp4", "mkv", "ts"):
        target = tmp_path / f"joined.{suffix}"
        assert_slots_are_their_frames(run_ffmpeg(target, "-f", "concat", "-i", parts, "-c", "copy"), 1)


def test_signals_in_full_size_are_brought_to_the_first_picture_s(tmp_path: Path, make_video) -> None:
    path = join(tmp_path, make_video, "libx264", H264, "mkv", SIZES)
    clip = read_clip(path, 36, "bitstream", size=SIDE)
    assert clip.residual.shape == (36, 96, 160)
    assert clip.motion.shape == (36, 24, 40, 2)
    np.testing.assert_array_equal(np.flatnonzero(clip.keyframe), range(0, 36, 6))
    assert read_clip(path, 36, "search", size=SIDE).residual.shape == (36, SIDE, SIDE)


def test_sizes_are_compared_with_the_last_that_was_stated() -> None:
    one, two = (b"one",), (b"two",)
    assert size_changes([]) == []
    assert size_changes([one, one, (), one]) == []
    assert size_changes([(), one, (), two, two, one]) == [(1, 3), (4, 5)]
