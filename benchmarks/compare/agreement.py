"""How far the selection agrees with selections that the published method made from the same signals.

    python -m benchmarks.compare.agreement FOLDER

FOLDER holds .npz files with `motion`, `residual`, `keyframe`, `k_keep`, `size` and, for each camera mode M of that
method (`rigid` is ours alone), `indices_M` and `indices_static_M` (static fallback at 255).
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from benchmarks.common import save, show
from codecsieve.kernels.dispatch import score_patches, select_patches
from codecsieve.kernels.rules import CAMERA_MODES


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
def main(folder: Path) -> None:
    """Compare every case; print the table; write the JSON."""
    rows = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as case:
            for mode in (mode for mode in CAMERA_MODES if f"indices_{mode}" in case):
                scores = score_patches(
                    case["motion"], case["residual"], case["keyframe"], size=int(case["size"]), mv_compensate=mode
                )
                row: dict[str, object] = {"case": path.stem, "camera": mode}
                for name, static in (("indices", False), ("indices_static", True)):
                    k_keep = int(case["k_keep"])
                    ours = select_patches(scores, k_keep, static_fallback=static, static_abs_thresh=255)
                    row[name] = len(np.intersect1d(ours, case[f"{name}_{mode}"])) / k_keep
                rows.append(row)
    show("Part of the indices in common", list(rows[0]), [list(row.values()) for row in rows])
    save("agreement", {"cases": rows})


if __name__ == "__main__":
    main()
