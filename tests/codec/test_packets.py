"""The packet table: GOPs, display order, and files that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from codec_cases import CLOSED_GOP, OPEN_GOP, decode_all, run_ffmpeg

from codecsieve.codec.facts import open_container, read_facts
from codecsieve.codec.indexed import IndexedSource
from codecsieve.codec.packets import open_source
from codecsieve.codec.plan import display_index_at
from codecsieve.codec.scanned import ScannedSource
from codecsieve.codec.signals import choose_signals
from codecsieve.errors import VideoError


@pytest.mark.parametrize(
    ("name", "kind", "ordered"),
    [
        ("clip.mp4", IndexedSource, True),
        ("clip.mov", IndexedSource, True),
        ("clip.mkv", ScannedSource, True),
        ("clip.ts", ScannedSource, True),
        ("clip.avi", ScannedSource, False),
        ("clip.264", ScannedSource, False),
    ],
)
def test_every_picture_is_numbered(tmp_path: Path, make_video, name: str, kind: type, ordered: bool) -> None:
    path = make_video(tmp_path / name, frames=30, options=CLOSED_GOP)
    with open_source(str(path)) as source:
        assert isinstance(source, kind)
        assert source.ordered == ordered
        assert source.frames == 30
        assert source.gops == 3
        assert source.starts.tolist() == [0, 12, 24, 30]
        gops = [source.read(index) for index in range(source.gops)]
        assert [gop.first for gop in gops] == [0, 12, 24]
        assert [source.gop_of(display) for display in (0, 11, 12, 23, 24, 29)] == [0, 0, 1, 1, 2, 2]
        if ordered:
            assert sorted(np.concatenate([gop.display for gop in gops]).tolist()) == list(range(30))
            seconds = np.concatenate([gop.seconds[np.argsort(gop.display)] for gop in gops])
            np.testing.assert_allclose(seconds, np.arange(30) / 25, atol=2e-3)
            assert not any(gop.leading for gop in gops)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_open_gops_have_leading_pictures(tmp_path: Path, make_video, name: str) -> None:
    path = make_video(tmp_path / name, frames=36, options=OPEN_GOP)
    with open_source(str(path)) as source:
        leading = [source.read(index).leading for index in range(source.gops)]
    assert leading == [False] + [True] * (len(leading) - 1)
    assert len(leading) > 2


def test_gops_may_be_read_in_any_order_and_again(tmp_path: Path, make_video) -> None:
    for name in ("clip.mp4", "clip.mkv"):
        path = make_video(tmp_path / name, frames=48, options=CLOSED_GOP)
        with open_source(str(path)) as source:
            first = [bytes(packet) for index in range(4) for packet in source.read(index).packets]
            again = {index: [bytes(packet) for packet in source.read(index).packets] for index in (3, 0, 2, 2, 1, 0, 3)}
        assert [packet for index in range(4) for packet in again[index]] == first


def test_a_truncated_mp4_gives_what_it_holds(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=60, options=CLOSED_GOP, moving="noise")
    path = run_ffmpeg(tmp_path / "first.mp4", "-i", path, "-c", "copy", "-movflags", "faststart")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with open_source(str(path)) as source:
        assert 20 < source.frames < 40
        assert sum(len(source.read(index).packets) for index in range(source.gops)) == source.starts[-1]


def test_transport_stream_cut_anywhere(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.ts", frames=60, options=CLOSED_GOP, moving="noise")
    content = path.read_bytes()
    for start, end in ((0.3, 1.0), (0.0, 0.55), (0.21, 0.77)):
        cut = tmp_path / "cut.ts"
        cut.write_bytes(content[int(start * len(content)) : int(end * len(content))])
        with open_source(str(cut)) as source:
            assert 10 < source.frames < 60


def test_files_that_are_no_videos_are_named_with_what_to_do(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for path, reason in (
        (text, "not a readable video"),
        (empty, "the file is empty"),
        (sound, "has no video stream"),
        (tmp_path, "is a folder"),
        (tmp_path / "missing.mp4", "no such file"),
    ):
        with pytest.raises(VideoError, match=reason) as caught:
            open_source(str(path))
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        assert ";" in str(caught.value)  # what is wrong; what to do


def test_an_mp4_without_its_index_is_an_error(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=10)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(VideoError, match="not a readable video"):
        open_source(str(path))


def test_a_name_that_looks_like_a_protocol_is_a_file(
    tmp_path: Path, make_video, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "clip.mp4", frames=4).rename("concat:a|b.mp4")
    with open_source("concat:a|b.mp4") as source:
        assert source.frames == 4


def test_sound_beside_the_picture_is_passed_over(tmp_path: Path, make_video) -> None:
    picture = make_video(tmp_path / "clip.mp4", frames=25, options=CLOSED_GOP)
    path = run_ffmpeg(tmp_path / "both.mp4", "-f", "lavfi", "-i", "sine=d=1", "-i", picture, "-c:v", "copy")
    with av.open(str(path)) as container:
        assert len(container.streams) == 2
    with open_source(str(path)) as source:
        assert source.frames == len(decode_all(path)) == 25


def test_a_transport_stream_in_which_a_stream_begins_late(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.ts", frames=60, options=CLOSED_GOP, moving="noise")
    content = bytearray(path.read_bytes())
    starts = [at for at in range(0, len(content), 188) if content[at + 1 : at + 3] == b"\x41\x00"]
    content[starts[-5] + 1 : starts[-5] + 3] = b"\x41\x77"  # a picture under a number that no table lists
    path.write_bytes(content)
    with open_source(str(path)) as source:
        assert len(source.container.streams) == 1
        assert 55 <= source.frames < 60


def test_facts_of_a_file(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=50, size=(98, 66), rate=25)
    with open_container(path) as container:
        facts = read_facts(container, path)
    assert (facts.container, facts.codec, facts.width, facts.height) == ("mov", "h264", 98, 66)
    assert facts.fps == 25
    assert facts.seconds == pytest.approx(2, abs=0.05)
    assert facts.size == path.stat().st_size
    assert facts.pixel_format == "yuv420p"


def test_signals_that_a_codec_can_give(tmp_path: Path, make_video) -> None:
    def facts(name: str, codec: str):
        path = make_video(tmp_path / name, codec, frames=4)
        with open_container(path) as container:
            return read_facts(container, path)

    for name, codec in (("a.mp4", "libx264"), ("b.avi", "mpeg4"), ("c.ts", "mpeg2video"), ("d.mpg", "mpeg1video")):
        assert choose_signals(facts(name, codec), "auto") == "bitstream"
        assert choose_signals(facts(name, codec), "search") == "search"
    hevc = facts("e.mp4", "libx265")
    assert choose_signals(hevc, "auto") == "search"
    assert choose_signals(hevc, "auto", fields=True) == "bitstream"
    with pytest.raises(VideoError, match=r"no motion of hevc can be read; use --signals auto"):
        choose_signals(hevc, "bitstream")
    with pytest.raises(ValueError, match="signals \\('both'\\) must be one of auto, bitstream, search"):
        choose_signals(hevc, "both")


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_recovery_points_of_intra_refresh_do_not_begin_a_gop(
    tmp_path: Path, make_video: Callable[..., Path], container: str
) -> None:
    refresh = {"x264-params": "intra-refresh=1:keyint=10:min-keyint=10:scenecut=0:bframes=0"}
    path = make_video(tmp_path / f"refresh.{container}", frames=40, options=refresh)
    with open_source(str(path)) as source:
        assert source.gops == 1
        assert source.frames == 40


def test_an_audio_file_with_a_cover_is_not_a_video(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    cover = make_video(tmp_path / "cover.png", codec="png", frames=1, pixel_format="rgb24")
    path = tmp_path / "song.mp4"
    sound = ["-f", "lavfi", "-i", "sine=duration=1", "-i", str(cover)]
    run_ffmpeg(path, *sound, "-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")
    with pytest.raises(VideoError, match=r"song.mp4: has no video stream"):
        open_source(str(path))


def test_a_list_of_other_files_is_refused(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    make_video(tmp_path / "real.mp4", frames=5)
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile real.mp4\n")
    with pytest.raises(VideoError, match=r"list.mp4: is a list of other files \(concat\)"):
        open_source(str(path))


def test_time_begins_at_the_first_frame_shown(tmp_path: Path, make_video: Callable[..., Path]) -> None:
    whole = make_video(tmp_path / "whole.mp4", frames=60, options={"g": "30", "bf": "0"})
    cut = tmp_path / "cut.mp4"
    run_ffmpeg(cut, "-ss", "0.48", "-i", whole, "-c", "copy")
    with open_source(str(cut)) as source:
        assert any(source.read(0).display < 0), "the cut hides the frames before 0.48 s"
        assert display_index_at(source, 1.0) == 25
