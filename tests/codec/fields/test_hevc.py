"""HEVC's motion, references and weights from the decoder: what nothing was coded of is predicted without a residual."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from field_cases import needs_table, read_all, scene

from codecsieve.codec.clip import read_clip
from codecsieve.codec.fields.table import choose_table

pytestmark = needs_table

UNFILTERED = "log-level=error:no-deblock=1:no-sao=1:keyint=30:crf=34:"


def encode(make_video, path: Path, options: str, layout: str = "yuv420p", fade: bool = False, size=(200, 136)) -> Path:
    pictures = scene(10, *size, fade=fade)
    params = {"x265-params": UNFILTERED + options}
    return make_video(path, "libx265", pictures=pictures, options=params, pixel_format=layout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "layout", "fade"),
    [
        ("", "yuv420p", False),
        ("", "yuv420p10le", False),
        ("", "yuv420p12le", False),
        ("", "yuv444p", False),
        ("", "yuv422p10le", False),
        ("", "gray", False),
        ("slices=3:ctu=16", "yuv420p", False),
        ("rect=1:amp=1", "yuv420p", False),
        ("ref=1:bframes=0", "yuv420p", False),
        ("ref=4:bframes=4:b-adapt=0:b-pyramid=1", "yuv420p", False),
        ("min-cu-size=16", "yuv420p", False),
        ("min-cu-size=8:ctu=16:limit-tu=0:tu-inter-depth=3", "yuv420p", False),
        ("weightp=1:weightb=0:bframes=0", "yuv420p", True),
        ("weightp=1:weightb=1:bframes=3:b-adapt=0", "yuv420p", True),
        ("weightp=1:weightb=1:bframes=3:b-adapt=0", "yuv420p10le", True),
        ("weightp=1:weightb=1:bframes=3:b-adapt=0:slices=3:ctu=16", "yuv420p", True),
        ("cu-lossless=1:tskip=1", "yuv420p", False),
        ("open-gop=1:keyint=4:min-keyint=4:bframes=3:b-adapt=0", "yuv420p", False),
    ],
)
def test_nothing_is_left_where_nothing_was_coded(
    tmp_path: Path, make_video, options: str, layout: str, fade: bool
) -> None:
    """In every sample of blocks without coefficients, whatever the tools; weights are used where pictures fade."""
    pictures = list(read_all(encode(make_video, tmp_path / "clip.mp4", options, layout, fade)))
    left = np.concatenate([read.bare for read in pictures])
    assert len(pictures) >= 6
    assert len(left) > 0.15 * sum(read.residual.size for read in pictures)
    assert (left == 0).all()
    assert any(read.coded.predictions[0].weights is not None for read in pictures) == fade
    assert any((read.vectors[..., 0, :] != 0).any() for read in pictures)


def test_several_references_and_both_lists_are_used(tmp_path: Path, make_video) -> None:
    path = encode(make_video, tmp_path / "clip.mp4", "ref=4:bframes=4:b-adapt=0:b-pyramid=1")
    pictures = list(read_all(path))
    assert max(len(read.coded.predictions[0].references) for read in pictures) >= 3
    assert any(((read.entries >= 0).all(axis=-1)).mean() > 0.2 for read in pictures)


def test_blocks_have_the_quantiser_they_were_coded_with(tmp_path: Path, make_video) -> None:
    path = encode(make_video, tmp_path / "clip.mp4", "qp=30:ipratio=1:pbratio=1:aq-mode=0:cutree=0:bframes=0")
    for read in read_all(path):
        assert set(np.unique(read.blocks.quantiser[read.blocks.coefficients > 0]).tolist()) <= {30}


@pytest.mark.parametrize(("crop", "layout"), [((2, 4, 6, 8), "yuv420p"), ((2, 0, 64, 2), "yuv420p10le"),
                                              ((0, 6, 34, 0), "yuv444p")])  # fmt: skip
def test_the_residual_is_of_what_is_shown(tmp_path: Path, make_video, crop: tuple[int, ...], layout: str) -> None:
    """However a stream is cropped, and however much of that FFmpeg does."""
    whole = encode(make_video, tmp_path / "whole.265", "ctu=16", layout)
    top, bottom, left, right = crop
    cut = tmp_path / "cut.265"
    names = {"crop_top": top, "crop_bottom": bottom, "crop_left": left, "crop_right": right}
    with av.open(str(whole)) as source, av.open(str(cut), "w", format="hevc") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        options = ":".join(f"{name}={value}" for name, value in names.items())
        cropping = av.BitStreamFilterContext(f"hevc_metadata={options}", source.streams.video[0], stream)
        for packet in source.demux(video=0):
            if packet.size:
                for changed in cropping.filter(packet):
                    changed.stream = stream
                    container.mux(changed)
        for changed in cropping.filter():
            changed.stream = stream
            container.mux(changed)
    with av.open(str(cut)) as container:
        shown = [(frame.height, frame.width) for frame in container.decode(video=0)]
    uncut = [read.residual for read in read_all(whole)]
    signals = read_clip(cut, 10, "bitstream", decoder_fields="on")
    assert signals.residual.shape[1:] == shown[0]
    height, width = shown[0]
    begin = 136 - bottom - height, 200 - right - width
    expected = {residual[begin[0] : begin[0] + height, begin[1] : begin[1] + width].tobytes() for residual in uncut}
    assert {residual.tobytes() for residual in signals.residual[~signals.keyframe]} == expected


def test_reading_changes_no_frame_and_no_other_signal(tmp_path: Path, make_video) -> None:
    path = encode(make_video, tmp_path / "clip.mp4", "bframes=3")
    on, off = (read_clip(path, 10, "search", decoder_fields=asked) for asked in ("on", "off"))
    assert on.residual.tobytes() == off.residual.tobytes()
    table = choose_table()
    assert table is not None
    assert read_clip(path, 10, decoder_fields="on").frame_ids.tolist() == on.frame_ids.tolist()
