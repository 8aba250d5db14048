"""Energy of motion and residual, and the scores of patches: their meaning, and numba bit for bit."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codecsieve.kernels.cpu import energy as cpu_energy
from codecsieve.kernels.geometry import Geometry, center_table, geometry
from codecsieve.kernels.reference import energy as reference_energy
from codecsieve.kernels.reference.energy import ENERGY_ONE, fuse_weights
from codecsieve.kernels.rules import CAMERA_MODES, FITS, FUSE_MODES, INCONSISTENCY_MODES, SCALE_MODES, Measure

forms = pytest.mark.parametrize("form", [reference_energy, cpu_energy], ids=["reference", "cpu"])
# numba compiles on the first call.
compiling = settings(deadline=None)

EQUAL = fuse_weights(1, 1)
measures = st.builds(
    Measure,
    mv_inconsistency=st.sampled_from(INCONSISTENCY_MODES),
    mv_incon_ksize=st.sampled_from(range(3, 18, 2)),
    res_use_grad=st.booleans(),
    scale=st.sampled_from(SCALE_MODES),
)
weights = st.tuples(st.floats(0, 100), st.floats(0.001, 100)).map(lambda w: fuse_weights(*w))


@st.composite
def slots(
    draw: st.DrawFn,
) -> tuple[Geometry, npt.NDArray[np.int16], npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """A picture of any size, its motion and residual (dense, extreme, sparse or zero), a centre table."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    grids = geometry(height, width, *draw(st.sampled_from([(28, 14), (56, 7), (224, 14)])), draw(st.sampled_from(FITS)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    cells = (grids.cells_height, grids.cells_width)
    reach = draw(st.sampled_from([0, 1, 40, 32767]))
    motion = rng.integers(-reach, reach + 1, (*cells, 2)) * (rng.random((*cells, 1)) < draw(st.floats(0, 1)))
    top = draw(st.sampled_from([0, 1, 9, 255]))
    residual = rng.integers(0, top + 1, (height, width)) * (rng.random((height, width)) < draw(st.floats(0, 1)))
    table = center_table(grids, draw(st.sampled_from([0.0, 0.3, 7.0])), draw(st.floats(0, 1)))
    return grids, motion.astype(np.int16), residual.astype(np.uint8), table


@pytest.mark.slow
@compiling
@given(slots(), st.sampled_from(CAMERA_MODES), st.sampled_from(FUSE_MODES), weights)
def test_numba_scores_the_same_bit_for_bit(
    slot: tuple[Geometry, npt.NDArray[np.int16], npt.NDArray[np.uint8], npt.NDArray[np.int32]],
    mode: str,
    fuse: str,
    mixed: tuple[int, int],
) -> None:
    grids, motion, residual, table = slot
    scores = reference_energy.slot_scores(motion, residual, grids, table, mode, fuse, mixed)
    ours = cpu_energy.slot_scores(motion, residual, grids, table, mode, fuse, mixed)
    assert ours.dtype == scores.dtype == np.int64
    assert (ours == scores).all()
    np.testing.assert_array_equal(scores < 0, grids.unscored < 0)
    assert scores.min() >= -1
    assert scores.max() <= 255 * grids.patch**2
    counts = cpu_energy.residual_histogram(residual)
    assert (counts == reference_energy.residual_histogram(residual)).all()


