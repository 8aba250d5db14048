"""The choices of patches that are put to the test, by name, and the rule by which one of them wins: both written down
before any of them was tried on the groups that confirm it.

Each is options of the sieve and nothing else, so that whoever likes a row of a table can have it by `precompute`.
"""

from __future__ import annotations

from typing import Any

Options = dict[str, Any]

ONEVISION: Options = {"mv_compensate": "similarity", "static_fallback": True, "center_prior": 0.3}
"""The published probe's own defaults."""
CONTRAST: Options = {"mv_inconsistency": "mean", "mv_incon_ksize": 9, "center_prior": 0.0}
"""Motion against that of the 9x9 cells about it, wherever in the picture; how that is fused and scaled varies."""
PRODUCT: Options = {**CONTRAST, "fuse": "product", "scale": "none"}
CLIP: Options = {**CONTRAST, "scale": "clip"}

PUBLISHED: dict[str, Options] = {
    "onevision": ONEVISION,
    "onevision, no static fallback": {**ONEVISION, "static_fallback": False},
    "onevision, variance 3x3": {**ONEVISION, "mv_inconsistency": "variance"},
    "onevision, variance 3x3, gradient": {**ONEVISION, "mv_inconsistency": "variance", "res_use_grad": True},
    "onevision-lmm": {"mv_compensate": "median", "center_prior": 0.0},
    "median, prior 0.3": {},
    "surprise": {"w_res": 3.0},
}
"""What OneVision-Encoder does in its evaluations; what was the default here; the preset that counts residual more."""

CONTENDERS: dict[str, Options] = {
    "product": PRODUCT,
    "clip": CLIP,
    "geomean": {**CONTRAST, "fuse": "geomean", "scale": "none"},
    "sum": {**CONTRAST, "scale": "none"},
    "slot": CONTRAST,
    "product, prior 0.3": {**PRODUCT, "center_prior": 0.3},
    "clip, prior 0.3": {**CLIP, "center_prior": 0.3},
    "geomean, prior 0.3": {**CONTRAST, "fuse": "geomean", "scale": "none", "center_prior": 0.3},
    "clip, residual 3": {**CLIP, "w_res": 3.0},
    "slot, residual 3": {**CONTRAST, "w_res": 3.0},
    "product, suppress time": {**PRODUCT, "suppress": "time"},
    "product, suppress cell": {**PRODUCT, "suppress": "cell"},
    "clip, suppress time": {**CLIP, "suppress": "time"},
    "clip, suppress cell": {**CLIP, "suppress": "cell"},
}
"""The family of which `contrast` is one; simpler ones first.

The rule: on the odd groups, trained and tested within these alone, the mean accuracy over 98 and 196 tokens, both
readouts, the clips and their twin with a moving camera, and `search` and `bitstream` on each. The highest mean wins;
but of all that are within half a point of it the first named here, for being simpler. The even groups then say whether
it holds, and by how much.
"""

ABLATIONS: dict[str, Options] = {
    **{f"product, {side}x{side}": {**PRODUCT, "mv_incon_ksize": side} for side in (3, 5, 13, 17)},
    **{f"clip, {side}x{side}": {**CLIP, "mv_incon_ksize": side} for side in (3, 5, 13, 17)},
    **{f"camera {mode}": {"mv_compensate": mode} for mode in ("none", "mean", "similarity", "rigid", "affine")},
    "median, no prior": {"center_prior": 0.0},
    "median, scale clip": {"scale": "clip"},
    "median, scale none": {"scale": "none"},
    "median, suppress time": {"suppress": "time"},
    "median, suppress cell": {"suppress": "cell"},
    "variance 3x3, median": {"mv_inconsistency": "variance"},
}
"""What each step is worth by itself. Nothing is chosen by these."""

DIFFERENCE: Options = {"w_mv": 0.0, "center_prior": 0.0, "scale": "none"}
"""With `--signals difference`: mean absolute difference of luma to the frame before, and nothing else."""
SPREAD_DIFFERENCE: dict[str, Options] = {
    "frame difference": DIFFERENCE,
    "frame difference, suppress time": {**DIFFERENCE, "suppress": "time"},
    "frame difference, suppress cell": {**DIFFERENCE, "suppress": "cell"},
}


def compared(names: tuple[str, ...]) -> dict[str, Options]:
    """Contenders by name, with the published choice and what was the default."""
    return {"onevision": ONEVISION, "median, prior 0.3": {}, **{name: CONTENDERS[name] for name in names}}


CANDIDATES: dict[str, Options] = {**PUBLISHED, **CONTENDERS, **ABLATIONS}
"""All that codec signals choose by."""
