"""Slots at a fixed rate: the frames nearest to so many times a second, each once."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from codec_cases import CLOSED_GOP, OPEN_GOP
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.codec.fixed_rate import nearest, shown_at
from codecsieve.codec.packets import open_source
from codecsieve.codec.plan import sample_frames
from codecsieve.codec.spread import Spread
from codecsieve.errors import VideoError


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=30, unique=True),
    st.lists(st.integers(0, 500), max_size=30),
)
def test_the_nearest_frame_is_that_of_the_least_distance(shown: list[int], times: list[int]) -> None:
    shown = sorted(shown)
    expected = [min(range(len(shown)), key=lambda at: (abs(shown[at] - time), at)) for time in times]
    assert nearest(np.array(shown) / 100, np.array(times) / 100).tolist() == expected


@pytest.mark.slow
@pytest.mark.parametrize("fps", [0.5, 1, 2, 3, 7.5, 25, 100])
@pytest.mark.parametrize("options", [CLOSED_GOP, OPEN_GOP], ids=["closed", "open"])
def test_of_a_constant_rate_they_are_every_so_many_frames(
    tmp_path: Path, make_video, options: dict[str, str], fps: float
) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=125, size=(64, 48), options=options)
    with open_source(str(path)) as source:
        assert source.facts.fps == 25
        sample = sample_frames(source, 128, spread=Spread("fps", fps=fps))
    times = [Fraction(number) / Fraction(fps) for number in range(math.floor(Fraction(124, 25) * Fraction(fps)) + 1)]
    due = [math.ceil(time * 25 - Fraction(1, 2)) for time in times]  # halfway between two, the earlier
    distinct = sorted(set(due))
    assert sample.frame_ids.tolist() == distinct + [distinct[-1]] * sample.spare
    assert sample.spare == 128 - len(distinct)
    assert sample.frames == 125


def test_a_part_of_a_file_begins_with_its_own_first_frame(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=100, size=(64, 48), options=OPEN_GOP)
    with open_source(str(path)) as source:
        sample = sample_frames(source, 8, 1.03, 3.0, Spread("fps", fps=2))
    assert (sample.first, sample.frames, sample.spare) == (26, 49, 4)
    assert sample.frame_ids.tolist() == [26, 38, 51, 63, 63, 63, 63, 63]


@pytest.mark.parametrize("believe", [True, False])
def test_timestamps_say_it_where_the_rate_changes(tmp_path: Path, make_video, believe: bool) -> None:
    # 1 s at 50 frames/s, then 4 s at 5: by the average rate, 14, most slots would show the first second.
    times = [*range(0, 1000, 20), *range(1000, 5000, 200)]
    path = make_video(tmp_path / "clip.mkv", frames=70, size=(64, 48), times=times, options=OPEN_GOP)
    with open_source(str(path), believe=believe) as source:
        np.testing.assert_allclose(shown_at(source, 0, 69), np.array(times) / 1000, atol=1e-6)
        sample = sample_frames(source, 16, spread=Spread("fps", fps=2))
    assert sample.frame_ids[:10].tolist() == [0, 25, 50, 52, 55, 57, 60, 62, 65, 67]
    assert sample.spare == 6


def test_more_times_than_slots_are_spread_from_the_first_frame_to_the_last(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=125, size=(64, 48), options=CLOSED_GOP)
    with open_source(str(path)) as source:
        fast = sample_frames(source, 9, spread=Spread("fps", fps=2))
        assert fast.frame_ids.tolist() == np.linspace(0, 124, 9).astype(int).tolist()
        assert fast.spare == 0
        just = sample_frames(source, 10, spread=Spread("fps", fps=2))
        assert just.frame_ids.tolist() == [0, 12, 25, 37, 50, 62, 75, 87, 100, 112]
        every = sample_frames(source, 200, spread=Spread("fps", fps=1000))
        assert every.frame_ids.tolist() == [*range(125)] + [124] * 75


def test_where_nothing_tells_when_frames_are_shown_it_is_said(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.h264", frames=12, size=(64, 48), options=CLOSED_GOP)
    with open_source(str(path)) as source:
        assert not source.ordered
        assert sample_frames(source, 4, spread=Spread("fps", fps=25 / 4)).frame_ids.tolist() == [0, 4, 8, 8]
        source.facts = dataclasses.replace(source.facts, fps=0.0)
        with pytest.raises(VideoError, match="no timestamps and no frame rate; remux it to use spread fps"):
            sample_frames(source, 4, spread=Spread("fps"))
