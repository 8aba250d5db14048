"""Looking into one video: what it offers, and the data of its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import codecsieve.pipelines.look.describe as module
from codecsieve.codec.fields.table import why_not
from codecsieve.errors import VideoError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.look.describe import describe
from codecsieve.pipelines.look.draw import draw_clip
from codecsieve.pipelines.sieve.clip import sieve_clip

GOPS = {"bf": "2", "g": "12", "refs": "2", "x264-params": "scenecut=0:b-pyramid=none"}


@pytest.mark.slow
def test_description_of_an_h264_file(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=60, size=(98, 66), options=GOPS)
    found = describe(path, num_frames=5)
    assert (found.path, found.container, found.codec) == (str(path), "mov", "h264")
    assert (found.width, found.height, found.rotation) == (98, 66, 0)
    assert (found.fps, found.frames, found.gops, found.longest_gop) == (25, 60, 5, 12)
    assert found.seconds == pytest.approx(2.4, abs=0.05)
    assert found.open_gops == 0
    assert 10 <= found.droppable <= 40
    assert found.reference_frames == 2
    assert found.interlaced is False
    assert found.order == "timestamps"
    assert found.signals == "bitstream"
    assert found.why.startswith("H.264's own motion and exact residual")
    assert found.decoder_fields == (why_not() or "read")
    assert found.num_frames == 5
    assert found.packets_for_clip == sieve_clip(path, SieveConfig(num_frames=5, k_keep=10)).pictures_decoded < 60


KNOWN = "own motion and exact residual, by what its decoder keeps in memory"


@pytest.mark.parametrize("reason", [None, "libavcodec is 1.2.3"])
@pytest.mark.parametrize(
    ("codec", "name", "options", "signals", "why"),
    [
        ("libx265", "a.mp4", {}, "search", "FFmpeg exports no motion for hevc"),
        ("libvpx-vp9", "a.webm", {}, "search", "FFmpeg exports no motion for vp9"),
        ("mpeg4", "a.avi", {"bf": "2"}, "bitstream", "mpeg4's own motion; residual by bilinear prediction"),
        ("libx264", "a.mp4", {"x264-params": "interlaced=1"}, "bitstream", "blocks coded as fields"),
        ("libx264", "a.264", {}, "bitstream", "H.264's own motion"),
    ],
)
def test_signals_and_their_reason(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    make_video,
    codec: str,
    name: str,
    options: dict[str, str],
    signals: str,
    why: str,
    reason: str | None,
) -> None:
    monkeypatch.setattr(module, "fields_off", lambda asked: reason)
    found = describe(make_video(tmp_path / name, codec, frames=12, options=options))
    read = reason is None and codec in ("libx264", "libx265")
    assert found.signals == ("bitstream" if read else signals)
    assert (KNOWN if read else why) in found.why
    known = codec in ("libx264", "libx265")
    assert found.decoder_fields == (reason or "read" if known else f"not known of {found.codec}")
    assert found.frames == 12
    assert found.order == ("decoder" if name.endswith((".avi", ".264")) else "timestamps")
    assert found.interlaced == (None if codec != "libx264" else "x264-params" in options)


def test_files_that_cannot_be_described(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no such file"):
        describe(tmp_path / "missing.mp4")


@pytest.mark.parametrize("signals", ["bitstream", "search"])
def test_a_drawn_clip_is_what_was_sieved(tmp_path: Path, make_video, signals: str) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=30, size=(160, 120))
    config = SieveConfig(num_frames=6, input_size=112, k_keep=60, signals=signals)
    drawn, kept = draw_clip(path, config), sieve_clip(path, config)
    assert drawn.frames.shape == (6, 112, 112, 3)
    assert drawn.frames.dtype == np.uint8
    assert (drawn.title, drawn.policy) == ("clip.mp4", "saliency")
    assert (drawn.codec, drawn.signals) == ("h264", signals)
    np.testing.assert_array_equal(drawn.indices, kept.indices)
    np.testing.assert_array_equal(drawn.scores, kept.slot_scores)
    for (slot, row, column), patch in zip(kept.positions.astype(int), kept.patches, strict=True):
        in_place = drawn.frames[slot, row * 14 : row * 14 + 14, column * 14 : column * 14 + 14]
        np.testing.assert_array_equal(in_place, patch.transpose(1, 2, 0))


def test_the_title_is_the_file_and_the_seconds_of_it(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "a\nb\u202e.mp4", frames=30)
    config = SieveConfig(num_frames=2, input_size=28, k_keep=4)
    titles = [draw_clip(path, config, *part).title for part in [(None, None), (0.4, 0.8), (None, 1.0), (0.5, None)]]
    name = "a\\nb\\u202e.mp4"
    assert titles == [name, f"{name}, 0.4 s to 0.8 s", f"{name}, 0 s to 1 s", f"{name}, 0.5 s to the end"]


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "k_keep"), [("saliency", 2048), ("saliency", 2100), ("sampling", 1024)])
def test_the_picture_shows_what_sampling_and_the_policy_keep(
    tmp_path: Path, make_video, policy: str, k_keep: int
) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=70, size=(160, 120))
    config = SieveConfig(k_keep=k_keep, policy=policy)
    drawn, kept = draw_clip(path, config), sieve_clip(path, config)
    paid = k_keep // 256 * 256  # whole slots
    truth = sieve_clip(path, SieveConfig(k_keep=paid, policy="sampling"))
    np.testing.assert_array_equal(drawn.sampled, truth.indices)
    strips = [strip.sum(axis=(1, 2)).tolist() for strip in (drawn.kept_by_sampling, drawn.kept)]
    assert strips == [np.bincount(sieved.positions[:, 0], minlength=64).tolist() for sieved in (truth, kept)]
    slots = range(0, 64, 9) if paid == 2048 else range(0, 64, 21)
    assert strips[0] == [256 if slot in slots else 0 for slot in range(64)]


def test_a_budget_below_one_frame_pays_for_none(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=30, size=(160, 120))
    assert not draw_clip(path, SieveConfig(num_frames=6, k_keep=255)).sampled.size
