"""Slots that show the middles of their segments, but for keyframes."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from codec_cases import CLOSED_GOP, HEVC_OPEN_GOP, OPEN_GOP

from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.off_keyframe import frames_off_keyframes
from codecsieve.codec.packets import open_source
from codecsieve.codec.plan import sample_frames
from codecsieve.codec.spread import Spread

OFF = Spread("off-keyframe")
CASES = {
    "closed": ("libx264", CLOSED_GOP),
    "open": ("libx264", OPEN_GOP),
    "hevc": ("libx265", HEVC_OPEN_GOP),
    "every second": ("libx264", {"x264-params": "bframes=0:keyint=2:min-keyint=1:scenecut=0"}),
    "intra": ("ffv1", {"g": "1"}),
}


@pytest.mark.parametrize("case", CASES)
def test_slots_are_off_keyframes_and_next_to_their_middles(case: str, tmp_path: Path, make_video) -> None:
    codec, options = CASES[case]
    path = make_video(tmp_path / "clip.mkv", frames=48, size=(64, 48), codec=codec, options=options)
    with av.open(str(path)) as container:
        is_keyframe = np.array([frame.key_frame for frame in container.decode(video=0)])
    with open_source(str(path)) as source:
        assert source.ordered
        for first, frames, slots in ((0, 48, 4), (0, 48, 16), (0, 48, 48), (5, 31, 7), (11, 3, 1)):
            chosen = frames_off_keyframes(source, first, frames, slots)
            bounds = first + np.arange(slots + 1) * frames // slots
            middles = (bounds[:-1] + bounds[1:] - 1) // 2
            assert ((chosen >= bounds[:-1]) & (chosen < bounds[1:])).all()
            for frame, middle, start, stop in zip(chosen, middles, bounds[:-1], bounds[1:], strict=True):
                beside = [place for place in (middle + 1, middle - 1) if start <= place < stop]
                free = [place for place in (middle, *beside) if not is_keyframe[place]]
                assert frame == (free[0] if free else middle)


def test_every_slot_has_signals_of_its_codec(tmp_path: Path, make_video) -> None:
    options = {"x264-params": "bframes=0:keyint=6:min-keyint=6:scenecut=0"}
    path = make_video(tmp_path / "clip.mp4", frames=72, size=(64, 48), options=options)
    predicted = {}
    for spread in (Spread("ends"), OFF):
        with ClipDecoder(path, 24, "bitstream", spread=spread) as clip:
            predicted[spread.kind] = [slot.predicted for slot in clip.slots(32)]
    assert not all(predicted["ends"])
    assert all(predicted["off-keyframe"])


def test_where_nothing_tells_keyframes_or_frames_are_few_slots_are_those_of_the_middle(
    tmp_path: Path, make_video
) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=12, size=(64, 48), options=CLOSED_GOP)
    with open_source(str(path)) as source:
        assert sample_frames(source, 15, spread=OFF).frame_ids.tolist() == [*range(12), 11, 11, 11]
    with open_source(str(path), believe=False) as source:
        assert not source.ordered
        expected = sample_frames(source, 4, spread=Spread("middle")).frame_ids
        np.testing.assert_array_equal(sample_frames(source, 4, spread=OFF).frame_ids, expected)
