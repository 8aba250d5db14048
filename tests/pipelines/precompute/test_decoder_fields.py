"""Whether the decoder's fields are read: one cache is never made both ways; frames and pixels do not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from field_cases import needs_table, scene

from codecsieve.cache import open_cache
from codecsieve.codec.fields import proof
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.sieve.clip import sieve_clip

MakeVideo = Callable[..., Path]
pytestmark = [needs_table, pytest.mark.slow]


def config(decoder_fields: str, **options: object) -> SieveConfig:
    return SieveConfig(num_frames=8, input_size=56, k_keep=24, decoder_fields=decoder_fields, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def videos(make_video: MakeVideo, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [
        make_video(folder / f"clip-{number}.mp4", codec, pictures=scene(24, 128, 96, seed=number))
        for number, codec in enumerate(("libx264", "libx265", "libx264"))
    ]


def make(cache: Path, videos: list[Path], decoder_fields: str, workers: int = 0) -> dict[str, object]:
    """Run; what the cache says of how it was made."""
    precompute(read_inputs(videos), cache, config(decoder_fields), workers=workers, device="cpu")
    return dict(open_cache(cache).config)


def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "proven_table", lambda: "libavcodec is 1.2.3")


def test_a_cache_says_whether_fields_were_read(tmp_path: Path, videos: list[Path]) -> None:
    read = make(tmp_path / "auto", videos, "auto")
    assert read["bitstream_reader"] == "decoder"
    assert make(tmp_path / "on", videos, "on") == read
    other = make(tmp_path / "off", videos, "off")
    assert other == {**read, "bitstream_reader": "ffmpeg"}
    signals = [open_cache(tmp_path / name).index["signals"].to_pylist() for name in ("auto", "off")]
    assert signals == [["bitstream"] * 3, ["bitstream", "search", "bitstream"]]


def test_auto_goes_on_as_the_cache_was_made(tmp_path: Path, videos: list[Path]) -> None:
    made = make(tmp_path / "cache", videos[:1], "off")
    assert make(tmp_path / "cache", videos, "auto") == made
    assert open_cache(tmp_path / "cache").index["signals"].to_pylist() == ["bitstream", "search", "bitstream"]
    with pytest.raises(CacheError, match="bitstream_reader"):
        make(tmp_path / "cache", videos, "on")


def test_a_cache_is_not_gone_on_with_where_fields_cannot_be_read(
    tmp_path: Path, videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "cache", videos[:1], "auto")
    no_table(monkeypatch)
    with pytest.raises(ConfigError, match=r"decoder_fields \('on'\) cannot be: libavcodec is 1\.2\.3"):
        make(tmp_path / "cache", videos, "auto")
    with pytest.raises(CacheError, match="bitstream_reader"):
        make(tmp_path / "cache", videos, "off")
    assert len(open_cache(tmp_path / "cache")) == 1
    assert make(tmp_path / "new", videos, "auto")["bitstream_reader"] == "ffmpeg"


def test_workers_read_as_one_process_does(tmp_path: Path, videos: list[Path]) -> None:
    make(tmp_path / "one", videos, "auto", workers=0)
    make(tmp_path / "two", videos, "auto", workers=2)
    one, two = open_cache(tmp_path / "one"), open_cache(tmp_path / "two")
    for clip_id in one.index["id"].to_pylist():
        assert one[clip_id].positions.tobytes() == two[clip_id].positions.tobytes()
        assert one[clip_id].patches.tobytes() == two[clip_id].patches.tobytes()


@pytest.mark.parametrize("which", [0, 1])
def test_frames_and_pixels_are_the_same_without(videos: list[Path], which: int) -> None:
    """Only which patches are kept may differ."""
    on, off = (sieve_clip(videos[which], config(asked)) for asked in ("on", "off"))
    assert on.frame_ids.tolist() == off.frame_ids.tolist()
    patches = [
        {tuple(place): patch.tobytes() for place, patch in zip(clip.positions.tolist(), clip.patches, strict=True)}
        for clip in (on, off)
    ]
    both = patches[0].keys() & patches[1].keys()
    assert len(both) >= 6
    assert all(patches[0][place] == patches[1][place] for place in both)


def test_bits_are_spent_where_something_new_is_shown(videos: list[Path]) -> None:
    clip = sieve_clip(videos[0], config("auto", signals="bits"))
    assert clip.signals == "bits"
    assert (clip.slot_scores > 0).any()
    assert not np.array_equal(clip.slot_scores, sieve_clip(videos[0], config("auto")).slot_scores)


def test_bits_need_the_fields(tmp_path: Path, videos: list[Path]) -> None:
    with pytest.raises(ConfigError, match=r"signals \('bits'\) need what decoders keep in memory"):
        precompute(read_inputs(videos), tmp_path / "cache", config("off", signals="bits"), workers=0, device="cpu")
