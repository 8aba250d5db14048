"""The comparison of slots with a full decode finds what is right, and what is not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from benchmarks.compare import frames

OPTIONS = {"bf": "2", "g": "12", "x264-params": "scenecut=0:b-adapt=0"}


@pytest.fixture
def videos(tmp_path: Path, make_video, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip whose timestamps are decode times."""
    monkeypatch.setattr(frames, "save", lambda name, figures: None)
    source = make_video(tmp_path / "source.mp4", frames=40, options=OPTIONS, moving="pan")
    folder = tmp_path / "videos"
    folder.mkdir()
    with av.open(str(source)) as read, av.open(str(folder / "times.mkv"), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for number, packet in enumerate(packet for packet in read.demux(video=0) if packet.size):
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = Fraction(1, 25), stream
            written.mux(packet)
    return folder


def test_every_slot_is_right(videos: Path) -> None:
    done = CliRunner().invoke(frames.main, [str(videos), "--draws", "6"])
    assert done.exit_code == 0, done.output
    assert "6 of 6 draws right" in done.output


def test_a_wrong_slot_is_found(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codecsieve.codec.packets.order_agrees", lambda *_: True)
    monkeypatch.setattr(frames, "in_true_order", lambda decode: decode(True))
    monkeypatch.setattr("codecsieve.codec.decode.PacketTableError", type("Never", (ValueError,), {}))
    done = CliRunner().invoke(frames.main, [str(videos), "--draws", "6"])
    assert "6 of 6 draws right" not in done.output
