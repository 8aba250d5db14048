"""The public face: names, documentation, and an import that costs next to nothing."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cache_cases import fill, names

import codecsieve as cs
from codecsieve.pipelines.config import DEFAULT_PRESET, PRESETS


def test_importing_loads_nothing_heavy() -> None:
    heavy = ("av", "numba", "pyarrow", "zarr", "numpy", "PIL", "torch")
    program = f"import sys, codecsieve; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_a_cache_needs_no_decoder() -> None:
    program = "import sys, codecsieve; codecsieve.open_cache; print('av' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", cs.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(cs, name)
    assert name in dir(cs)
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        documentation = thing.__doc__ or ""
        assert "Raises" in documentation
        for parameter in list(inspect.signature(thing).parameters.values())[1:]:
            assert f"{parameter.name}:" in documentation
            assert parameter.annotation is not inspect.Parameter.empty


def test_names_of_the_documentation() -> None:
    assert {"read_clip", "score_patches", "select_patches", "sieve", "open_cache"} <= set(cs.__all__)
    assert issubclass(cs.VideoError, ValueError)
    assert cs.__version__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'codecsieve' has no attribute 'siv'"):
        cs.siv  # noqa: B018


def test_signatures_have_the_defaults_of_the_method() -> None:
    def defaults(function: object) -> dict[str, object]:
        parameters = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}

    assert defaults(cs.read_clip) == {
        "num_frames": 64, "signals": "auto", "start": None, "end": None, "size": 224, "patch": 14,
        "decoder_fields": "auto",
    }  # fmt: skip
    assert defaults(cs.score_patches) == {
        "size": 224, "patch": 14, "mv_compensate": "median", "center_prior": 0.3, "center_sigma": 0.35,
        "fuse": "weighted", "w_mv": 1, "w_res": 1,
        "mv_inconsistency": "none", "mv_incon_ksize": 3, "res_use_grad": False, "scale": "slot",
        "fit": "crop",
    }  # fmt: skip
    assert defaults(cs.select_patches) == {
        "static_fallback": False, "static_abs_thresh": 126, "static_rel_thresh": 0.38,
        "static_uniform_frames": 4, "anchors": 0, "patch": 14,
        "suppress": "none", "suppress_slots": 3, "suppress_weight": 0.25,
        "merge": 1, "groups": 1, "groups_by": "equal", "min_group_frames": 8, "max_group_frames": 64,
        "token_order": "raster",
    }  # fmt: skip


def test_the_steps_one_by_one_are_the_sieve(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=20, moving="square")
    whole = cs.sieve(path, num_frames=8, k_keep=50, input_size=112)
    clip = cs.read_clip(path, num_frames=8, size=112)
    scores = cs.score_patches(clip.motion, clip.residual, clip.keyframe, size=112, **PRESETS[DEFAULT_PRESET])
    indices = cs.select_patches(scores, k_keep=50)
    assert scores.dtype == np.int64
    assert scores.shape == (8, 8, 8)
    assert 0 <= scores.min() <= scores.max() <= 255 * 14 * 14
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(whole.slot_scores, scores)
    np.testing.assert_array_equal(whole.indices, indices)
    np.testing.assert_array_equal(whole.frame_ids, clip.frame_ids)


def test_mistakes_are_told(tmp_path: Path, make_video) -> None:
    path = make_video(tmp_path / "clip.mp4", frames=4)
    with pytest.raises(TypeError, match=r"^sieve\(\) has no option k_kep; did you mean k_keep\?$"):
        cs.sieve(path, k_kep=3)
    with pytest.raises(TypeError, match=r"^precompute\(\) has no option worker; did you mean workers\?$"):
        cs.precompute(path, tmp_path / "cache", worker=3)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(TypeError, match=r"^sieve\(\) has no option strat; did you mean start\?$"):
        cs.sieve(path, strat=3)
    with pytest.raises(TypeError, match=r"^stream\(\) has no option windw; did you mean window\?$"):
        cs.stream(path, windw=3)
    with pytest.raises(ValueError, match=r"k_keep \(0\) must be > 0"):
        cs.sieve(path, k_keep=0)
    with pytest.raises(cs.VideoError, match="no such file"):
        cs.sieve(tmp_path / "missing.mp4")
    with pytest.raises(ValueError, match=r"residual \(3, 4\) must be \[T, H, W\]"):
        cs.score_patches(np.zeros((1, 1, 1, 2), np.int16), np.zeros((3, 4), np.uint8), np.zeros(1, bool))


@pytest.mark.slow
def test_precompute_takes_paths_and_all_options(tmp_path: Path, make_video) -> None:
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "one.mp4", frames=8)
    seen: list[cs.Progress] = []
    options = {"num_frames": 4, "k_keep": 16, "input_size": 56}
    summary = cs.precompute(tmp_path / "videos", tmp_path / "cache", workers=0, progress=seen.append, **options)
    assert (summary.made, summary.complete, seen[-1]) == (1, True, cs.Progress(1, 1, 0))
    again = cs.precompute([str(tmp_path / "videos" / "one.mp4")], tmp_path / "cache", workers=0, **options)
    assert (again.made, again.skipped) == (0, 1)
    assert cs.open_cache(tmp_path / "cache").config["k_keep"] == 16
    with pytest.raises(cs.ConfigError, match="preset"):
        cs.precompute(tmp_path / "videos", tmp_path / "cache", preset="best")


@pytest.mark.slow
def test_the_encoder_is_at_hand(tmp_path: Path) -> None:
    program = "import sys, codecsieve as cs; print(cs.encoder is sys.modules['codecsieve.encoder'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
    with pytest.raises(ValueError, match="no such folder, and not a hub id"):
        cs.load_encoder(tmp_path / "missing")


def test_what_torch_is_needed_for_says_so_without_it() -> None:
    program = "import sys; sys.modules['torch'] = None; import codecsieve as cs; cs.make_loader"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "ImportError: codecsieve.make_loader needs torch, which is not installed; pip install 'codecsieve[encoder]'"
    )


@pytest.mark.slow
def test_the_first_batch_comes_soon(tmp_path: Path) -> None:
    """In less than importing torch takes, which any machine can tell; benchmarks/speed/first_batch.py has figures."""
    fill(tmp_path / "cache", names(8))
    program = (
        "import sys, time; import torch; torchs = time.process_time(); import codecsieve as cs\n"
        "next(iter(cs.make_loader(cs.open_cache(sys.argv[1]), batch_size=4)))\n"
        "print(torchs, time.process_time() - torchs)\n"
        "print(*{'zarr', 'av', 'numba', 'PIL', 'duckdb'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "cache")], capture_output=True, text=True, check=True
    )
    seconds, heavy = done.stdout.splitlines()
    assert heavy == ""  # which cost a quarter of a second and more each
    torchs, ours = map(float, seconds.split())
    assert ours < torchs  # a third of it on a quiet machine
