"""Whatever way a file stores its pictures, what comes out is the picture as a player shows it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from codec_cases import PLAIN, decode_all, decode_wanted, run_ffmpeg
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.codec.clip import read_clip
from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.packets import open_source
from codecsieve.codec.picture import Orientation
from codecsieve.codec.upright import upright_layout, upright_motion, upright_planes, upright_size
from codecsieve.kernels.cpu.predict import cell_motion

LOSSLESS = {"qp": "0", "bf": "0"}


TURNS = [(degrees, mirrored) for mirrored in (False, True) for degrees in (0, 90, 180, 270)][1:]


def turn(tmp_path: Path, source: Path, degrees: int, mirrored: bool = False) -> Path:
    """The same stream with metadata that tell a player to turn it anticlockwise, and to mirror it."""
    flip = ["-display_hflip"] if mirrored else []
    target = tmp_path / f"turned{degrees}{mirrored}.mp4"
    return run_ffmpeg(target, "-display_rotation", str(degrees), *flip, "-i", source, "-c", "copy")


@pytest.mark.slow
@pytest.mark.parametrize(("degrees", "mirrored"), TURNS)
@pytest.mark.parametrize("size", [(96, 64), (100, 54)], ids=["aligned", "cropped"])
def test_turned_and_mirrored_pictures_are_those_that_a_player_shows(
    tmp_path: Path, make_video, degrees: int, mirrored: bool, size: tuple[int, int]
) -> None:
    source = make_video(tmp_path / "clip.mp4", frames=6, size=size, options=LOSSLESS, moving="pan")
    turned = turn(tmp_path, source, degrees, mirrored)
    player = run_ffmpeg(tmp_path / "player.mp4", "-i", turned, "-c:v", "libx264", "-qp", "0")
    truth = decode_all(player)
    with open_source(str(turned)) as opened:
        pictures = list(decode_pictures(opened, np.arange(6), motion=False))
    assert pictures[0].layout.orientation.mirrored == mirrored
    for picture, luma in zip(pictures, truth, strict=True):
        shown = upright_layout(picture.layout)
        assert upright_size(picture) == (shown.height, shown.width) == luma.shape
        assert shown.subsampling == (1, 1)
        np.testing.assert_array_equal(upright_planes(picture)[0], luma)
    searched, expected = (read_clip(path, num_frames=6, signals="search", size=56) for path in (turned, player))
    np.testing.assert_array_equal(searched.motion, expected.motion)
    np.testing.assert_array_equal(searched.residual, expected.residual)


@pytest.mark.parametrize(("degrees", "pan"), [(0, (-8, 0)), (270, (0, -8)), (180, (8, 0)), (90, (0, 8))])
def test_motion_turns_with_the_picture(tmp_path: Path, make_video, degrees: int, pan: tuple[int, int]) -> None:
    source = make_video(tmp_path / "clip.mp4", frames=8, size=(160, 100), options=PLAIN | {"g": "50"}, moving="pan")
    path = turn(tmp_path, source, degrees) if degrees else source
    clip = read_clip(path, num_frames=8)
    tall, wide = (160, 100) if degrees in (90, 270) else (100, 160)
    assert clip.signals == "bitstream"
    assert clip.residual.shape == (8, tall, wide)
    assert clip.motion.shape == (8, tall // 4, wide // 4, 2)
    assert np.median(clip.motion[1:, 6:-6, 6:-6].reshape(-1, 2), axis=0).tolist() == list(pan)
    straight = read_clip(source, num_frames=8)
    np.testing.assert_array_equal(clip.residual, np.rot90(straight.residual, degrees // 90, axes=(1, 2)))
    np.testing.assert_array_equal(clip.keyframe, straight.keyframe)


def pixels_turned(pixels: np.ndarray, turned: Orientation) -> np.ndarray:
    pixels = np.rot90(pixels, -turned.rotation // 90)
    return pixels[:, ::-1] if turned.mirrored else pixels


@given(st.integers(1, 30), st.integers(1, 30), st.builds(Orientation, st.booleans(), st.booleans(), st.booleans()))
def test_every_cell_of_a_turned_picture_has_the_motion_of_the_cell_below_it(
    height: int, width: int, turned: Orientation
) -> None:
    rows, columns = -(-height // 4), -(-width // 4)
    motion = np.stack(np.broadcast_arrays(np.arange(columns), np.arange(rows)[:, None]), axis=-1).astype(np.int16)
    cells = np.abs(upright_motion(motion, height, width, turned))
    pixels = pixels_turned(motion.repeat(4, 0).repeat(4, 1)[:height, :width], turned)
    for row, column in np.ndindex(cells.shape[:2]):
        y, x = min(row * 4 + 2, pixels.shape[0] - 1), min(column * 4 + 2, pixels.shape[1] - 1)
        below = pixels[y, x][::-1] if turned.transposed else pixels[y, x]
        assert cells[row, column].tolist() == below.tolist()


@given(st.builds(Orientation, st.booleans(), st.booleans(), st.booleans()))
def test_turning_back_and_forth_changes_nothing(turned: Orientation) -> None:
    motion = np.random.default_rng(0).integers(-500, 500, (6, 8, 2), np.int16)
    back = turned if not turned.transposed else Orientation(True, flip_y=turned.flip_x, flip_x=turned.flip_y)
    there = upright_motion(motion, 24, 32, turned)
    size = (32, 24) if turned.transposed else (24, 32)
    np.testing.assert_array_equal(upright_motion(there, *size, back), motion)


@given(st.integers(1, 1 << 30), st.builds(Orientation, st.booleans(), st.booleans(), st.booleans()))
def test_a_display_matrix_is_read_whatever_its_scale(scale: int, turned: Orientation) -> None:
    x, y = (-scale if turned.flip_x else scale), (-scale if turned.flip_y else scale)
    a, b, c, d = (0, y, x, 0) if turned.transposed else (x, 0, 0, y)
    assert Orientation.of_matrix((a, b, 0, c, d, 0, 5, 7, 1 << 30)) == turned


KINDS = [
    ("libx264", "yuv444p", (61, 47), "a.mp4"),
    ("libx265", "yuv444p", (61, 47), "a.mp4"),
    ("libvpx-vp9", "yuv420p", (61, 47), "a.webm"),
    ("libsvtav1", "yuv420p", (67, 65), "a.mkv"),
    ("libx264", "yuv420p10le", (62, 46), "a.mkv"),
    ("libx264", "yuv422p", (62, 46), "a.ts"),
    ("libx264", "yuv422p10le", (62, 46), "a.264"),
    ("libx264", "gray", (62, 46), "a.mp4"),
    ("libx264", "gray10le", (62, 46), "a.mp4"),
    ("libx265", "yuv420p12le", (64, 48), "a.mp4"),
    ("ffv1", "yuv411p", (64, 48), "a.mkv"),
    ("ffv1", "yuv410p", (64, 48), "a.mkv"),
    ("ffv1", "gray16le", (61, 47), "a.mkv"),
    ("ffv1", "yuva420p", (64, 48), "a.mkv"),
]


@pytest.mark.parametrize(("codec", "pixel_format", "size", "name"), KINDS, ids=lambda value: str(value))
def test_luma_of_every_layout_is_that_of_a_plain_decode(
    tmp_path: Path, make_video, codec: str, pixel_format: str, size: tuple[int, int], name: str
) -> None:
    path = make_video(tmp_path / name, codec, frames=5, size=size, pixel_format=pixel_format, moving="pan")
    truth = decode_all(path)
    found = decode_wanted(path, list(range(5)))
    assert found[0].shape == size[::-1]
    for index, luma in found.items():
        np.testing.assert_array_equal(luma, truth[index])


def test_interlaced_pictures_are_whole_frames(tmp_path: Path, make_video) -> None:
    options = {"x264-params": "interlaced=1", "bf": "2"}
    path = make_video(tmp_path / "clip.mp4", frames=12, size=(96, 76), options=options, moving="pan")
    truth = decode_all(path)
    for index, luma in decode_wanted(path, list(range(12))).items():
        np.testing.assert_array_equal(luma, truth[index])
    clip = read_clip(path, num_frames=12)
    assert clip.signals == "bitstream"
    assert clip.residual.shape == (12, 76, 96)
    # Most macroblocks are coded as frames; their motion is the pan.
    assert np.median(clip.motion[~clip.keyframe][:, 4:-4, 8:-4].reshape(-1, 2), axis=0)[1] == 0


@pytest.mark.parametrize("suffix", ["mp4", "264"])
def test_crop_on_the_left_and_above(tmp_path: Path, make_video, suffix: str) -> None:
    source = make_video(tmp_path / "clip.mp4", frames=8, size=(128, 96), options=PLAIN, moving="pan")
    crop = "h264_mp4toannexb,h264_metadata=crop_left=10:crop_top=6:crop_right=4:crop_bottom=2"
    path = run_ffmpeg(tmp_path / f"crop.{suffix}", "-i", source, "-c", "copy", "-bsf:v", crop)
    whole, found = decode_all(source), decode_wanted(path, list(range(8)))
    for index in range(8):
        np.testing.assert_array_equal(found[index], whole[index][6:94, 10:124])
    straight, cropped = read_clip(source, num_frames=8), read_clip(path, num_frames=8)
    np.testing.assert_array_equal(cropped.residual, straight.residual[:, 6:94, 10:124])
    assert cropped.motion.shape == (8, 22, 29, 2)
    assert np.median(cropped.motion[1:, 4:-4, 4:-4].reshape(-1, 2), axis=0).tolist() == [-8, 0]


def test_rgb_is_read_as_its_luma(tmp_path: Path, make_video) -> None:
    grey = [np.full((48, 64), value, np.uint8) for value in (20, 128, 240)]
    path = make_video(tmp_path / "rgb.mp4", "libx264rgb", pictures=grey, pixel_format="rgb24", options={"qp": "0"})
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt.startswith("gbr")
    with open_source(str(path)) as source:
        for picture, value in zip(decode_pictures(source, np.arange(3), motion=False), (20, 128, 240), strict=True):
            assert picture.layout.pixel_format == "yuv444p"
            expected = 16 + value * 219 / 255
            np.testing.assert_allclose(picture.luma[:48, :64], expected, atol=1.5)


def test_cells_begin_at_the_crop() -> None:
    vectors = np.zeros((4, 4, 2, 2), np.int16)
    vectors[:, :, 0, 0] = np.arange(4)
    lists = np.ones((4, 4), np.uint8)
    assert cell_motion(vectors, lists, 0, 6, 8, 16)[0, :, 0].tolist() == [0, 1, 1, 2]
