"""Scores and selection of a clip's patches for arrays that a caller has, wherever these are.

Numpy arrays take the processor's form of a kernel, torch's tensors of a CUDA device that of their GPU. Pipelines know
where their arrays are, and call a form directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, Union

import numpy as np

from codecsieve.kernels.cpu import energy as on_cpu
from codecsieve.kernels.cpu import select as select_on_cpu
from codecsieve.kernels.geometry import Geometry, center_table, geometry
from codecsieve.kernels.groups import seen_slots, select_in_groups
from codecsieve.kernels.reference.energy import check_signals, fuse_weights
from codecsieve.kernels.reference.select import check_selection
from codecsieve.kernels.rules import Grouping, Measure, Scoring, Selection

if TYPE_CHECKING:
    import torch

Array: TypeAlias = Union[np.ndarray, "torch.Tensor"]


def score_patches(
    motion: Array,
    residual: Array,
    keyframe: Array,
    size: int = 224,
    patch: int = Selection.patch,
    mv_compensate: str = Scoring.mv_compensate,
    center_prior: float = Scoring.center_prior,
    center_sigma: float = Scoring.center_sigma,
    fuse: str = Scoring.fuse,
    w_mv: float = Scoring.w_mv,
    w_res: float = Scoring.w_res,
    mv_inconsistency: str = Measure.mv_inconsistency,
    mv_incon_ksize: int = Measure.mv_incon_ksize,
    res_use_grad: bool = Measure.res_use_grad,
    scale: str = Measure.scale,
    fit: str = "crop",
) -> Array:
    """Temporal saliency of every patch of a clip.

    Per slot: camera motion is taken out of the motion, its magnitude and the residual are divided by their 95th
    percentile and clipped to 1, fused, lifted towards the centre, and averaged over each patch (OneVision-Encoder,
    arXiv 2602.08683). All integer: every device gives the same bits. Numpy arrays are scored on the processor,
    torch tensors of a CUDA device on that device.

    Args:
        motion: int16 [T, ceil(H / 4), ceil(W / 4), 2], quarter-pel, x then y.
        residual: uint8 [T, H, W].
        keyframe: bool [T]; these slots score 0.
        size: the picture's short side is seen as this many model pixels, centre cropped to a square; see `fit`.
        patch: side of a patch in model pixels; size must be a multiple of it.
        mv_compensate: none, mean, median, similarity, rigid, affine.
        center_prior: how much more the centre counts.
        center_sigma: width of that prior, as a part of the short side.
        fuse: weighted, max, sum, geomean; or product, the geometric mean of each cell's motion and mean residual.
        w_mv: weight of motion, for `weighted`.
        w_res: weight of residual, for `weighted`.
        mv_inconsistency: what stands for a cell's motion: its length (none), that of its difference from the mean
            around it (mean), or the variance of lengths there (variance).
        mv_incon_ksize: side of the square around it in cells, odd: 3 to 17.
        res_use_grad: half the sum of the residual's differences across and down stand for it.
        scale: what counts as 1: 95th percentiles of the slot, of the whole clip, or (none) 16 px and a residual of 255.
            On a CUDA device, slot or none.
        fit: crop; or letterbox: the long side is seen as `size` model pixels, and the picture centred on padding.

    Returns:
        int64 [T, size / patch, size / patch]: energy (0..255) summed over the patch's pixels, so that
        score / patch**2 is the patch's mean energy, 0..255; -1 for a patch that is padding only.

    Raises:
        ValueError: shapes that do not fit each other, or an option out of range.
    """
    if residual.ndim != 3:
        raise ValueError(f"residual {tuple(residual.shape)} must be [T, H, W]")
    grids = geometry(residual.shape[1], residual.shape[2], size, patch, fit)
    table = center_table(grids, center_prior, center_sigma)
    weights = fuse_weights(w_mv, w_res)
    measure = Measure(mv_inconsistency, mv_incon_ksize, res_use_grad, scale)
    return score_clip(motion, residual, keyframe, grids, table, mv_compensate, fuse, weights, measure)


def select_patches(
    scores: Array,
    k_keep: int,
    static_fallback: bool = Selection.static_fallback,
    static_abs_thresh: float = Selection.static_abs_thresh,
    static_rel_thresh: float = Selection.static_rel_thresh,
    static_uniform_frames: int = Selection.static_uniform_frames,
    anchors: int = Selection.anchors,
    patch: int = Selection.patch,
    suppress: str = Selection.suppress,
    suppress_slots: int = Selection.suppress_slots,
    suppress_weight: float = Selection.suppress_weight,
    merge: int = 1,
    groups: int = Grouping.groups,
    groups_by: str = Grouping.by,
    min_group_frames: int = Grouping.min_frames,
    max_group_frames: int = Grouping.max_frames,
    token_order: str = "raster",
) -> Array:
    """The patches worth keeping: top-K of the whole clip, or of each group of slots, not of each slot.

    The selection is made on the processor; torch tensors go there and back.

    Args:
        scores: int [T, gh, gw], as `score_patches` gives them.
        k_keep: K, patches to keep; all of them where the clip has fewer.
        static_fallback: keep some slots whole of a clip in which little happens, then the top-K of the rest.
        static_abs_thresh: a clip is static if the 95th percentile of its patches' mean energy is below this ...
        static_rel_thresh: ... or below twice that, with (p95 - p50) / p95 below this.
        static_uniform_frames: how many uniformly spaced slots a static clip keeps whole.
        anchors: uniformly spaced slots kept whole in any clip, counted in K.
        patch: side of a patch in model pixels, for the mean energy.
        suppress: what makes scores count less where others of the same row and column are kept: none; time, a kept one
            in a slot nearby; cell, its rank among all of them, by which it is divided.
        suppress_slots: slots before and behind a kept patch that are nearby, for `time`.
        suppress_weight: what a score counts there of itself, for `time`.
        merge: side of the blocks of patches of which all are kept or none; gh, gw and k_keep must be whole blocks'.
        groups: groups of slots of which each keeps k_keep / groups as if it were a clip.
        groups_by: equal, as many slots a group; motion, as much energy, see `groups.group_edges`.
        min_group_frames: slots that a group by motion has at least.
        max_group_frames: slots that a group by motion has at most.
        token_order: raster, patches or blocks row by row; zigzag, every second row of a slot from right to left.

    Returns:
        int32 [K]: slot * gh * gw + row * gw + column, ascending but for `merge` and `token_order`. Of equal scores the
        smaller index is kept.

    Raises:
        ValueError: an option out of range.
    """
    if merge < 1 or groups < 1 or k_keep % (groups * merge**2):
        raise ValueError(
            f"k_keep ({k_keep}) must be a multiple of groups ({groups}) times the square of merge ({merge}), both >= 1"
        )
    on_host = np.ascontiguousarray(scores) if isinstance(scores, np.ndarray) else scores.cpu().numpy()
    static = static_fallback, static_abs_thresh, static_rel_thresh, static_uniform_frames
    spread_out = suppress, suppress_slots, suppress_weight
    rule = Selection(k_keep // (groups * merge**2), *static, anchors, patch * merge, *spread_out)
    grouping = Grouping(groups, groups_by, min_group_frames, max_group_frames)
    check_selection(on_host, rule)

    def keep(group: np.ndarray) -> np.ndarray:
        return select_on_cpu.select_patches(seen_slots(group, rule), rule)

    kept = select_in_groups(on_host, merge, grouping, keep, token_order)
    if isinstance(scores, np.ndarray):
        return kept
    import torch

    return torch.from_numpy(kept).to(scores.device)


def score_clip(
    motion: Array,
    residual: Array,
    keyframe: Array,
    grids: Geometry,
    table: np.ndarray,
    mode: str,
    fuse: str,
    weights: tuple[int, int],
    measure: Measure = Measure(),  # noqa: B008  # it is frozen
) -> Array:
    """`reference.energy.score_clip` of numpy arrays, or of torch tensors of one CUDA device: the same bits.

    Raises:
        ValueError: a shape, dtype or mode is wrong, tensors are on no CUDA device, or what is to be measured of them
            can be measured on the processor only.
    """
    if isinstance(motion, np.ndarray):
        arrays = np.ascontiguousarray(motion), np.ascontiguousarray(residual), np.asarray(keyframe, bool)
        return on_cpu.score_clip(*arrays, grids, table, mode, fuse, weights, measure)
    import torch

    from codecsieve.kernels.gpu import score_slots

    shown = np.asarray(keyframe.cpu() if isinstance(keyframe, torch.Tensor) else keyframe, bool)
    tensors = ("motion", motion, torch.int16), ("residual", residual, torch.uint8)
    for name, tensor, dtype in tensors:
        if not isinstance(tensor, torch.Tensor) or tensor.dtype != dtype:
            raise ValueError(f"{name} ({getattr(tensor, 'dtype', type(tensor))}) must be a tensor of {dtype}")
    check_signals(_without_data(motion, np.int16), _without_data(residual, np.uint8), shown, grids)
    scores = torch.tensor(grids.unscored, device=motion.device).repeat(len(shown), 1, 1)
    rows = torch.from_numpy(np.flatnonzero(~shown)).to(motion.device)
    if len(rows):
        scores[rows] = score_slots(motion[rows], residual[rows], grids, table, mode, fuse, weights, measure=measure)
    return scores


def _without_data(tensor: Any, dtype: Any) -> np.ndarray:
    """An array of a tensor's shape that takes no memory: shapes are checked as those of arrays are."""
    return np.broadcast_to(np.zeros((), dtype), tuple(tensor.shape))
