"""The packet plan: which frames the slots show, and how little must be decoded for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codec_cases import CLOSED_GOP, HEVC_OPEN_GOP, OPEN_GOP

from codecsieve.codec.packets import open_source
from codecsieve.codec.plan import FrameSample, display_index_at, plan_gops, sample_frames
from codecsieve.codec.source import PacketSource
from codecsieve.codec.spread import Spread
from codecsieve.errors import VideoError


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory, make_video) -> Path:
    return make_video(tmp_path_factory.mktemp("plan") / "long.mp4", frames=600, size=(64, 48), options=CLOSED_GOP)


def fed(source: PacketSource, wanted: list[int]) -> list[int]:
    return [index for plan in plan_gops(source, np.array(wanted)) for index, _ in plan.feed]


def test_slots_are_spread_from_the_first_frame_to_the_last(long_clip: Path) -> None:
    with open_source(str(long_clip)) as source:
        sample = sample_frames(source, 7)
        assert sample.frames == 600
        assert sample.frame_ids.tolist() == np.linspace(0, 599, 7).astype(int).tolist()
        assert sample_frames(source, 1).frame_ids.tolist() == [0]
        assert sample_frames(source, 600).frame_ids.tolist() == list(range(600))


def test_frames_may_be_one_of_each_of_equal_segments(long_clip: Path, tmp_path: Path) -> None:
    with open_source(str(long_clip)) as source:
        middle = sample_frames(source, 8, spread=Spread("middle"))
        assert middle.frame_ids.tolist() == [int(599 / 8 * (number + 0.5)) for number in range(8)]
        assert middle.places(middle.frame_ids, 64).tolist() == [4, 12, 20, 28, 35, 43, 51, 59]
        drawn = [sample_frames(source, 8, spread=Spread("jitter", seed)).frame_ids for seed in range(50)]
        part = sample_frames(source, 8, 4.0, 12.0, Spread("jitter"))
        assert part.frame_ids.min() >= 100
        assert part.frame_ids.max() < 300
        assert np.all(np.diff(part.places(part.frame_ids, 64)) > 0)
    edges = 599 / 8 * np.arange(9)
    for ids in drawn:
        assert np.all((ids >= edges[:-1].astype(int)) & (ids < edges[1:]))
    assert len({tuple(ids.tolist()) for ids in drawn}) == 50
    # Over seeds, all of a segment comes: its mean is the middle.
    np.testing.assert_allclose(np.mean(drawn, 0), middle.frame_ids, atol=4 * 75 / np.sqrt(12 * 50))
    moved = tmp_path / "moved.mp4"
    moved.write_bytes(long_clip.read_bytes())
    with open_source(str(moved)) as source:
        assert sample_frames(source, 8, spread=Spread("jitter", 7)).frame_ids.tolist() == drawn[7].tolist()


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 63, 64, 65, 640])
def test_a_frame_s_place_in_its_clip_is_rounded(frames: int) -> None:
    ids = np.linspace(0, frames - 1, 8).astype(int)
    places = FrameSample(1000 + ids, frames, first=1000).places(1000 + ids, 64)
    assert places.tolist() == [round(frame / max(1, frames - 1) * 63) for frame in ids.tolist()]
    if frames in (8, 64, 640):
        assert places.tolist() == [0, 9, 18, 27, 36, 45, 54, 63]


def test_a_clip_shorter_than_its_segments_shows_each_frame_and_then_the_last(tmp_path: Path, make_video) -> None:
    with open_source(str(make_video(tmp_path / "short.mp4", frames=3))) as source:
        for kind in ("middle", "jitter"):
            assert sample_frames(source, 5, spread=Spread(kind)).frame_ids.tolist() == [0, 1, 2, 2, 2]


def test_a_clip_shorter_than_its_slots_repeats_frames(tmp_path: Path, make_video) -> None:
    with open_source(str(make_video(tmp_path / "short.mp4", frames=3))) as source:
        sample = sample_frames(source, 8)
    assert sample.frames == 3
    assert sample.frame_ids.tolist() == [0, 0, 0, 0, 1, 1, 1, 2]


def test_cost_grows_with_the_slots_and_not_with_the_clip(long_clip: Path) -> None:
    with open_source(str(long_clip)) as source:
        few = fed(source, sample_frames(source, 4).frame_ids.tolist())
        more = fed(source, sample_frames(source, 16).frame_ids.tolist())
    assert len(few) <= 4 * 6
    assert len(more) <= 16 * 6
    assert few == sorted(set(few))


def test_gops_without_a_sample_are_never_read(long_clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_source(str(long_clip)) as source:
        read: list[int] = []
        original = source.read
        monkeypatch.setattr(source, "read", lambda gop: read.append(gop) or original(gop))
        fed(source, [0, 299, 599])
        assert sorted(set(read)) == [source.gop_of(0), source.gop_of(299), source.gop_of(599)]


def test_pictures_that_nothing_refers_to_are_dropped_unless_wanted(long_clip: Path) -> None:
    with open_source(str(long_clip)) as source:
        gop = source.read(2)
        assert gop.droppable.sum() >= 4
        dropped = {int(display) for display in gop.display[gop.droppable]}
        last, wanted = int(gop.display[-1]), min(dropped)
        shown = {int(gop.display[index - gop.first]) for index in fed(source, [wanted, last])}
    assert shown == set(gop.display.tolist()) - (dropped - {wanted, last})


def test_decoding_stops_after_the_last_picture_that_is_needed(long_clip: Path) -> None:
    with open_source(str(long_clip)) as source:
        gop = source.read(1)
        assert fed(source, [int(gop.display[0])]) == [gop.first]


def test_leading_pictures_of_an_open_gop_bring_the_gop_before(tmp_path: Path, make_video) -> None:
    with open_source(str(make_video(tmp_path / "open.mp4", frames=60, options=OPEN_GOP))) as source:
        gop = source.read(3)
        leading, keyframe = int(gop.display.min()), int(gop.display[0])
        assert leading < keyframe
        plans = list(plan_gops(source, np.array([leading])))
        assert [plan.gop.first for plan in plans] == [source.starts[2], source.starts[3]]
        assert [plan.closes for plan in plans] == [False, True]
        plans = list(plan_gops(source, np.array([keyframe])))
        assert [(plan.gop.first, plan.closes) for plan in plans] == [(gop.first, True)]


def test_only_the_highest_temporal_layer_of_hevc_is_dropped(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "layers.mp4", "libx265", frames=36, options=HEVC_OPEN_GOP)
    with open_source(str(path)) as source:
        gop = source.read(1)
        assert 0 < gop.droppable.sum() <= len(gop.packets) * 0.6
        assert not gop.droppable[0]


def test_without_timestamps_everything_is_sent(tmp_path: Path, make_video) -> None:
    with open_source(str(make_video(tmp_path / "raw.264", frames=30, options=CLOSED_GOP))) as source:
        assert fed(source, [3]) == list(range(30))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "264"])
def test_times_choose_frames(tmp_path: Path, make_video, suffix: str) -> None:
    path = make_video(tmp_path / f"clip.{suffix}", frames=50, options=CLOSED_GOP)
    with open_source(str(path)) as source:

        def ids(start: float | None, end: float | None) -> list[int]:
            sample = sample_frames(source, 50, start, end)
            assert len(set(sample.frame_ids.tolist())) == sample.frames
            return [int(sample.frame_ids[0]), int(sample.frame_ids[-1])]

        assert ids(None, None) == [0, 49]
        assert ids(0.0, float("inf")) == [0, 49]
        assert ids(0.4, 0.8) == [10, 19]  # end is exclusive
        assert ids(0.41, None) == [11, 49]
        assert ids(None, 0.01) == [0, 0]
        assert ids(1.9, 1000) == [48, 49]
        assert display_index_at(source, 0) == 0
        assert display_index_at(source, 1e6) == 50


def test_times_of_a_variable_frame_rate_are_those_of_the_frames(tmp_path: Path, make_video) -> None:
    random = np.random.default_rng(0)
    pictures = list(random.integers(0, 256, (20, 48, 64), np.uint8))
    times = [0, *np.cumsum(random.integers(5, 400, 19)).tolist()]
    path = make_video(tmp_path / "clip.mkv", pictures=pictures, options={"g": "5", "bf": "2"}, times=times)
    with open_source(str(path)) as source:
        for seconds in (0.0, 0.2, 1.0, 2.5):
            assert display_index_at(source, seconds) == sum(time < seconds * 1000 for time in times)


@pytest.mark.parametrize("suffix", ["mp4", "264"])
def test_ranges_without_a_frame_are_errors(tmp_path: Path, make_video, suffix: str) -> None:
    path = make_video(tmp_path / f"clip.{suffix}", frames=25)
    with open_source(str(path)) as source:
        for start, end in ((1.0, None), (100.0, 200.0), (0.41, 0.42)):
            with pytest.raises(VideoError, match=r"no frame between .* s and .* \(the file has 25 frames") as caught:
                sample_frames(source, 4, start, end)
            assert str(path) in str(caught.value)


def test_impossible_options_are_named(tmp_path: Path, make_video) -> None:
    with open_source(str(make_video(tmp_path / "clip.mp4", frames=5))) as source:
        for arguments, message in (
            ((0,), r"num_frames \(0\) must be > 0"),
            ((4, -1.0), r"start \(-1.0\) must be a time >= 0"),
            ((4, float("nan")), r"start \(nan\) must be"),
            ((4, 1.0, 1.0), r"end \(1.0\) must be > start \(1.0\)"),
            ((4, 2.0, 1.0), r"end \(1.0\) must be > start \(2.0\)"),
            ((4, None, 0.0), r"end \(0.0\) must be > start \(0.0\)"),
            ((4, None, float("nan")), r"end \(nan\) must be > start"),
        ):
            with pytest.raises(ValueError, match=message):
                sample_frames(source, *arguments)


def test_leading_pictures_that_decoders_skip_are_sent_only_behind_the_gop_before(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "open.mp4", "libx265", frames=60, options=HEVC_OPEN_GOP)
    with open_source(str(path)) as source:
        gop = source.read(3)
        skipped = set((gop.first + np.flatnonzero(gop.skipped)).tolist())
        assert skipped
        assert not skipped & set(fed(source, [int(gop.display.max())]))
        assert skipped & set(fed(source, [int(gop.display.min()), int(gop.display.max())]))
