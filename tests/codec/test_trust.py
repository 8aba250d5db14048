"""Every frame is the one it claims to be, whatever the container says: timestamps, keyframes, cut streams."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from codec_cases import CLOSED_GOP, HEVC_OPEN_GOP, OPEN_GOP, decode_wanted, run_ffmpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codecsieve.cache import open_cache
from codecsieve.codec import decode
from codecsieve.codec.clip import in_true_order
from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.keyframes import begins_gop
from codecsieve.codec.packets import open_source
from codecsieve.codec.plan import sample_frames
from codecsieve.errors import VideoError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.sieve.clip import sieve_clip

FRAMES = 40
MPEG = {"bf": "2", "g": "12"}
REORDERED = [("libx264", OPEN_GOP), ("libx265", HEVC_OPEN_GOP), ("mpeg4", MPEG), ("mpeg2video", MPEG)]
CONTAINERS = ["mp4", "mkv", "mov", "ts"]


def shown(path: Path, slots: int, start: float | None = None) -> list[np.ndarray]:
    """Luma of the frame that each slot claims, as the plan and the decoder give it."""

    def look(believe: bool) -> list[np.ndarray]:
        with open_source(str(path), believe) as source:
            ids = sample_frames(source, slots, start).frame_ids
            found = {
                picture.display_index: picture.luma[: picture.layout.height, : picture.layout.width].copy()
                for picture in decode_pictures(source, np.unique(ids), motion=False)
            }
        return [found[index] for index in ids.tolist()]

    return in_true_order(look)


def luma_of(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[: frame.height, : frame.width].copy()


def full_decode(path: Path) -> list[np.ndarray]:
    """Luma of every frame that a decoder shows which is given all packets, as players do."""
    frames: list[np.ndarray] = []
    with av.open(str(path)) as container:
        decoder = container.streams.video[0].codec_context
        decoder.thread_count = 1
        for packet in container.demux(video=0):
            try:
                frames += [luma_of(frame) for frame in decoder.decode(packet if packet.size else None)]
            except av.FFmpegError:
                continue
    return frames


def remux(source: Path, target: Path, **changes: object) -> Path:
    """The same packets in another container. times: `decode`, for decode times; keyframes: `all`, where all are to be
    marked; first: packet to begin with.
    """
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0], opaque=True)
        packets = [packet for packet in read.demux(video=0) if packet.size][int(str(changes.get("first", 0))) :]
        for number, packet in enumerate(packets):
            if changes.get("times") == "decode":
                packet.time_base = Fraction(1, 25)
                packet.pts = packet.dts = number
            if changes.get("keyframes") == "all":
                packet.is_keyframe = True
            packet.stream = stream
            written.mux(packet)
    return target


def assert_every_slot_is_its_frame(path: Path, slots: tuple[int, ...] = (5, 16, 64)) -> None:
    truth = full_decode(path)
    with open_source(str(path)) as source:
        assert source.frames == len(truth)
    for count in slots:
        ids = np.linspace(0, len(truth) - 1, count, dtype=np.int64).tolist()
        for slot, (index, luma) in enumerate(zip(ids, shown(path, count), strict=True)):
            np.testing.assert_array_equal(luma, truth[index], err_msg=f"slot {slot} of {count}, frame {index}")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize(("codec", "options"), REORDERED, ids=lambda value: value if isinstance(value, str) else "")
def test_decode_times_for_timestamps(
    tmp_path: Path, make_video, codec: str, options: dict[str, str], suffix: str
) -> None:
    source = make_video(tmp_path / f"source.{suffix}", codec, frames=FRAMES, options=options, moving="pan")
    path = remux(source, tmp_path / f"times.{suffix}", times="decode")
    assert_every_slot_is_its_frame(path)
    with open_source(str(path)) as opened:
        assert not opened.ordered


@pytest.mark.parametrize(("codec", "options"), REORDERED, ids=lambda value: value if isinstance(value, str) else "")
def test_timestamps_that_can_be_believed_are(tmp_path: Path, make_video, codec: str, options: dict[str, str]) -> None:
    path = make_video(tmp_path / "clip.mkv", codec, frames=FRAMES, options=options, moving="pan")
    with open_source(str(path)) as opened:
        assert opened.ordered
        assert not opened.doubtful
        assert not opened.lost


def test_doubts_that_a_try_does_not_settle(tmp_path: Path, make_video, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the first GOP has no B-pictures: then the others are decoded whole, and their order tells."""
    monkeypatch.setattr("codecsieve.codec.trust.TRIED_PICTURES", 1)
    source = make_video(tmp_path / "source.mp4", frames=FRAMES, options=OPEN_GOP, moving="pan")
    path = remux(source, tmp_path / "times.mkv", times="decode")
    with open_source(str(path)) as opened:
        assert opened.ordered
        assert opened.doubtful
    truth = full_decode(path)
    for index, luma in zip(np.linspace(0, FRAMES - 1, 5, dtype=int), shown(path, 5), strict=True):
        np.testing.assert_array_equal(luma, truth[index])


