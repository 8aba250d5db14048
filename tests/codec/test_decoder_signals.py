"""Signals of what the decoder knows, through whole clips: fields, changes of size, damage, and turned pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from codec_cases import run_ffmpeg
from field_cases import needs_table, scene
from h264_writer import B, I, P, Slice, Stream

from codecsieve.codec.clip import ClipDecoder, read_clip
from codecsieve.codec.fields import reader
from codecsieve.codec.fields.memory import FieldsError
from codecsieve.errors import VideoError

MakeVideo = Callable[..., Path]
pytestmark = needs_table


def pair(kinds: tuple[int, int], frame_num: int, poc: int, **what: object) -> list[Slice]:
    """Two fields of a frame."""
    return [
        Slice(kinds[0], frame_num, poc, 0, **what),  # type: ignore[arg-type]
        Slice(kinds[1], frame_num, poc + 1, 1, **what),  # type: ignore[arg-type]
    ]


def test_fields_in_packets_of_their_own_make_one_picture(tmp_path: Path) -> None:
    """A raw stream of field pictures without a residual has none, in either field."""
    stream = Stream(6, 4, fields=True)
    pictures = [
        [Slice(I, 0, 0, 0, idr=True), Slice(P, 0, 1, 1)],
        *[pair((P, P), number, 4 * number, counts=(2, 1)) for number in range(1, 5)],
        pair((B, B), 5, 14, counts=(2, 2), reference=False),
    ]
    path = tmp_path / "fields.264"
    path.write_bytes(stream.parameter_sets() + b"".join(stream.slice(what) for picture in pictures for what in picture))
    with av.open(str(path)) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    signals = read_clip(path, 12, "bitstream", decoder_fields="on")
    assert packets == 12
    assert signals.pictures_decoded == 6
    assert (~signals.keyframe).sum() >= 5
    assert not signals.residual[~signals.keyframe].any()
    assert signals.motion[~signals.keyframe].any()


def test_macroblocks_of_fields_are_predicted_as_fields(tmp_path: Path, make_video: MakeVideo) -> None:
    """Of interlaced pictures, whose fields move apart, much more is then predicted exactly."""
    pictures = scene(14, 128, 96)
    for number, picture in enumerate(pictures[:-1]):
        picture[1::2] = (picture[1::2].astype(int) + pictures[number + 1][1::2]) // 2
    options = {"x264-params": "tff=1:no-deblock=1:scenecut=0:bframes=2:crf=30"}
    path = make_video(tmp_path / "clip.mp4", pictures=pictures, options=options)
    exact, guessed = (read_clip(path, 14, "bitstream", decoder_fields=asked).residual for asked in ("on", "off"))
    assert (exact == 0).mean() > 0.3
    assert exact.astype(int).sum() < 0.8 * guessed.astype(int).sum()


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_turned_picture_has_turned_signals(tmp_path: Path, make_video: MakeVideo, codec: str) -> None:
    """As a player shows it, signals are turned with it."""
    path = make_video(tmp_path / "clip.mp4", codec, pictures=scene(12, 96, 64))
    turned = run_ffmpeg(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", path, "-c", "copy")
    plain, other = read_clip(path, 6), read_clip(turned, 6)
    np.testing.assert_array_equal(other.residual, np.rot90(plain.residual, 1, (1, 2)))


def test_a_size_that_changes_on_the_way(tmp_path: Path, make_video: MakeVideo) -> None:
    """Each picture is predicted within its own size; two streams are joined."""
    parts = [
        make_video(tmp_path / f"{number}.265", "libx265", pictures=scene(8, *size, seed=number))
        for number, size in enumerate(((96, 64), (64, 96)))
    ]
    joined = tmp_path / "joined.265"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    with ClipDecoder(joined, 16, "bitstream", decoder_fields="on") as clip:
        slots = list(clip.slots(56))
    assert {slot.residual.shape for slot in slots} == {(64, 96), (96, 64)}
    assert sum(slot.predicted for slot in slots) >= 12


def test_a_clip_of_which_nothing_can_be_read_is_refused(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals of nothing would be 0, and look like a clip in which nothing moves."""

    def wrong(*_: object) -> None:
        raise FieldsError("nothing lies at 0x8")

    path = make_video(tmp_path / "clip.mp4", frames=6)
    monkeypatch.setattr(reader.h264, "read_picture", wrong)
    with pytest.raises(VideoError, match=r"cannot be read \(nothing lies at 0x8\); use --decoder-fields off"):
        read_clip(path, 6, decoder_fields="on")


def test_a_picture_that_cannot_be_read_is_not_predicted(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = reader.h264.read_picture

    def often(decoder: object, index: int) -> object:
        if index == 4:
            raise FieldsError("the decoder's current picture is another one")
        return right(decoder, index)  # type: ignore[arg-type]

    path = make_video(tmp_path / "clip.mp4", frames=8, options={"bf": "0", "x264-params": "scenecut=0"})
    monkeypatch.setattr(reader.h264, "read_picture", often)
    signals = read_clip(path, 8, decoder_fields="on")
    assert signals.keyframe.tolist() == [number in (0, 4) for number in range(8)]
    assert not signals.residual[4].any()
