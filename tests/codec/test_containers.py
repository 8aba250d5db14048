"""What is opened as a video: a file that holds all its data itself, and nothing that it may name."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from codec_cases import decode_all, run_ffmpeg
from PIL import Image

from codecsieve.codec.containers import LISTS, SELF_CONTAINED, list_kind
from codecsieve.codec.facts import open_container
from codecsieve.codec.packets import open_source
from codecsieve.errors import VideoError
from codecsieve.pipelines.transcode.config import TranscodeOptions
from codecsieve.pipelines.transcode.plan import TranscodeJob
from codecsieve.pipelines.transcode.run import transcode_one
from codecsieve.text import one_line, printable

MakeVideo = Callable[..., Path]
AT_ONCE = 30.0
"""Seconds that a process may take which opens nothing that it would have to wait for."""


def refusal(path: Path | str) -> str:
    """What a process of its own says of a path; the test fails where it waits for something."""
    program = f"from codecsieve.codec.packets import open_source\nopen_source({str(path)!r})"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=AT_ONCE)
    assert ended.returncode
    kind, _, message = ended.stderr.splitlines()[-1].partition(": ")
    assert kind == "codecsieve.errors.VideoError"
    return message


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A FIFO that nobody writes to: whoever opens it waits for ever."""
    path = tmp_path / "elsewhere" / "trap.ts"
    path.parent.mkdir()
    os.mkfifo(path)
    return path


def lists(folder: Path, named: Path) -> dict[str, Path]:
    """Files of every kind that name another one, under the suffix of a video, by what FFmpeg calls them."""
    texts = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:0.8,\n{named}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile {os.path.relpath(named, folder)}\n",
        "dash": f'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        f'<AdaptationSet mimeType="video/mp4"><Representation id="0"><BaseURL>{named}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>\n",
        "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\n",
        "imf": '<?xml version="1.0"?>\n<!-- cpl -->\n<CompositionPlaylist xmlns="x"></CompositionPlaylist>\n',
        "vobsub": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 000000000\n",
        "asx": f'<asx version="3.0"><entry><ref href="{named}"/></entry></asx>\n',
        "pls": f"[playlist]\nFile1={named}\nNumberOfEntries=1\n",
        "smil": f'<smil><body><video src="{named}"/></body></smil>\n',
    }
    return {kind: _write(folder / f"{kind}.mp4", text) for kind, text in texts.items()}


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(LISTS))
def test_a_list_is_refused_before_what_it_names_is_opened(tmp_path: Path, trap: Path, kind: str) -> None:
    path = lists(tmp_path, trap)[kind]
    if kind == "vobsub":  # FFmpeg looks for the pictures beside it
        os.mkfifo(path.with_suffix(".sub"))
    message = refusal(path)
    assert message == f"{path}: is a list of other files ({kind}); name the videos themselves"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["m3u8", "mp4", "ts"])
def test_a_list_is_refused_whatever_its_suffix(tmp_path: Path, trap: Path, suffix: str) -> None:
    path = lists(tmp_path, trap)["hls"].rename(tmp_path / f"list.{suffix}")
    assert "is a list of other files (hls)" in refusal(path)


@pytest.mark.slow
@pytest.mark.parametrize("content", ["a picture", "garbage"])
def test_a_name_that_is_a_pattern_of_names_opens_no_other(tmp_path: Path, make_video: MakeVideo, content: str) -> None:
    os.mkfifo(tmp_path / "im001.png")
    path = tmp_path / "im%03d.png"
    if content == "a picture":
        make_video(tmp_path / "one.png", "png", frames=1, pixel_format="rgb24").rename(path)
    else:
        path.write_bytes(b"no picture" * 99)
    assert refusal(path) == f"{path}: is a list of other files (image2); name the videos themselves"


def test_a_video_may_have_a_pattern_for_its_name(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "take%02d 100%*.mp4", frames=5)
    with open_source(str(path)) as source:
        assert source.frames == 5


@pytest.mark.parametrize(
    "text", ["no video\n" * 500, "v=0 is no SDP", "<html><MPD/></html>", "#EXTINF:3\nx.ts\n", "\0" * 999]
)
def test_what_is_no_list_is_not_called_one(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path / "notes.mp4", text)
    assert list_kind(str(path)) is None
    with pytest.raises(VideoError, match=r"notes.mp4: not a readable video \(.*\); is it complete, and a video\?$"):
        open_source(str(path))


