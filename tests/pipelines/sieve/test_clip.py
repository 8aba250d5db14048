"""One clip sieved: what is kept, where it was, and that its pixels are those a player would show."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from PIL import Image

from codecsieve.codec.clip import read_clip
from codecsieve.codec.memory import clip_bytes, signal_bytes
from codecsieve.codec.packets import open_source
from codecsieve.errors import VideoError
from codecsieve.kernels.dispatch import score_patches
from codecsieve.kernels.geometry import geometry
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve import clip as clip_road
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.kept import SievedClip
from codecsieve.pipelines.sieve.warm import warm_up

SMALL = SieveConfig(num_frames=8, input_size=112, k_keep=100)
ALL = SieveConfig(num_frames=4, input_size=112, k_keep=4 * 64)


def content(clip: SievedClip) -> list[bytes]:
    return [
        array.tobytes()
        for array in (clip.patches, clip.positions, clip.scores, clip.frame_ids, clip.indices, clip.slot_scores)
    ]


def slot_pictures(clip: SievedClip) -> np.ndarray:
    """uint8 [T, 112, 112, 3] of a clip that was kept whole."""
    return clip.patches.reshape(-1, 8, 8, 3, 14, 14).transpose(0, 1, 4, 2, 5, 3).reshape(-1, 112, 112, 3)


@pytest.fixture(scope="module")
def clip_path(tmp_path_factory: pytest.TempPathFactory, make_video) -> Path:
    return make_video(tmp_path_factory.mktemp("sieve") / "clip.mp4", frames=40, size=(160, 120), options={"bf": "2"})


def test_what_is_kept_fits_together(clip_path: Path) -> None:
    clip = sieve_clip(clip_path, SMALL)
    assert (clip.patches.dtype, clip.patches.shape) == (np.uint8, (100, 3, 14, 14))
    assert (clip.positions.dtype, clip.positions.shape) == (np.uint16, (100, 3))
    assert (clip.scores.dtype, clip.scores.shape) == (np.int32, (100,))
    assert (clip.frame_ids.dtype, clip.frame_ids.shape) == (np.int32, (8,))
    assert (clip.indices.dtype, clip.indices.shape) == (np.int32, (100,))
    assert (clip.slot_scores.dtype, clip.slot_scores.shape) == (np.int64, (8, 8, 8))
    assert (np.diff(clip.indices) > 0).all()
    slots, rows, columns = clip.positions.astype(int).T
    np.testing.assert_array_equal(slots * 64 + rows * 8 + columns, clip.indices)
    np.testing.assert_array_equal(clip.scores, clip.slot_scores[slots, rows, columns])
    assert clip.scores.min() >= np.sort(clip.slot_scores, axis=None)[-100]
    assert (clip.codec, clip.width, clip.height, clip.fps, clip.frames) == ("h264", 160, 120, 25, 40)
    assert clip.distinct_frames == 8
    assert clip.signals == "bitstream"


def test_kept_patches_are_those_of_the_whole_slots(clip_path: Path) -> None:
    few = sieve_clip(clip_path, SMALL)
    every = sieve_clip(clip_path, SieveConfig(num_frames=8, input_size=112, k_keep=8 * 64))
    np.testing.assert_array_equal(every.indices, np.arange(8 * 64))
    np.testing.assert_array_equal(few.patches, every.patches[few.indices])
    np.testing.assert_array_equal(few.slot_scores, every.slot_scores)


def test_patches_follow_what_moves(clip_path: Path) -> None:
    # A square crosses the picture at 30..46 of 120 rows: patch rows 2 and 3 of 8.
    rows = sieve_clip(clip_path, SieveConfig(num_frames=8, input_size=112, k_keep=40)).positions[:, 1]
    assert np.isin(rows, (1, 2, 3)).mean() > 0.8


def test_a_clip_with_too_much_to_hold_gives_the_same_bytes(clip_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = content(sieve_clip(clip_path, SMALL))
    monkeypatch.setattr(clip_road, "HELD_BYTES", 1000)
    assert content(sieve_clip(clip_path, SMALL)) == lazy


def test_every_run_and_every_thread_gives_the_same_bytes(clip_path: Path) -> None:
    first = content(sieve_clip(clip_path, SMALL))
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: content(sieve_clip(clip_path, SMALL)), range(4))) == [first] * 4


def test_without_pixels_only_the_selection_is_made(clip_path: Path) -> None:
    clip, full = sieve_clip(clip_path, SMALL, pixels=False), sieve_clip(clip_path, SMALL)
    assert clip.patches.shape == (0, 3, 14, 14)
    assert content(clip)[1:] == content(full)[1:]


def test_a_clip_shorter_than_its_slots_repeats_frames_and_their_energy(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "short.mp4", frames=3, size=(160, 120), moving="square")
    clip = sieve_clip(path, SieveConfig(num_frames=8, input_size=112, k_keep=8 * 64))
    assert clip.frame_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 2]
    assert (clip.frames, clip.distinct_frames) == (3, 3)
    pictures = slot_pictures(clip)
    for slot, same in ((1, 0), (5, 4), (6, 4)):
        np.testing.assert_array_equal(clip.slot_scores[slot], clip.slot_scores[same])
        np.testing.assert_array_equal(pictures[slot], pictures[same])
    assert clip.slot_scores[4].any()


def test_anchors_are_kept_whole(clip_path: Path) -> None:
    clip = sieve_clip(clip_path, SieveConfig(num_frames=8, input_size=112, k_keep=200, anchors=2))
    counts = np.bincount(clip.positions[:, 0], minlength=8)
    assert (counts == 64).sum() == 2
    assert counts.sum() == 200


def test_a_still_clip_may_fall_back_to_whole_slots(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "still.mp4", frames=16, size=(160, 120), moving="none")
    config = SieveConfig(num_frames=8, input_size=112, k_keep=256, static_fallback=True)
    counts = np.bincount(sieve_clip(path, config).positions[:, 0], minlength=8)
    assert (counts == 64).sum() == 4


@pytest.mark.parametrize("signals", ["bitstream", "search"])
def test_a_range_of_a_clip(clip_path: Path, signals: str) -> None:
    config = SieveConfig(num_frames=8, input_size=112, k_keep=100, signals=signals)
    clip = sieve_clip(clip_path, config, start=0.4, end=0.8)
    assert clip.frames == 10
    assert (clip.frame_ids[0], clip.frame_ids[-1]) == (10, 19)
    assert clip.signals == signals
    with pytest.raises(VideoError, match="no frame between"):
        sieve_clip(clip_path, config, start=1.6)


def coloured(width: int, height: int, frames: int = 4) -> list[np.ndarray]:
    """RGB pictures of soft colours of every hue, each moved on a little."""
    y, x = np.mgrid[:height, :width]
    waves = [127.5 + 110 * np.sin(x / (9 + 4 * k) + k) * np.cos(y / (13 - 3 * k) + 2 * k) for k in range(3)]
    picture = np.stack(waves, axis=-1).astype(np.uint8)
    return [np.ascontiguousarray(np.roll(picture, 2 * n, axis=1)) for n in range(frames)]


ACCURATE = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)


def shown_by_a_player(path: Path, rotation: int = 0) -> list[np.ndarray]:
    """Each frame in FFmpeg's own RGB, upright, resized and cropped for the model by Pillow: [112, 112, 3]."""
    result = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            accurate = frame.reformat(format="rgb24", interpolation=ACCURATE).to_ndarray()
            picture = Image.fromarray(np.rot90(accurate, -rotation // 90))
            grids = geometry(picture.height, picture.width, 112, 14)
            resized = picture.resize((grids.scaled_width, grids.scaled_height), Image.Resampling.BICUBIC)
            left, top = grids.crop_left, grids.crop_top
            result.append(np.asarray(resized.crop((left, top, left + 112, top + 112))).astype(int))
    return result


BT709, BT601, LIMITED, FULL = 1, 5, 1, 2
KINDS = [
    ("libx264", "yuv420p", (176, 144), "a.mp4", None),
    ("libx264", "yuv420p", (176, 144), "a.mp4", (BT709, LIMITED)),
    ("libx264", "yuv420p", (176, 144), "a.mp4", (BT601, LIMITED)),
    ("libx264", "yuv420p", (176, 144), "a.mkv", (BT709, FULL)),
    ("libx264", "yuvj420p", (176, 144), "a.mp4", (BT601, FULL)),
    ("libx264", "yuv420p", (144, 178), "a.mp4", None),
    ("libx264", "yuv420p", (640, 360), "a.mp4", None),
    ("libx264", "yuv420p", (70, 60), "a.mp4", None),
    ("libx264", "yuv422p", (176, 146), "a.mp4", None),
    ("libx264", "yuv444p", (173, 145), "a.mp4", None),
    ("libx264", "yuv420p10le", (176, 144), "a.mp4", (BT709, LIMITED)),
    ("libx264", "gray", (176, 144), "a.mp4", None),
    ("libx264rgb", "rgb24", (176, 144), "a.mp4", None),
    ("libx265", "yuv420p10le", (176, 144), "a.mkv", None),
    ("libx265", "yuv444p", (173, 145), "a.mp4", None),
    ("libvpx-vp9", "yuv420p", (173, 145), "a.webm", None),
    ("libsvtav1", "yuv420p", (173, 145), "a.mp4", None),
    ("mpeg4", "yuv420p", (176, 144), "a.avi", None),
    ("mjpeg", "yuvj422p", (176, 144), "a.avi", None),
    ("ffv1", "bgr0", (176, 144), "a.mkv", None),
    ("ffv1", "gray16le", (176, 144), "a.mkv", None),
    ("ffv1", "yuv411p", (176, 144), "a.mkv", None),
]
GOOD = {"libx264": {"crf": "12"}, "libx264rgb": {"crf": "12"}, "libx265": {"x265-params": "log-level=error:crf=12"}}


@pytest.mark.parametrize(("codec", "pixel_format", "size", "name", "colour"), KINDS, ids=str)
def test_patches_are_the_pixels_that_a_player_shows(
    tmp_path: Path,
    make_video,
    codec: str,
    pixel_format: str,
    size: tuple[int, int],
    name: str,
    colour: tuple[int, int] | None,
) -> None:
    options = GOOD.get(codec, {"b": "4000000"} if codec in ("libvpx-vp9", "mpeg4") else {})
    path = make_video(
        tmp_path / name, codec, pictures=coloured(*size), pixel_format=pixel_format, options=options, colour=colour
    )
    # Where the file does not say, or says otherwise, where chroma samples lie, FFmpeg takes them for centred.
    mean, most = (2.5, 12) if codec in ("libvpx-vp9", "libsvtav1", "mjpeg") else (0.5, 2)
    for mine, theirs in zip(slot_pictures(sieve_clip(path, ALL)), shown_by_a_player(path), strict=True):
        difference = np.abs(mine.astype(int) - theirs)
        assert difference.mean() < mean
        assert np.percentile(difference, 99) <= most


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_clip_is_sieved_as_it_is_shown(tmp_path: Path, make_video, degrees: int) -> None:
    source = make_video(tmp_path / "a.mp4", pictures=coloured(176, 144), options={"crf": "12"})
    path = tmp_path / "turned.mp4"
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        stream.set_display_rotation(-degrees)
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = stream
                written.mux(packet)
    clip = sieve_clip(path, ALL)
    assert (clip.width, clip.height) == ((144, 176) if degrees % 180 else (176, 144))
    for mine, theirs in zip(slot_pictures(clip), shown_by_a_player(source, degrees), strict=True):
        difference = np.abs(mine.astype(int) - theirs)
        assert difference.mean() < 0.6
        assert np.percentile(difference, 99) <= 3


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(VideoError, match="not a readable video"):
        sieve_clip(text, SMALL)


def test_warming_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    warm_up()
    assert not list(tmp_path.iterdir())


def test_difference_signals_are_what_changed_since_the_frame_before(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "a.mp4", frames=12, size=(96, 64), moving="square")
    clip = read_clip(path, num_frames=12, signals="difference", size=56)
    searched = read_clip(path, num_frames=12, signals="search", size=56)
    assert clip.signals == "difference"
    assert clip.keyframe.tolist() == [True] + [False] * 11
    assert not clip.motion.any()
    assert (clip.residual.sum(axis=(1, 2)) >= searched.residual.sum(axis=(1, 2))).all()
    luma = make_video(tmp_path / "still.mp4", frames=12, size=(96, 64), moving="none", options={"qp": "0"})
    assert not read_clip(luma, num_frames=12, signals="difference", size=56).residual.any()


@pytest.mark.parametrize(("count", "slots"), [(1, [0]), (2, [0, 8]), (4, [0, 3, 5, 8]), (9, list(range(9)))])
def test_sampling_keeps_whole_slots_uniformly_spaced(tmp_path: Path, make_video, count: int, slots: list[int]) -> None:
    path = make_video(tmp_path / "a.mp4", frames=20, size=(96, 64))
    clip = sieve_clip(path, SieveConfig(num_frames=9, input_size=56, k_keep=16 * count, policy="sampling"))
    assert clip.positions[:, 0].tolist() == [slot for slot in slots for _ in range(16)]
    assert clip.positions[:16, 1:].tolist() == [[row, column] for row in range(4) for column in range(4)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spread", "frames", "times"),
    [
        ("ends", [0, 9, 18, 27, 36, 45, 54, 63], [0, 9, 18, 27, 36, 45, 54, 63]),
        ("middle", [3, 11, 19, 27, 35, 43, 51, 59], [3, 11, 19, 27, 35, 43, 51, 59]),
    ],
)
def test_a_sampled_frame_s_time_is_its_place_in_the_clip(
    tmp_path: Path, make_video, spread: str, frames: list[int], times: list[int]
) -> None:
    path = make_video(tmp_path / "a.mp4", frames=80, size=(96, 64), moving="noise")
    config = SieveConfig(8, 56, k_keep=8 * 16, policy="sampling", spread=spread, target_frames=64)
    clip = sieve_clip(path, config, start=0.4, end=2.96)  # frames 10 to 73: 64 of them
    assert clip.frames == 64
    assert clip.frame_ids.tolist() == [10 + frame for frame in frames]
    assert clip.positions[:, 0].tolist() == [time for time in times for _ in range(16)]
    assert clip.positions[-16:, 1:].tolist() == [[row, column] for row in range(4) for column in range(4)]
    # The same pixels as at their slots.
    alone = sieve_clip(path, SieveConfig(8, 56, k_keep=8 * 16, policy="sampling", spread=spread), 0.4, 2.96)
    assert alone.positions[:, 0].tolist() == [slot for slot in range(8) for _ in range(16)]
    np.testing.assert_array_equal(alone.patches, clip.patches)


def test_random_patches_are_the_clips_own_and_the_same_every_time(tmp_path: Path, make_video) -> None:
    config = SieveConfig(num_frames=8, input_size=56, k_keep=40, policy="random")
    paths = [make_video(tmp_path / f"{seed}.mp4", frames=20, size=(96, 64), seed=seed) for seed in range(2)]
    first, again, other = (sieve_clip(path, config).indices for path in (paths[0], paths[0], paths[1]))
    assert first.tolist() == again.tolist() == sorted(set(first.tolist()))
    assert first.tolist() != other.tolist()
    assert len(first) == 40


def test_scores_of_a_clip_are_those_of_its_arrays_whatever_is_measured(clip_path: Path) -> None:
    """Also where slots share pictures, which are held once and count as often as they are shown."""
    signals = read_clip(clip_path, 48)
    assert len(np.unique(signals.frame_ids)) < 48
    for scale in ("slot", "clip", "none"):
        config = SieveConfig.preset(
            "contrast", num_frames=48, input_size=112, k_keep=64, scale=scale, res_use_grad=True
        )
        options = {name: getattr(config, name) for name in ("mv_inconsistency", "mv_incon_ksize", "fuse", "scale")}
        scores = score_patches(
            signals.motion, signals.residual, signals.keyframe, 112, center_prior=0, res_use_grad=True, **options
        )
        clip = sieve_clip(clip_path, config)
        np.testing.assert_array_equal(clip.slot_scores, scores)
        assert clip.slot_scores.any()


@pytest.fixture(scope="module")
def lively_path(tmp_path_factory: pytest.TempPathFactory, make_video) -> Path:
    """Different everywhere and at all times."""
    return make_video(tmp_path_factory.mktemp("lively") / "clip.mp4", frames=24, size=(160, 120), moving="noise")


def test_the_percentiles_of_a_clip_are_not_those_of_its_slots(lively_path: Path) -> None:
    by_slot, by_clip = (sieve_clip(lively_path, dataclasses.replace(SMALL, scale=scale)) for scale in ("slot", "clip"))
    assert (by_slot.slot_scores != by_clip.slot_scores).any()


def test_what_is_held_for_a_clips_percentiles_counts_as_memory(clip_path: Path) -> None:
    with open_source(str(clip_path)) as source:
        facts = source.facts
    room = clip_bytes(facts.codec, facts.pixel_format, facts.width, facts.height, facts.references)
    room += signal_bytes(facts.width, facts.height, SMALL.num_frames)
    config = dataclasses.replace(SMALL, scale="clip")
    sieve_clip(clip_path, config, max_memory=room)
    with pytest.raises(VideoError, match=r"may take .* of memory, over the .* that --max-memory allows"):
        sieve_clip(clip_path, config, max_memory=room - 1)
    sieve_clip(clip_path, SMALL, max_memory=room - 1)


@pytest.mark.parametrize("suppress", ["time", "cell"])
def test_what_is_suppressed_changes_what_is_kept_and_no_score(lively_path: Path, suppress: str) -> None:
    plain, spread = (sieve_clip(lively_path, dataclasses.replace(SMALL, suppress=way)) for way in ("none", suppress))
    np.testing.assert_array_equal(plain.slot_scores, spread.slot_scores)
    assert (plain.indices != spread.indices).any()
    np.testing.assert_array_equal(spread.scores, spread.slot_scores.ravel()[spread.indices])
