"""The pictures of a clip: what they show where, and the files they are written to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from codecsieve.pipelines.look import pictures, strips
from codecsieve.pipelines.look.pictures import DrawnClip, draw_animation, draw_rows, save_picture

SLOTS, GRID = 12, 4
CELLS = GRID * GRID
LEFT, TOP, SIDE, ROW = 36 + 168, 104, 144, 144 + 12
STRIPS = (TOP + 4 * ROW - 12 + 66, TOP + 4 * ROW - 12 + 66 + 98)


def make_clip(scores: np.ndarray, indices: np.ndarray) -> DrawnClip:
    """Frames of plain bright green, 4x4 patches of 14 px: a patch that is shown is told by its colour.

    Uniform sampling keeps the last slots.
    """
    frames = np.zeros((len(scores), 56, 56, 3), np.uint8)
    frames[..., 1] = 220
    sampled = np.arange(scores.size - len(indices) // CELLS * CELLS, scores.size)
    return DrawnClip(frames, scores, indices.astype(np.int32), sampled, "clip-7.mp4", "h264", "bitstream")


@pytest.fixture
def clip() -> DrawnClip:
    """Of slot t, patch t is hot and kept; of slot 0 the whole last row besides."""
    scores = np.ones((SLOTS, GRID, GRID), np.int64)
    for slot in range(SLOTS):
        scores[slot].flat[slot] = 900
    scores[0, 3] = 900
    return make_clip(scores, np.flatnonzero(scores == 900))


def tiles(image: Image.Image, slots: int) -> np.ndarray:
    """The still's four rows of tiles, uint8 [4, slots, 144, 144, 3]; around them the paper is white."""
    pixels = np.asarray(image)
    rows = [TOP + row * ROW for row in range(4)]
    columns = [LEFT + column * (SIDE + 6) for column in range(slots)]
    assert (pixels[rows[0] - 1, LEFT:] == 255).all()
    assert (pixels[rows[3] + SIDE, LEFT:] == 255).all()
    assert (pixels[rows[0] : rows[3], columns[-1] + SIDE :] == 255).all()
    return np.stack([[pixels[y : y + SIDE, x : x + SIDE] for x in columns] for y in rows])


def bars(image: Image.Image, slots: int) -> np.ndarray:
    """How high the bars of the still's two strips are, int [2, slots], in pixels of 76."""
    pixels = np.asarray(image).astype(int)
    wide = (image.width - 36 - LEFT) / slots
    middles = [LEFT + round((slot + 0.5) * wide) for slot in range(slots)]
    bright = pixels[:, middles].sum(axis=2) > 600  # paper, or a bar's empty track
    return np.stack([(~bright[top : top + 76]).sum(axis=0) for top in STRIPS])


def shown(tile: np.ndarray) -> np.ndarray:
    """Which patches of a tile show the frame, bool [4, 4]."""
    green = tile.reshape(GRID, 36, GRID, 36, 3).astype(int)
    bright = (green[..., 1] > 200) & (green[..., 0] < 20)
    assert (bright.all(axis=(1, 3)) == bright.any(axis=(1, 3))).all(), "a patch is shown whole or not at all"
    return bright.all(axis=(1, 3))


def test_the_still_shows_frames_heat_and_the_patches_kept_in_their_places(clip: DrawnClip) -> None:
    frames, _, heat, kept = tiles(draw_rows(clip, SLOTS), SLOTS)
    for slot in range(SLOTS):
        assert shown(frames[slot]).all()
        assert (shown(kept[slot]) == clip.kept[slot]).all()
        brightness = heat[slot].reshape(GRID, 36, GRID, 36, 3).sum(axis=(1, 3, 4))
        hot = clip.scores[slot] == 900
        assert brightness[hot].min() > 2 * brightness[~hot].max()


def test_the_shown_slots_are_evenly_spaced_and_no_more_than_there_are(clip: DrawnClip) -> None:
    _, _, _, kept = tiles(draw_rows(clip, 3), 3)
    for tile, slot in zip(kept, (0, 6, 11), strict=True):  # 5.5 rounds to even
        assert (shown(tile) == clip.kept[slot]).all()
    assert draw_rows(clip, 50).size == draw_rows(clip, SLOTS).size


def test_uniform_sampling_shows_the_slots_that_sampling_keeps(clip: DrawnClip) -> None:
    sampled = np.arange(5 * CELLS, 6 * CELLS)
    _, uniform, _, kept = tiles(draw_rows(replace(clip, sampled=sampled), SLOTS), SLOTS)
    assert [int(shown(tile).sum()) for tile in uniform] == [0] * 5 + [CELLS] + [0] * 6
    assert (np.stack([shown(tile) for tile in kept]) == clip.kept).all()


def test_the_strips_have_a_bar_a_slot_on_one_scale(clip: DrawnClip) -> None:
    sampled, kept = bars(draw_rows(clip, 3), SLOTS)  # all slots, however few are shown
    assert sampled.tolist() == [0] * (SLOTS - 1) + [76]
    assert kept.tolist() == [round(count * 76 / CELLS) for count in clip.kept.sum(axis=(1, 2))]
    assert kept[1] > 0, "a single token can be seen"