def test_transcoding_opens_no_other_file_either(tmp_path: Path, trap: Path) -> None:
    for kind, path in lists(tmp_path, trap).items():
        result = transcode_one(TranscodeJob(path, tmp_path / "out.mp4"), TranscodeOptions(preset="ultrafast"))
        assert result.error == f"{path}: is a list of other files ({kind}); name the videos themselves"


@pytest.mark.slow
def test_a_path_is_told_for_what_it_is_and_only_a_file_is_opened(tmp_path: Path) -> None:
    fifo, listening = tmp_path / "fifo.mp4", tmp_path / "socket.mp4"
    os.mkfifo(fifo)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(os.path.relpath(listening))  # a socket's path may have 107 bytes
        told = {
            fifo: "is a FIFO; name a video file",
            listening: "is a socket; name a video file",
            Path("/dev/zero"): "is a device; name a video file",
            tmp_path / "folder.mp4": "is a folder; name a video file",
            tmp_path / "empty.mp4": "the file is empty; copy or download it again",
            tmp_path / "missing.mp4": "no such file; check the path",
            tmp_path / "empty.mp4" / "below.mp4": "no such file; check the path",
            tmp_path
            / ("long" * 99 + ".mp4"): "cannot be reached (File name too long); check the path and who may read it",
        }
        for path, reason in told.items():
            assert refusal(path) == one_line(f"{path}: {reason}")


@pytest.mark.parametrize(
    ("name", "what"), [("a\0b.mp4", "a NUL character"), ("\ud800.mp4", "characters")], ids=["NUL", "surrogate"]
)
def test_a_path_that_no_file_can_have_is_refused_as_any_other(tmp_path: Path, name: str, what: str) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(VideoError) as caught:
        open_source(path)
    assert str(caught.value) == f"{printable(path)}: holds {what} which no file's name can; check the path"


def test_no_demuxer_that_reads_more_than_its_file_is_allowed() -> None:
    others = {
        "avisynth", "concat", "dash", "dvdvideo", "hls", "image2", "image2pipe", "imf", "lavfi", "mlv", "rtp", "rtsp",
        "sap", "sdp", "svg_pipe", "vapoursynth", "vobsub", "webm_dash_manifest",
    }  # fmt: skip
    assert not others & SELF_CONTAINED


WRITTEN = {
    "3gp": "mpeg4", "apng": "apng", "asf": "mpeg4", "avi": "mpeg4", "dnxhd": "dnxhd", "flv": "flv", "gif": "gif",
    "gxf": "mpeg2video", "h261": "h261", "h263": "h263", "ivf": "libvpx-vp9", "m2ts": "mpeg2video", "m4v": "mpeg4",
    "mjpeg": "mjpeg", "mkv": "ffv1", "mov": "prores", "mpg": "mpeg1video", "mxf": "mpeg2video", "nut": "ffv1",
    "obu": "libsvtav1", "ogv": "libvpx", "rm": "rv10", "swf": "flv", "ts": "mpeg2video", "vob": "mpeg2video",
    "webm": "libvpx", "wmv": "wmv2", "wtv": "mpeg2video", "y4m": "wrapped_avframe",
}  # fmt: skip
FORMATS = {
    "apng": ["-pix_fmt", "rgb24"],
    "dnxhd": ["-pix_fmt", "yuv422p", "-profile:v", "dnxhr_lb"],
    "mjpeg": ["-pix_fmt", "yuvj420p"],
    "y4m": ["-pix_fmt", "yuv420p"],
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", sorted(WRITTEN))
def test_containers_of_every_kind_are_read(tmp_path: Path, suffix: str) -> None:
    size = "720x576" if suffix in ("gxf", "dnxhd", "mxf") else "352x288"
    test = ["-f", "lavfi", "-i", f"testsrc=size={size}:rate=25:duration=0.4", "-c:v", WRITTEN[suffix]]
    path = run_ffmpeg(tmp_path / f"clip.{suffix}", *test, *FORMATS.get(suffix, []))
    with open_container(path) as container:
        assert set(container.format.name.split(",")) & SELF_CONTAINED
    with open_source(str(path)) as source:
        assert source.frames == len(decode_all(path))


@pytest.mark.parametrize("name", ["photo.jpg", "photo.jpeg", "photo.JPG", "photo.png", "photo.webp", "photo.dat"])
def test_a_photo_is_a_video_of_one_frame(tmp_path: Path, name: str) -> None:
    kind = {"png": "PNG", "webp": "WEBP"}.get(name.rpartition(".")[2], "JPEG")
    Image.new("RGB", (64, 48), (200, 40, 90)).save(tmp_path / name, kind)
    with open_container(tmp_path / name) as container:
        (frame,) = container.decode(video=0)
    assert (frame.width, frame.height) == (64, 48)