@pytest.mark.slow
@compiling
@given(
    slots(),
    st.integers(0, 2**32),
    st.sampled_from(CAMERA_MODES),
    st.sampled_from(FUSE_MODES),
    measures,
    st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_numba_scores_clips_the_same_whatever_is_measured(
    slot: tuple[Geometry, npt.NDArray[np.int16], npt.NDArray[np.uint8], npt.NDArray[np.int32]],
    seed: int,
    mode: str,
    fuse: str,
    measure: Measure,
    keyframe: list[bool],
) -> None:
    grids, motion, residual, table = slot
    rng = np.random.default_rng(seed)
    clip = np.stack([motion >> np.int16(rng.integers(0, 9)) for _ in keyframe])
    residuals = np.stack([residual >> np.uint8(rng.integers(0, 5)) for _ in keyframe])
    arguments = (clip, residuals, np.array(keyframe), grids, table, mode, fuse, EQUAL, measure)
    scores = reference_energy.score_clip(*arguments)
    assert (cpu_energy.score_clip(*arguments) == scores).all()
    assert ((scores < 0) == (grids.unscored < 0)).all()
    assert scores.max() <= 255 * grids.patch**2


@compiling
@given(
    hnp.arrays(np.int32, (5, 9), elements=st.integers(0, ENERGY_ONE)),
    hnp.arrays(np.uint8, (18, 33)),
    st.integers(1, 255),
    st.sampled_from(FUSE_MODES),
    weights,
)
def test_numba_fuses_and_averages_the_same(
    motion: npt.NDArray[np.int32],
    residual: npt.NDArray[np.uint8],
    limit: int,
    fuse: str,
    mixed: tuple[int, int],
) -> None:
    table = center_table(geometry(18, 33, 14, 14), 7, 0.35)
    energy = reference_energy.cell_energy(motion, residual, limit, table, fuse, mixed)
    assert (cpu_energy.cell_energy(motion, residual, limit, table, fuse, mixed) == energy).all()
    assert ((energy >= 0) & (energy <= ENERGY_ONE)).all()


@compiling
@given(hnp.arrays(np.int32, (6, 11), elements=st.integers(0, 2**20 - 1) | st.integers(0, 3)))
def test_numba_measures_the_same_motion_energy(lengths: npt.NDArray[np.int32]) -> None:
    assert (cpu_energy.motion_energy(lengths) == reference_energy.motion_energy(lengths)).all()


@forms
def test_motion_is_measured_against_its_95th_percentile(form: ModuleType) -> None:
    lengths = np.arange(1, 101, dtype=np.int32).reshape(10, 10)
    energy = form.motion_energy(lengths).ravel()
    # Rank floor(95 * 99 / 100) = 94 holds the length 95.
    assert energy[94:].tolist() == [ENERGY_ONE] * 6
    assert energy[18] == round(ENERGY_ONE * 19 / 95)
    assert energy[0] == round(ENERGY_ONE / 95)


@forms
def test_a_picture_at_rest_has_no_energy_of_motion(form: ModuleType) -> None:
    lengths = np.zeros((10, 10), np.int32)
    assert (form.motion_energy(lengths) == 0).all()
    lengths[0, 0] = 1
    assert form.motion_energy(lengths)[0, 0] == ENERGY_ONE


@forms
def test_the_residual_limit_is_the_lower_95th_percentile_and_at_least_1(form: ModuleType) -> None:
    assert form.residual_limit(form.residual_histogram(np.zeros((9, 9), np.uint8))) == 1
    ramp = np.arange(100, dtype=np.uint8).reshape(4, 25)
    assert form.residual_limit(form.residual_histogram(ramp)) == np.percentile(ramp, 95, method="lower") == 94


@forms
def test_the_histogram_counts_views_and_read_only_pictures(form: ModuleType) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 51)).astype(np.uint8)
    view = picture[3:, 5:-2]
    picture.setflags(write=False)
    assert (form.residual_histogram(view) == np.bincount(view.ravel(), minlength=256)).all()
    assert form.residual_histogram(picture).sum() == 40 * 51


