"""Which patches are kept: ranking, ties, anchors, static clips, and the published selections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codecsieve.kernels.cpu import energy as cpu_energy
from codecsieve.kernels.cpu import select as cpu_select
from codecsieve.kernels.geometry import center_table, geometry
from codecsieve.kernels.reference import energy as reference_energy
from codecsieve.kernels.reference import select as reference_select
from codecsieve.kernels.rules import CAMERA_MODES, SUPPRESS_MODES, Selection

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "selection"

Scores = npt.NDArray[np.integer]

forms = pytest.mark.parametrize("form", [reference_select, cpu_select], ids=["reference", "cpu"])


def random_scores(seed: int = 0, top: int = 255 * 196) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, top + 1, (12, 4, 4))


@settings(deadline=None)  # numba compiles on the first call
@given(
    hnp.arrays(
        st.sampled_from([np.int32, np.int64]),
        st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4)),
        elements=st.integers(-1, 3) | st.integers(0, 50_000),
    ),
    st.integers(1, 160),
    st.booleans(),
    st.sampled_from([0, 60, 126, 255]),
    st.integers(0, 12),
    st.integers(0, 9),
    st.builds(
        Selection,
        suppress=st.sampled_from(SUPPRESS_MODES),
        suppress_slots=st.integers(1, 10),
        suppress_weight=st.sampled_from([0.25, 0.0, 1.0, 0.8, 1 / 3]),
    ),
)
def test_numba_selects_the_same_as_sorting(
    scores: Scores, k_keep: int, static_fallback: bool, threshold: int, frames: int, anchors: int, less: Selection
) -> None:
    static = {"static_fallback": static_fallback, "static_abs_thresh": threshold, "static_uniform_frames": frames}
    rule = replace(less, k_keep=k_keep, anchors=min(anchors, len(scores)), **static)
    kept = reference_select.select_patches(scores, rule)
    assert (cpu_select.select_patches(scores, rule) == kept).all()
    assert kept.dtype == np.int32
    assert len(kept) == min(k_keep, scores.size)
    assert (np.diff(kept) > 0).all()
    assert kept[0] >= 0
    assert kept[-1] < scores.size


@forms
@pytest.mark.parametrize("suppress", SUPPRESS_MODES)
def test_patches_that_show_nothing_come_last(form: ModuleType, suppress: str) -> None:
    scores = np.random.default_rng(0).integers(0, 3, (5, 4, 4))
    scores[:, [0, 3]] = -1  # rows above and below the picture
    rule = Selection(5 * 8, suppress=suppress, suppress_weight=0)
    shown = np.flatnonzero(scores.ravel() >= 0).tolist()
    assert form.select_patches(scores, rule).tolist() == shown
    more = form.select_patches(scores, replace(rule, k_keep=5 * 8 + 3)).tolist()
    assert more == sorted([*shown, 0, 1, 2])
    whole = form.select_patches(scores, replace(rule, k_keep=20, anchors=1)).tolist()
    assert whole[:16] == list(range(16))  # a slot that is kept whole, padding and all
    assert set(whole[16:]) <= set(shown)


@forms
def test_patches_that_show_nothing_do_not_make_a_clip_static(form: ModuleType) -> None:
    lively = np.full((10, 4, 4), 200 * 196)
    lively[:, 1:] = -1
    rule = Selection(4, static_abs_thresh=126, static_rel_thresh=0)
    assert not form.is_static(lively, rule)
    assert form.is_static(np.where(lively > 0, 100 * 196, -1), rule)
    assert form.is_static(np.full((2, 2, 2), -1), rule)


@forms
def test_a_patch_near_a_kept_one_of_its_cell_counts_less(form: ModuleType) -> None:
    scores = np.zeros((6, 1, 2), np.int64)
    scores[:, 0, 0] = [100, 99, 98, 97, 96, 0]
    scores[:, 0, 1] = [0, 0, 0, 30, 0, 0]
    rule = Selection(3, suppress="time", suppress_slots=2, suppress_weight=0.25)
    assert form.select_patches(scores, Selection(3)).tolist() == [0, 2, 4]
    # 100 leaves 24 of slot 1 and of slot 2; slot 3 is far enough; then 30 of the other cell is more than 24.
    assert form.select_patches(scores, rule).tolist() == [0, 6, 7]
    assert form.select_patches(scores, replace(rule, k_keep=4)).tolist() == [0, 2, 6, 7]  # 99 / 4 before 98 / 4
    assert form.select_patches(scores, replace(rule, suppress_weight=1)).tolist() == [0, 2, 4]
    assert form.select_patches(scores, replace(rule, k_keep=12, suppress_weight=0)).tolist() == list(range(12))


@forms
def test_patches_of_whole_slots_make_their_neighbours_count_less(form: ModuleType) -> None:
    scores = np.array([0, 90, 80, 50]).reshape(4, 1, 1)
    rule = Selection(2, anchors=1, suppress="time", suppress_slots=2)
    assert form.select_patches(scores, rule).tolist() == [0, 3]
    assert form.select_patches(scores, replace(rule, suppress="none")).tolist() == [0, 1]


@forms
def test_a_score_shared_by_its_cell_is_divided_by_its_rank_there(form: ModuleType) -> None:
    scores = np.zeros((4, 1, 2), np.int64)
    scores[:, 0, 0] = [90, 90, 30, 60]
    scores[:, 0, 1] = [0, 44, 0, 0]
    assert (reference_select.shared_scores(scores)[:, 0, 0] / 65536).tolist() == [90, 45, 7.5, 20]
    assert form.select_patches(scores, Selection(3, suppress="cell")).tolist() == [0, 2, 3]
    assert form.select_patches(scores, Selection(2, suppress="cell")).tolist() == [0, 2]
    assert form.select_patches(scores, Selection(4, suppress="cell")).tolist() == [0, 2, 3, 6]


@forms
@pytest.mark.parametrize(
    ("rule", "scores", "message"),
    [
        (Selection(1, suppress="space"), 0, r"suppress \('space'\) must be one of none, time, cell"),
        (Selection(1, suppress_slots=0), 0, r"suppress_slots \(0\) must be >= 1"),
        (Selection(1, suppress_weight=1.5), 0, r"suppress_weight \(1.5\) must be in 0..1"),
        (Selection(1, suppress="time"), 2**31, r"scores \(up to 2147483648\) must be <= 2\^31 - 1 for suppress"),
    ],
)
def test_what_cannot_count_less_is_refused(form: ModuleType, rule: Selection, scores: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        form.select_patches(np.array([scores, 0]).reshape(2, 1, 1), rule)


def test_numba_spreads_a_whole_clip_the_same() -> None:
    scores = np.random.default_rng(1).gamma(2, 2000, (64, 4, 4)).astype(np.int64)
    for suppress in ("time", "cell"):
        rule = Selection(300, suppress=suppress)
        kept = cpu_select.select_patches(scores, rule)
        assert (kept == reference_select.select_patches(scores, rule)).all()
        assert (kept != cpu_select.select_patches(scores, Selection(300))).any()


@forms
def test_the_highest_scores_of_the_whole_clip_are_kept(form: ModuleType) -> None:
    scores = random_scores()
    scores[5] += 100_000
    kept = form.select_patches(scores, Selection(20))
    assert set(range(80, 96)) <= set(kept.tolist())
    left_out = np.delete(scores.ravel(), kept)
    assert scores.ravel()[kept].min() >= left_out.max()


@forms
def test_of_equal_scores_the_smaller_index_is_kept(form: ModuleType) -> None:
    assert form.select_patches(np.zeros((3, 2, 2), np.int64), Selection(5)).tolist() == [0, 1, 2, 3, 4]
    scores = np.array([[[1, 2, 1, 2, 1]]])
    assert form.select_patches(scores, Selection(3)).tolist() == [0, 1, 3]


@forms
def test_a_small_clip_is_kept_whole(form: ModuleType) -> None:
    assert form.select_patches(random_scores(), Selection(5000)).tolist() == list(range(12 * 16))


@forms
def test_anchors_are_kept_whole_and_counted(form: ModuleType) -> None:
    scores = random_scores()
    scores[[0, 11]] = 0
    kept = form.select_patches(scores, Selection(40, anchors=2))
    assert len(kept) == 40
    assert set(range(16)) | set(range(176, 192)) <= set(kept.tolist())
    inner = form.select_patches(scores[1:11], Selection(8)) + 16
    assert set(kept.tolist()) - set(range(16)) - set(range(176, 192)) == set(inner.tolist())


@forms
def test_one_anchor_is_the_first_slot(form: ModuleType) -> None:
    assert form.select_patches(random_scores(), Selection(16, anchors=1)).tolist() == list(range(16))


@forms
def test_slots_that_do_not_fit_share_the_budget_evenly(form: ModuleType) -> None:
    kept = form.select_patches(random_scores(), Selection(11, anchors=3))  # slots 0, 5 and 11 of 16 patches
    assert kept.tolist() == [0, 4, 8, 12, 80, 84, 88, 92, 176, 181, 186]


@forms
def test_a_static_clip_keeps_uniform_slots_and_then_the_highest(form: ModuleType) -> None:
    scores = random_scores(top=100 * 196)
    kept = form.select_patches(scores, Selection(70, static_fallback=True))
    slots = set(kept[np.isin(kept // 16, [0, 3, 7, 11])].tolist())
    assert len(slots) == 64
    assert len(kept) == 70
    assert form.select_patches(scores, Selection(70)).tolist() != kept.tolist()


@forms
def test_a_static_clip_of_few_slots_keeps_them_all(form: ModuleType) -> None:
    kept = form.select_patches(np.zeros((2, 4, 4), np.int64), Selection(8, static_fallback=True))
    assert kept.tolist() == [0, 4, 8, 12, 16, 20, 24, 28]


@forms
def test_a_clip_is_static_below_the_threshold_or_at_low_contrast_below_twice_it(form: ModuleType) -> None:
    def clip(p95: int, p50: int) -> Scores:
        return np.array([p50] * 60 + [p95] * 41).reshape(101, 1, 1)

    limit = 126 * 196
    assert form.is_static(clip(limit - 1, 0), Selection())
    assert not form.is_static(clip(limit, 0), Selection())
    assert not form.is_static(clip(30_000, 18_600), Selection())  # contrast 0.38, and not below it
    assert form.is_static(clip(30_000, 18_601), Selection())
    assert form.is_static(clip(2 * limit - 1, 2 * limit - 1), Selection())
    assert not form.is_static(clip(2 * limit, 2 * limit), Selection())
    assert not form.is_static(np.zeros((2, 2, 2), np.int64), Selection(static_abs_thresh=0))


@forms
def test_lively_clips_are_not_changed_by_the_fallback(form: ModuleType) -> None:
    scores = random_scores()
    assert (
        form.select_patches(scores, Selection(50, static_fallback=True)) == form.select_patches(scores, Selection(50))
    ).all()


@forms
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k_keep": 0}, r"k_keep \(0\) must be > 0"),
        ({"anchors": 13}, r"anchors \(13\) must be in \[0, 12\]"),
        ({"anchors": -1}, r"anchors \(-1\) must be in \[0, 12\]"),
        ({"static_uniform_frames": -1}, r"static_uniform_frames \(-1\) must be >= 0"),
        ({"static_fallback": True, "static_abs_thresh": -1}, r"static_abs_thresh \(-1\) must be finite"),
        ({"static_fallback": True, "static_rel_thresh": np.nan}, r"static_rel_thresh \(nan\) must be finite"),
        ({"patch": 0}, r"patch \(0\) must be > 0"),
        ({"scores": np.zeros((2, 2, 2))}, r"scores \(float64\) must be integers"),
        ({"scores": np.zeros((2, 4), np.int64)}, r"scores \(2, 4\) must be \[T, gh, gw\]"),
        ({"scores": np.zeros((0, 4, 4), np.int64)}, r"scores \(0, 4, 4\) must be \[T, gh, gw\]"),
    ],
)
def test_arguments_out_of_range_are_refused(form: ModuleType, arguments: dict[str, object], message: str) -> None:
    options = {name: value for name, value in arguments.items() if name != "scores"}
    scores = arguments.get("scores", random_scores())
    with pytest.raises(ValueError, match=message):
        form.select_patches(scores, Selection(**{"k_keep": 5} | options))


@pytest.fixture(scope="module", params=["bframes", "pan_p_only"])
def golden(request: pytest.FixtureRequest) -> dict[str, npt.NDArray[np.generic]]:
    file = GOLDEN / f"{request.param}.npz"
    if not file.exists():
        pytest.skip(f"golden selections are not at {file}")
    with np.load(file) as arrays:
        return dict(arrays)


def published_mode(mode: str) -> str:
    """The mode of the published code that has ours: on these squares, `rigid` is its `similarity`."""
    return "similarity" if mode == "rigid" else mode


def share(kept: Scores, published: npt.NDArray[np.generic]) -> float:
    return len(np.intersect1d(kept, published)) / len(published)


@pytest.mark.slow
@pytest.mark.parametrize("mode", CAMERA_MODES)
def test_published_selections_are_met(golden: dict[str, npt.NDArray], mode: str) -> None:
    grids = geometry(256, 256, 112, 14)
    signals = golden["motion"], golden["residual"], golden["keyframe"]
    arguments = (grids, center_table(grids, 0.3, 0.35), mode, "weighted", cpu_energy.fuse_weights(1, 1))
    scores = cpu_energy.score_clip(*signals, *arguments)
    assert (scores == reference_energy.score_clip(*signals, *arguments)).all()
    plain = cpu_select.select_patches(scores, Selection(512))
    fallback = cpu_select.select_patches(scores, Selection(512, static_fallback=True, static_abs_thresh=255))
    assert share(plain, golden[f"indices_{published_mode(mode)}"]) >= 0.97
    assert share(fallback, golden[f"indices_static_{published_mode(mode)}"]) >= 0.97


@forms
@pytest.mark.parametrize("mode", [mode for mode in CAMERA_MODES if mode != "rigid"])
def test_published_scores_give_the_published_selections_but_for_ties(
    form: ModuleType, golden: dict[str, npt.NDArray], mode: str
) -> None:
    scores = golden[f"scores_{mode}"]
    for name, options in (
        ("indices", {}),
        ("indices_static", {"static_fallback": True, "static_abs_thresh": 255}),
    ):
        kept = form.select_patches(scores, Selection(512, **options))
        published = golden[f"{name}_{mode}"]
        assert (np.sort(scores.ravel()[kept]) == np.sort(scores.ravel()[published])).all()
