"""Colours of every layout of samples that FFmpeg has, against ones that no conversion of FFmpeg's has touched."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.codec import Codec
from av.video.format import names
from colour_cases import Samples, expected, write

from codecsieve.codec.picture import Picture, fit_format, read_format
from codecsieve.codec.side_data import side_data
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.sieve.clip import sieve_clip
from codecsieve.pipelines.sieve.crops import cut_patches, hold_crop, slot_corners

SIZE = 144, 176
ALL = SieveConfig(num_frames=2, input_size=112, k_keep=2 * 64)
UNKNOWN = ("rgb96", "rgba128", "rgbaf32", "gbrap32", "gray32")
"""Layouts that FFmpeg itself does not convert yet: no decoder here puts them out."""
UNKNOWN_BIG = ("v30xbe", "x2bgr10be", "x2rgb10be", "xv30be", "y210be", "y212be", "y216be")
BAYER = ("bayer",)
"""Mosaics: see `test_a_mosaic`."""
WRITE_ONLY = ("rgb4", "bgr4")
"""Two pixels a byte; `rgb4_byte` is the one that is read."""
SOFTWARE = sorted(name for name in names if name.strip() and av.VideoFormat(name).components)
LAYOUTS = [
    name
    for name in SOFTWARE
    if not name.startswith(UNKNOWN + BAYER) and name not in UNKNOWN_BIG and name not in WRITE_ONLY
]
DEPTHS = [
    *("yuv420p", "yuv422p", "yuv411p", "yuv410p", "yuv440p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv440p10le"),
    *("yuv440p12le", "nv12", "p010le", "p210le", "yuyv422", "uyyvyy411", "gray", "rgb24", "rgb555le", "pal8"),
]
TINY = [(143, 175), (145, 173), (16, 8), (34, 10), (9, 17), (31, 33), (24, 24), (3, 5), (1, 40), (2, 2), (1, 1)]


def read(frame: av.VideoFrame) -> Picture:
    layout = read_format(frame, frame.width, frame.height, None)
    return Picture(fit_format(frame, layout), layout, 0, 0, True)


def whole(patches: np.ndarray) -> np.ndarray:
    """Patches of a slot that was kept whole: uint8 [112, 112, 3]."""
    return patches.reshape(8, 8, 3, 14, 14).transpose(0, 3, 1, 4, 2).reshape(112, 112, 3)


def check(picture: np.ndarray, samples: Samples) -> None:
    difference = np.abs(picture - expected(samples.colours()))
    # RGB becomes YUV of 8 bits; what stays YUV or grey only has its rounding, and that of white at full range.
    mean, most = (0.6, 1.5) if samples.yuv or samples.grey else (1, 2)
    assert difference.mean() < mean
    assert np.percentile(difference, 99) <= most


def shown(frame: av.VideoFrame) -> np.ndarray:
    return whole(cut_patches(hold_crop(read(frame), 112, 14), slot_corners(8, 14)))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_its_colours(name: str) -> None:
    samples = Samples(name, *SIZE)
    check(shown(samples.frame()), samples)


@pytest.mark.parametrize("size", TINY, ids=str)
def test_tiny_and_odd_pictures_have_their_colours(size: tuple[int, int]) -> None:
    for name in DEPTHS:
        samples = Samples(name, *size)
        check(shown(samples.frame()), samples)


@pytest.mark.parametrize("full", [False, True])
def test_the_stated_range_is_kept(full: bool) -> None:
    for name in ("yuv420p", "yuv420p10be", "yuyv422", "nv12", "p010le", "vuya", "xv36le", "gray", "gray16be", "ya8"):
        samples = Samples(name, *SIZE, full)
        picture = read(samples.frame())
        assert picture.layout.full_range == full
        check(shown(samples.frame()), samples)


YUV = [name for name in LAYOUTS if Samples(name, 2, 2).yuv]


@pytest.mark.parametrize("name", YUV)
def test_yuv_is_read_sample_for_sample(name: str) -> None:
    samples = Samples(name, 35, 46)
    frame = samples.frame()
    frame.colorspace = 1
    picture = read(frame)
    assert picture.layout.matrix == "bt709"
    for plane, letter in zip(picture.planes, "YUV", strict=True):
        stored = samples.stored[letter]
        np.testing.assert_array_equal(plane[: len(stored), : stored.shape[1]], stored)


def test_black_and_white_are_so_in_every_rgb() -> None:
    for name in ("rgb24", "rgb555le", "rgb565be", "rgb444le", "rgb8", "bgr4_byte", "gbrp10le", "rgb48be", "x2rgb10le"):
        for level in (0, 1):
            samples = Samples(name, 32, 32)
            samples.stored = {c: np.full((32, 32), level * (2 ** samples.bits(c) - 1)) for c in "RGB"}
            np.testing.assert_allclose(shown(samples.frame()), 255 * level, atol=2)


@pytest.mark.parametrize("name", [n for n in SOFTWARE if n.startswith(BAYER)])
def test_a_mosaic(name: str) -> None:
    order = name.split("_")[1][:4]
    samples = Samples("gbrp16le" if "16" in name else "gbrp", *SIZE)
    mosaic = np.zeros(SIZE)
    for place, letter in enumerate(order.upper()):
        at = slice(place // 2, None, 2), slice(place % 2, None, 2)
        mosaic[at] = samples.stored[letter][at]
    frame = av.VideoFrame(SIZE[1], SIZE[0], name)
    rows = mosaic.astype("u1" if "16" not in name else ">u2" if name.endswith("be") else "<u2").view(np.uint8)
    padded = np.zeros((SIZE[0], frame.planes[0].line_size), np.uint8)
    padded[:, : rows.shape[1]] = rows
    frame.planes[0].update(padded.tobytes())
    difference = np.abs(shown(frame) - expected(samples.colours()))
    assert difference.mean() < 1
    assert np.percentile(difference, 99) <= 2


LOSSLESS = {
    **{"ffv1": "mkv", "ffvhuff": "avi", "huffyuv": "avi", "utvideo": "avi", "magicyuv": "avi", "zlib": "avi"},
    **{"png": "mov", "apng": "apng", "qtrle": "mov", "libx264": "mp4", "libx264rgb": "mp4", "libx265": "mkv"},
    **{"v210": "mov", "v410": "mov", "v308": "mov", "v408": "mov", "y41p": "avi", "r210": "mov", "targa": "mov"},
    **{"tiff": "mov", "dpx": "nut", "gif": "gif"},
}
"""Encoder -> container."""
OPTIONS = {"libx264": {"qp": "0"}, "libx264rgb": {"qp": "0"}, "libx265": {"x265-params": "lossless=1:log-level=error"}}
OTHERWISE = {("gif", "rgb8"), ("gif", "bgr8"), ("magicyuv", "gray")}
"""What encoders round to steps of their own, or whose decoder states another range than they were given."""
REFUSED = {("libx265", "yuva420p"), ("libx265", "yuva420p10le")}
"""What encoders list and do not take; FFV1 of floats is an experiment, which FFmpeg decodes only if asked to."""


def encoded() -> list[tuple[str, str]]:
    """Encoders and the layouts that they take."""
    pairs = [(codec, layout.name) for codec in LOSSLESS for layout in Codec(codec, "w").video_formats]
    return [pair for pair in pairs if pair not in OTHERWISE | REFUSED and not (pair[0] == "ffv1" and "f" in pair[1])]


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "name"), encoded(), ids=str)
def test_a_file_of_every_lossless_encoder(tmp_path: Path, codec: str, name: str) -> None:
    samples = Samples(name, *SIZE)
    path = write(tmp_path / f"a.{LOSSLESS[codec]}", samples, codec, OPTIONS.get(codec))
    check(whole(sieve_clip(path, ALL).patches[-64:]), samples)


@pytest.mark.slow
def test_raw_video_of_every_layout_that_a_container_names(tmp_path: Path) -> None:
    carried = 0
    for name in LAYOUTS:
        samples = Samples(name, *SIZE)
        path = write(tmp_path / "a.nut", samples, "rawvideo")
        with av.open(str(path)) as container:
            if container.streams.video[0].pix_fmt != name:
                continue
        check(whole(sieve_clip(path, ALL).patches[-64:]), samples)
        carried += 1
    assert carried > 100


@pytest.mark.parametrize("container", ["mov", "avi"])
def test_a_palette_of_the_container_holds_for_every_frame(tmp_path: Path, container: str) -> None:
    samples = Samples("pal8", *SIZE)
    path = write(tmp_path / f"a.{container}", samples, "rawvideo", frames=40)
    for slot in sieve_clip(path, ALL, start=0.8).patches.reshape(2, 64, 3, 14, 14):
        check(whole(slot), samples)


def test_side_data_that_pyav_has_no_name_for_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", Samples("rgb24", *SIZE), "tiff")  # with Exif
    with av.open(str(path)) as container:
        assert side_data(next(container.decode(video=0)), "DISPLAYMATRIX") is None