@forms
@pytest.mark.parametrize(
    ("fuse", "mixed", "expected"),
    [
        ("weighted", EQUAL, 0.5 * 0.5 + 0.5 * 0.2),
        ("weighted", fuse_weights(3, 1), 0.75 * 0.5 + 0.25 * 0.2),
        ("weighted", fuse_weights(0, 2), 0.2),
        ("max", EQUAL, 0.5),
        ("sum", EQUAL, 0.7),
        ("geomean", EQUAL, (0.5 * 0.2) ** 0.5),
        ("product", EQUAL, (0.5 * 0.2) ** 0.5),
    ],
)
def test_each_fuse_mode_means_what_it_says(
    form: ModuleType, fuse: str, mixed: tuple[int, int], expected: float
) -> None:
    table = np.full((2, 2), 4096, np.int32)
    motion = np.full((2, 2), ENERGY_ONE // 2, np.int32)
    residual = np.full((7, 6), 20, np.uint8)
    energy = form.cell_energy(motion, residual, 100, table, fuse, mixed)
    assert np.abs(energy / ENERGY_ONE - expected).max() < 1e-4


@forms
def test_the_sum_and_the_lift_are_clipped_at_one_in_each_pixel(form: ModuleType) -> None:
    residual = np.zeros((4, 4), np.uint8)
    residual[:2] = 10
    full = np.full((1, 1), ENERGY_ONE, np.int32)
    half = np.full((1, 1), ENERGY_ONE // 2, np.int32)
    one, double = np.full((1, 1), 4096, np.int32), np.full((1, 1), 8192, np.int32)
    assert form.cell_energy(full, residual, 10, one, "sum", EQUAL) == ENERGY_ONE
    # Half of the pixels are at 1.0 and stay there, the other half are lifted from 0.25 to 0.5.
    assert form.cell_energy(half, residual, 10, double, "weighted", EQUAL) == ENERGY_ONE * 3 // 4


@forms
def test_a_product_takes_the_residual_of_cells_and_the_geometric_mean_that_of_pixels(form: ModuleType) -> None:
    residual = np.zeros((4, 4), np.uint8)
    residual[0] = 100
    full, one, double = (np.full((1, 1), value, np.int32) for value in (ENERGY_ONE, 4096, 8192))
    assert form.cell_energy(full, residual, 100, one, "geomean", EQUAL) == ENERGY_ONE // 4
    assert form.cell_energy(full, residual, 100, one, "product", EQUAL) == ENERGY_ONE // 2
    assert form.cell_energy(full, residual, 100, double, "product", EQUAL) == ENERGY_ONE
    # sqrt(2 * 16 000) = 178.9, rounded.
    residual[:] = 1
    assert form.cell_energy(np.full((1, 1), 2, np.int32), residual, 4, one, "product", EQUAL) == round(
        (2 * 65280 / 4) ** 0.5
    )


@forms
def test_a_percentile_is_that_of_the_slot_or_of_the_clip_or_none(form: ModuleType) -> None:
    grids = geometry(56, 56, 28, 14)
    table = center_table(grids, 0, 0.35)
    motion = np.zeros((3, 14, 14, 2), np.int16)
    motion[1], motion[2] = (0, 8), (4, 0)  # 2 px and 1 px
    residual = np.zeros((3, 56, 56), np.uint8)
    residual[1], residual[2] = 10, 40
    keyframe = np.array([True, False, False])

    def scores(scale: str, w_mv: float) -> list[float]:
        mixed = fuse_weights(w_mv, 1 - w_mv)
        found = form.score_clip(
            motion, residual, keyframe, grids, table, "none", "weighted", mixed, Measure(scale=scale)
        )
        assert (found == found[:, :1, :1]).all()
        return (found[:, 0, 0] / 196 / 255).round(3).tolist()

    assert (scores("slot", 1), scores("slot", 0)) == ([0, 1, 1], [0, 1, 1])
    assert (scores("clip", 1), scores("clip", 0)) == ([0, 1, 0.5], [0, 0.25, 1])
    assert (scores("none", 1), scores("none", 0)) == ([0, 0.125, 0.063], [0, 0.039, 0.157])


@forms
def test_a_clip_of_keyframes_has_no_percentile(form: ModuleType) -> None:
    grids = geometry(30, 44, 28, 14)
    signals = np.ones((2, 8, 11, 2), np.int16), np.ones((2, 30, 44), np.uint8), np.ones(2, bool)
    arguments = grids, center_table(grids, 0.3, 0.35), "median", "product", EQUAL, Measure(scale="clip")
    assert (form.score_clip(*signals, *arguments) == 0).all()


@forms
@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (Measure("median"), r"mv_inconsistency \('median'\) must be one of none, mean, variance"),
        (Measure(mv_incon_ksize=4), r"mv_incon_ksize \(4\) must be odd and in 3..17"),
        (Measure(mv_incon_ksize=19), r"mv_incon_ksize \(19\) must be odd and in 3..17"),
        (Measure(scale="picture"), r"scale \('picture'\) must be one of slot, clip, none"),
    ],
)
def test_what_cannot_be_measured_is_refused(form: ModuleType, measure: Measure, message: str) -> None:
    grids = geometry(30, 44, 28, 14)
    signals = np.zeros((8, 11, 2), np.int16), np.zeros((30, 44), np.uint8)
    with pytest.raises(ValueError, match=message):
        form.slot_scores(*signals, grids, center_table(grids, 0.3, 0.35), "median", "max", EQUAL, measure)


@forms
def test_cells_at_the_edge_average_the_pixels_they_have(form: ModuleType) -> None:
    residual = np.full((5, 6), 7, np.uint8)
    still, table = np.zeros((2, 2), np.int32), np.full((2, 2), 4096, np.int32)
    assert (form.cell_energy(still, residual, 7, table, "max", EQUAL) == ENERGY_ONE).all()


@forms
def test_a_patch_scores_its_mean_level_times_its_pixels(form: ModuleType) -> None:
    grids = geometry(90, 61, 56, 14)
    energy = np.full((grids.cells_height, grids.cells_width), 100 * 256, np.int32)
    assert (form.pool_scores(energy, grids.pool_y, grids.pool_x, 14) == 100 * 14 * 14).all()


@forms
def test_surprise_in_one_place_scores_in_the_patch_that_shows_it(form: ModuleType) -> None:
    grids = geometry(224, 224, 224, 14)
    residual = np.zeros((224, 224), np.uint8)
    residual[56:70, 140:154] = 200
    motion = np.zeros((56, 56, 2), np.int16)
    scores = form.slot_scores(
        motion, residual, grids, center_table(grids, 0, 0.35), "none", "weighted", fuse_weights(0, 1)
    )
    assert scores[4, 10] == scores.max() > 0.8 * 255 * 196
    scores[3:6, 9:12] = 0
    assert (scores == 0).all()