@pytest.mark.parametrize("slots", [64, 300, 4000])
def test_more_slots_than_pixels_have_their_strips_too(slots: int) -> None:
    scores = np.ones((slots, 1, 1))
    clip = DrawnClip(
        np.zeros((slots, 14, 14, 3), np.uint8), scores, np.arange(slots // 2), np.arange(0), "x.mp4", "h264", "search"
    )
    left = np.asarray(draw_rows(clip, 1)).astype(int)[STRIPS[1] : STRIPS[1] + 76, LEFT : LEFT + SIDE].sum(axis=2) < 600
    assert left[:, : SIDE // 2 - 1].any(axis=0).mean() > 0.5
    assert not left[:, SIDE // 2 + 1 :].any()


@pytest.mark.parametrize(
    ("policy", "indices", "words"),
    [
        ("saliency", np.arange(8, 20), ["the highest scores", "of the whole clip", "By saliency"]),
        ("saliency", np.arange(24), ["the highest scores", "of the whole clip", "1 of 12 slots whole", "By saliency"]),
        ("sampling", np.arange(32), ["whole slots,", "uniformly spaced", "By sampling"]),
        ("random", np.arange(3), ["any of the clip's,", "at random", "less than one", "none", "At random"]),
    ],
)
def test_the_last_row_is_called_what_the_policy_does(
    policy: str, indices: np.ndarray, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for module in (pictures, strips):
        monkeypatch.setattr(module, "draw_text", lambda _draw, _at, words, *_rest: said.append(words))
    clip = make_clip(np.ones((SLOTS, GRID, GRID)), indices)
    draw_rows(replace(clip, policy=policy), 2)
    assert set(words) <= set(said)
    others = {"By saliency", "By sampling", "At random"} - set(words)
    assert not others & set(said)
    said.clear()
    draw_rows(replace(clip, policy=policy, groups=4), 2)
    assert ("of each of 4 groups" in said) == (policy == "saliency")
    assert "of the whole clip" not in said


def test_a_clip_without_any_energy_has_a_picture_too() -> None:
    clip = make_clip(np.zeros((1, GRID, GRID)), np.zeros(0))
    frames, _, heat, kept = tiles(draw_rows(clip), 1)
    assert shown(frames[0]).all()
    assert not shown(kept[0]).any()
    assert heat.std(axis=(1, 2)).max() == 0


def test_the_title_tells_what_was_kept_and_a_long_one_is_cut(clip: DrawnClip) -> None:
    assert clip.facts == "h264  ·  bitstream signals  ·  kept 16 of 192 patches (8.3 %)"
    long = np.asarray(draw_rows(replace(clip, title="long/" * 100), 4))
    assert (long[:100, -36:] == 255).all(), "the margin stays free"
    assert not np.array_equal(long, np.asarray(draw_rows(clip, 4)))


def test_the_animation_has_one_image_a_slot_that_shows_what_is_kept(clip: DrawnClip) -> None:
    images = list(draw_animation(clip, 144))
    assert len(images) == SLOTS
    assert all(side % 2 == 0 for side in images[0].size)
    for slot, image in enumerate(images):
        left = 36 + 2 * (144 + 12)
        assert (shown(np.asarray(image)[68 : 68 + 144, left : left + 144]) == clip.kept[slot]).all()


@pytest.mark.slow
def test_each_suffix_gets_its_kind_of_file(clip: DrawnClip, tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.gif", "c.MP4"):
        save_picture(tmp_path / name, clip)
    with Image.open(tmp_path / "a.png") as still:
        assert (still.format, still.size) == ("PNG", draw_rows(clip, 8).size)
    with Image.open(tmp_path / "deep" / "b.gif") as animation:
        assert (animation.format, animation.n_frames, animation.info["loop"]) == ("GIF", SLOTS, 0)
    with av.open(str(tmp_path / "c.MP4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 8
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
    assert len(frames) == SLOTS
    drawn = np.asarray(next(draw_animation(clip)))
    assert np.abs(frames[0].astype(int) - drawn).mean() < 4
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"a.png", "b.gif", "c.MP4"}


def test_without_x264_an_mp4_is_of_another_codec(
    clip: DrawnClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    save_picture(tmp_path / "x.mp4", clip)
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        assert len(list(container.decode(video=0))) == SLOTS


def test_another_suffix_is_refused_with_those_that_are_accepted(clip: DrawnClip, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"x\.bmp: a picture's suffix must be one of \.png, \.gif, \.mp4"):
        save_picture(tmp_path / "x.bmp", clip)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_fails_leaves_the_earlier_one(clip: DrawnClip, tmp_path: Path) -> None:
    save_picture(tmp_path / "x.png", clip)
    before = (tmp_path / "x.png").read_bytes()
    with pytest.raises(ValueError, match=r"slots \(0\) must be >= 1"):
        save_picture(tmp_path / "x.png", clip, slots=0)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == before


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("frames", np.zeros((SLOTS, 56, 56), np.uint8), r"frames \(uint8 \(12, 56, 56\)\) must be uint8"),
        ("frames", np.zeros((SLOTS, 56, 56, 3), np.float32), "frames .float32"),
        ("scores", np.zeros((SLOTS - 1, 4, 4)), r"scores \(11, 4, 4\) must be \[T, gh, gw\] with T = 12"),
        ("indices", np.array([0, 192]), r"indices must be 0\.\.191"),
        ("indices", np.array([-1, 5]), r"indices must be 0\.\.191"),
        ("sampled", np.array([0, 192]), r"sampled must be 0\.\.191"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(clip: DrawnClip, field: str, value: np.ndarray, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        replace(clip, **{field: value})


def test_more_slots_than_the_bar_of_an_animation_has_pixels_are_drawn() -> None:
    clip = make_clip(np.ones((3000, GRID, GRID), np.int64), np.arange(CELLS))
    drawn = np.asarray(next(draw_animation(clip, 56)))
    assert (drawn[106 + 56, 36:40].sum(axis=-1) < 300).tolist() == [True, False, False, False]
