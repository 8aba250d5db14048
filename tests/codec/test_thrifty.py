"""Slots that cost few decoded pictures, against other choices of one frame a segment."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from codec_cases import CLOSED_GOP, HEVC_OPEN_GOP, OPEN_GOP

from codecsieve.codec.clip import ClipDecoder
from codecsieve.codec.packets import open_source
from codecsieve.codec.plan import plan_gops, sample_frames
from codecsieve.codec.source import PacketSource
from codecsieve.codec.spread import Spread
from codecsieve.codec.thrifty import thrifty_frames

THRIFTY, MIDDLE = Spread("thrifty"), Spread("middle")
CASES = {
    "closed": ("libx264", CLOSED_GOP),
    "open": ("libx264", OPEN_GOP),
    "hevc": ("libx265", HEVC_OPEN_GOP),
    "no b": ("libx264", {"x264-params": "bframes=0:keyint=12:scenecut=0"}),
    "intra": ("ffv1", {}),
}


def decoded(source: PacketSource, frames: np.ndarray, pairs: bool) -> int:
    """Pictures that are sent to the decoder for frames."""
    wanted = np.union1d(frames, (frames - 1).clip(min=0)) if pairs else np.unique(frames)
    return sum(len(plan.feed) for plan in plan_gops(source, wanted))


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_no_choice_costs_less(case: str, pairs: bool, tmp_path: Path, make_video) -> None:
    codec, options = CASES[case]
    path = make_video(tmp_path / "clip.mkv", frames=40, size=(64, 48), codec=codec, options=options)
    with open_source(str(path)) as source:
        assert source.ordered
        for first, frames, slots in ((0, 40, 3), (0, 40, 4), (5, 21, 3), (13, 9, 3), (20, 20, 2)):
            chosen = thrifty_frames(source, first, frames, slots, pairs)
            bounds = first + np.arange(slots + 1) * frames // slots
            assert np.all((chosen >= bounds[:-1]) & (chosen < bounds[1:]))
            middles = (bounds[:-1] + bounds[1:] - 1) // 2
            assert decoded(source, chosen, pairs) <= decoded(source, middles, pairs)
            if not pairs:
                every = itertools.product(*(range(*edges) for edges in itertools.pairwise(bounds)))
                some = itertools.islice(every, 0, None, 7)
                assert decoded(source, chosen, pairs) <= min(decoded(source, np.array(one), pairs) for one in some)


def test_a_tie_goes_to_the_middle_and_nothing_is_gained_where_every_picture_is_needed(tmp_path, make_video) -> None:
    intra = make_video(tmp_path / "intra.mkv", frames=60, size=(64, 48), codec="ffv1", options={"g": "1"})
    with open_source(str(intra)) as source:
        for pairs in (False, True):
            assert thrifty_frames(source, 0, 60, 6, pairs).tolist() == [4, 14, 24, 34, 44, 54]
    with open_source(str(make_video(tmp_path / "clip.mp4", frames=12, size=(64, 48), options=CLOSED_GOP))) as source:
        assert sample_frames(source, 12, spread=THRIFTY).frame_ids.tolist() == list(range(12))
        assert sample_frames(source, 15, spread=THRIFTY).frame_ids.tolist() == [*range(12), 11, 11, 11]


@pytest.mark.slow
@pytest.mark.parametrize("signals", ["search", "bitstream", "difference"])
def test_a_clip_s_slots_cost_what_was_planned(signals: str, tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=250, size=(64, 48), options={"x264-params": "keyint=50:scenecut=0"})
    pictures = {}
    for spread in (MIDDLE, THRIFTY):
        with ClipDecoder(path, 8, signals, spread=spread) as clip:
            shown = list(clip.slots(32))
            assert len(shown) == 8
            pictures[spread] = clip.pictures_decoded
    assert pictures[THRIFTY] < pictures[MIDDLE]


@pytest.mark.slow
def test_of_a_long_clip_few_gops_are_read(tmp_path: Path, make_video, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=600, size=(64, 48), options={"x264-params": "keyint=6:scenecut=0"})
    with open_source(str(path)) as source:
        read = []
        before = source.read
        monkeypatch.setattr(source, "read", lambda gop: read.append(gop) or before(gop))
        chosen = thrifty_frames(source, 0, 600, 5, False)
        assert len(read) <= 10
        assert decoded(source, chosen, False) == 5


def test_without_the_order_of_pictures_it_is_the_middle(tmp_path: Path, make_video) -> None:
    with open_source(str(make_video(tmp_path / "clip.mp4", frames=30, size=(64, 48)))) as source:
        source.ordered = False
        assert (
            sample_frames(source, 4, spread=THRIFTY).frame_ids.tolist()
            == sample_frames(source, 4, spread=MIDDLE).frame_ids.tolist()
        )