@forms
def test_what_the_crop_leaves_out_does_not_score(form: ModuleType) -> None:
    grids = geometry(32, 128, 28, 14)
    energy = np.full((8, 32), ENERGY_ONE, np.int32)
    energy[:, 12:20] = 0
    assert (form.pool_scores(energy, grids.pool_y, grids.pool_x, 14) == 0).all()


@forms
def test_keyframes_of_a_clip_score_nothing(form: ModuleType) -> None:
    grids = geometry(30, 44, 28, 14)
    rng = np.random.default_rng(0)
    motion = rng.integers(-9, 10, (3, 8, 11, 2)).astype(np.int16)
    residual = rng.integers(0, 256, (3, 30, 44)).astype(np.uint8)
    table = center_table(grids, 0.3, 0.35)
    arguments = (grids, table, "median", "weighted", EQUAL)
    scores = form.score_clip(motion, residual, np.array([True, False, False]), *arguments)
    assert scores.dtype == np.int64
    assert (scores[0] == 0).all()
    assert (scores[2] == form.slot_scores(motion[2], residual[2], *arguments)).all()
    assert (scores[1:] > 0).all()


@forms
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"motion": np.zeros((2, 8, 12, 2), np.int16)}, r"motion \(2, 8, 12, 2\) must be \(2, 8, 11, 2\)"),
        ({"motion": np.zeros((1, 8, 11, 2), np.int16)}, r"motion \(1, 8, 11, 2\) must be \(2, 8, 11, 2\)"),
        ({"motion": np.zeros((2, 8, 11, 2), np.int32)}, r"motion \(int32\) must be int16"),
        ({"residual": np.zeros((2, 30, 43), np.uint8)}, r"residual \(2, 30, 43\) must be \[T, 30, 44\]"),
        ({"residual": np.zeros((2, 30, 44), np.int8)}, r"residual \(int8\) must be uint8"),
        ({"keyframe": np.zeros(3, bool)}, r"keyframe \(3,\) must be \(2,\)"),
        ({"keyframe": np.zeros(2, np.uint8)}, r"keyframe \(uint8\) must be bool"),
        ({"mode": "zoom"}, r"camera mode \('zoom'\) must be one of"),
        ({"fuse": "min"}, r"fuse \('min'\) must be one of"),
    ],
)
def test_signals_of_another_shape_or_mode_are_refused(
    form: ModuleType, change: dict[str, object], message: str
) -> None:
    grids = geometry(30, 44, 28, 14)
    arguments: dict[str, object] = {
        "motion": np.zeros((2, 8, 11, 2), np.int16),
        "residual": np.zeros((2, 30, 44), np.uint8),
        "keyframe": np.zeros(2, bool),
        "geometry": grids,
        "table": center_table(grids, 0.3, 0.35),
        "mode": "median",
        "fuse": "weighted",
        "weights": EQUAL,
    }
    with pytest.raises(ValueError, match=message):
        form.score_clip(**(arguments | change))


@pytest.mark.parametrize("top", [0, 1, 30, 255])
def test_numba_scores_a_large_picture_bit_for_bit(top: int) -> None:
    rng = np.random.default_rng(top)
    grids = geometry(501, 1003, 224, 14)
    residual = np.minimum(rng.geometric(0.1, (501, 1003)), top).astype(np.uint8)
    motion = rng.normal(0, 20, (126, 251, 2)).astype(np.int16)
    table = center_table(grids, 0.3, 0.35)
    arguments = motion, residual, grids, table, "median", "weighted", EQUAL
    scores = reference_energy.slot_scores(*arguments)
    assert (cpu_energy.slot_scores(*arguments) == scores).all()


def test_weights_count_by_their_ratio() -> None:
    assert fuse_weights(1, 1) == fuse_weights(0.001, 0.001) == fuse_weights(1e300, 1e300) == (8192, 8192)
    assert fuse_weights(3, 1) == (12288, 4096)
    assert fuse_weights(1, 0) == (16384, 0)


@pytest.mark.parametrize("pair", [(0, 0), (-1, 2), (1, float("nan")), (float("inf"), 1)])
def test_weights_that_mean_nothing_are_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"w_mv|w_res"):
        fuse_weights(*pair)


@forms
def test_no_slots_have_no_scores(form: ModuleType) -> None:
    grids = geometry(20, 30, 28, 14, "letterbox")
    signals = np.zeros((0, 5, 8, 2), np.int16), np.zeros((0, 20, 30), np.uint8), np.zeros(0, bool)
    scores = form.score_clip(*signals, grids, center_table(grids, 0.3, 0.35), "median", "max", EQUAL)
    assert (scores.dtype, scores.shape) == (np.int64, (0, 2, 2))