ALL_MARKED = [
    ("libx264", CLOSED_GOP),
    ("libx265", HEVC_OPEN_GOP),
    ("mpeg4", MPEG),
    ("mpeg2video", MPEG),
    ("libvpx", {"g": "12", "deadline": "realtime"}),
    ("libvpx-vp9", {"g": "12", "deadline": "realtime", "lag-in-frames": "0"}),
    ("libsvtav1", {"g": "12", "preset": "12"}),
    ("msmpeg4", {"g": "12"}),
]


@pytest.mark.parametrize(("codec", "options"), ALL_MARKED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_container_that_calls_every_packet_a_keyframe(
    tmp_path: Path, make_video, codec: str, options: dict[str, str]
) -> None:
    source = make_video(tmp_path / "source.mkv", codec, frames=FRAMES, options=options, moving="pan")
    path = remux(source, tmp_path / "marked.mkv", keyframes="all")
    assert_every_slot_is_its_frame(path)
    with open_source(str(path)) as opened:
        assert opened.gops <= 5


@pytest.mark.parametrize("codec", ["mjpeg", "ffv1"])
def test_keyframes_that_all_are_stay_so(tmp_path: Path, make_video, codec: str) -> None:
    options = {"g": "1"} if codec == "ffv1" else {}
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = make_video(tmp_path / "clip.mkv", codec, frames=12, options=options, pixel_format=pixel_format)
    with open_source(str(path)) as opened:
        assert opened.gops == 12


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
@pytest.mark.parametrize(("codec", "options"), REORDERED, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("keyframe", [True, False])
def test_streams_that_are_cut_at_their_beginning(
    tmp_path: Path, make_video, codec: str, options: dict[str, str], suffix: str, keyframe: bool
) -> None:
    """At an open GOP's keyframe, whose leading pictures cannot be decoded; or anywhere."""
    if codec == "mpeg4" and not keyframe:
        pytest.skip("FFmpeg shows a grey frame of its own before the first picture of such a stream")
    source = make_video(tmp_path / f"source.{suffix}", codec, frames=FRAMES, options=options, moving="pan")
    with open_source(str(source)) as opened:
        first = int(opened.starts[1]) + (0 if keyframe else 3)
    assert_every_slot_is_its_frame(remux(source, tmp_path / f"cut.{suffix}", first=first))


@given(st.sampled_from(sorted({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8", "vp9", "av1"})),
       st.binary(min_size=1, max_size=60), st.sampled_from([0, 1, 2, 4]))  # fmt: skip
def test_damaged_packets_are_asked_without_an_error(codec: str, data: bytes, length_size: int) -> None:
    assert begins_gop(codec, memoryview(data), length_size) in (True, False)
    assert begins_gop("rv40", memoryview(data), length_size) is None


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(REORDERED),
    suffix=st.sampled_from(CONTAINERS),
    gop=st.integers(2, 15),
    between=st.integers(0, 4),
    lying=st.booleans(),
    slots=st.integers(1, 30),
    start=st.sampled_from([None, 0.2, 0.84]),
)
def test_random_access_is_a_full_decode(
    tmp_path_factory: pytest.TempPathFactory, make_video, kind, suffix, gop, between, lying, slots, start
) -> None:
    folder = tmp_path_factory.mktemp("random")
    codec, _ = kind
    options = {"bf": str(min(between, 2) if "mpeg" in codec else between), "g": str(gop)}
    if codec == "libx265":
        options = {"x265-params": f"log-level=error:keyint={gop}:min-keyint={gop}:bframes={between}:b-adapt=0"}
    path = make_video(folder / f"a.{suffix}", codec, frames=30, size=(64, 48), options=options, moving="pan")
    if lying:
        path = remux(path, folder / f"b.{suffix}", times="decode")
    truth = full_decode(path)
    first = 0 if start is None else int(np.ceil(start * 25 - 1e-6))
    ids = first + np.linspace(0, len(truth) - first - 1, slots, dtype=np.int64)
    for index, luma in zip(ids.tolist(), shown(path, slots, start), strict=True):
        np.testing.assert_array_equal(luma, truth[index], err_msg=f"{path.name}: frame {index}")


def test_encrypted_video_is_refused_with_the_reason(tmp_path: Path, make_video) -> None:
    plain = make_video(tmp_path / "plain.mp4", frames=12)
    key = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", 32 * "7", "-encryption_kid", 32 * "a"]
    path = run_ffmpeg(tmp_path / "encrypted.mp4", "-i", plain, "-c", "copy", *key)
    with pytest.raises(VideoError, match=r"encrypted\.mp4: is encrypted; decrypt it first"):
        sieve_clip(path, SieveConfig(num_frames=4, k_keep=64))


DAMAGED = [
    "libx264",
    "libx265",
    "mpeg4",
    "mpeg2video",
    "libvpx",
    "libvpx-vp9",
    "msmpeg4",
    "mjpeg",
    "ffv1",
    "png",
    "qtrle",
]


@pytest.mark.slow
@pytest.mark.parametrize("codec", DAMAGED)
@pytest.mark.parametrize("damage", ["noise", "cut", "zeros"])
def test_a_damaged_packet_costs_no_more_than_its_pictures(tmp_path: Path, make_video, codec: str, damage: str) -> None:
    pixel_format = {"mjpeg": "yuvj420p", "png": "rgb24", "qtrle": "rgb24"}.get(codec, "yuv420p")
    options = {"g": "8"} if codec in ("libvpx", "libvpx-vp9") else {}
    suffix = "mov" if codec in ("png", "qtrle") else "mkv"
    source = make_video(tmp_path / f"s.{suffix}", codec, frames=24, options=options, pixel_format=pixel_format)
    path = tmp_path / f"damaged.{suffix}"
    noise = np.random.default_rng(0)
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0], opaque=True)
        for number, packet in enumerate(packet for packet in read.demux(video=0) if packet.size):
            data = bytes(packet)
            if number in (10, 11, 17):
                half = len(data) // 2
                ends = {"noise": noise.bytes(len(data) - half), "cut": b"", "zeros": bytes(len(data) - half)}
                data = data[:half] + ends[damage]
            bad = av.Packet(data)
            for name in ("pts", "dts", "duration", "time_base", "is_keyframe"):
                setattr(bad, name, getattr(packet, name))
            bad.stream = stream
            written.mux(bad)
    clip = sieve_clip(path, SieveConfig(num_frames=24, k_keep=64))
    assert clip.frames == 24
    assert clip.distinct_frames >= 8
    assert clip.filled == (clip.frame_ids != np.arange(24)).sum()


@pytest.mark.parametrize("error", [av.error.BlockingIOError, av.error.UnknownError, av.error.EOFError])
def test_whatever_error_a_decoder_gives_of_a_packet(tmp_path: Path, make_video, monkeypatch, error: type) -> None:
    """VP9 says EAGAIN of some, TSCC an unknown error of others."""
    path = make_video(tmp_path / "clip.mkv", "ffv1", frames=12)

    class Fails:
        """A decoder that fails at one packet."""

        def __init__(self, decoder: av.VideoCodecContext) -> None:
            self.decoder, self.sent = decoder, 0

        def __getattr__(self, name: str) -> object:
            return getattr(self.decoder, name)

        def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
            self.sent += 1
            if self.sent == 5:
                raise error(1, "of this packet")
            return self.decoder.decode(packet)

    opened = decode.open_decoder
    monkeypatch.setattr(decode, "open_decoder", lambda source, motion: Fails(opened(source, motion)))
    clip = sieve_clip(path, SieveConfig(num_frames=12, k_keep=64))
    assert (clip.frames, clip.distinct_frames, clip.filled) == (12, 11, 1)


def test_slots_filled_by_the_nearest_frame_are_counted(tmp_path: Path, make_video) -> None:
    """A file that is cut short lists more than it holds."""
    path = make_video(tmp_path / "clip.ts", "mpeg2video", frames=24, options={"bf": "0", "g": "6"}, moving="noise")
    whole = sieve_clip(path, SieveConfig(num_frames=24, k_keep=64))
    assert (whole.filled, whole.order) == (0, "timestamps")
    content = path.read_bytes()
    path.write_bytes(content[: -len(content) // 60])
    cut = sieve_clip(path, SieveConfig(num_frames=24, k_keep=64))
    assert cut.frames >= 22
    assert cut.filled == (cut.frame_ids != np.linspace(0, cut.frames - 1, 24).astype(int)).sum()


@pytest.mark.slow
def test_clips_whose_frames_carry_their_number(shared: Path) -> None:
    folder = shared / "cases" / "frames"
    sys.path.insert(0, str(folder))
    from read_index import frame_number, marked_corner, whole_slots

    for name, truth in json.loads((folder / "truth.json").read_text()).items():
        for slots in (5, 16, 64):
            clip = sieve_clip(folder / name, SieveConfig(num_frames=slots, k_keep=256 * slots))
            pictures = whole_slots(clip, slots)
            assert clip.frames == truth["frames"], name
            assert {marked_corner(picture) for picture in pictures} == {truth["mark"]}, name
            if truth["shown"] is not None:
                expected = [truth["shown"][index] for index in clip.frame_ids]
                assert [frame_number(picture) for picture in pictures] == expected, name


@pytest.mark.slow
def test_the_same_clips_through_precompute(shared: Path, tmp_path: Path) -> None:
    folder = shared / "cases" / "frames"
    sys.path.insert(0, str(folder))
    from read_index import frame_number, whole_slots

    truth = json.loads((folder / "truth.json").read_text())
    config = SieveConfig(num_frames=16, k_keep=256 * 16)
    precompute(read_inputs([str(folder)]), tmp_path / "cache", config, device="cpu", workers=2)
    cache = open_cache(tmp_path / "cache")
    rows = cache.index.to_pylist()
    assert {Path(row["uri"]).name for row in rows} == set(truth)
    decoder = {"ptsdts.mp4", "fromavi_gen.mkv", "m4_fromavi.mp4"}
    for row in rows:
        name, clip = Path(row["uri"]).name, cache[row["id"]]
        expected = truth[name]
        assert (row["frames"], row["filled"]) == (expected["frames"], 0), name
        assert row["order"] == ("decoder" if name in decoder else "timestamps"), name
        if expected["shown"] is not None:
            numbers = [frame_number(picture) for picture in whole_slots(clip, 16)]
            assert numbers == [expected["shown"][index] for index in clip.frame_ids], name


def test_decoded_pictures_are_those_asked_for_where_nothing_is_odd(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=FRAMES, options=OPEN_GOP, moving="pan")
    truth = full_decode(path)
    for index, luma in decode_wanted(path, [0, 7, 30]).items():
        np.testing.assert_array_equal(luma, truth[index])
