"""What the options change: the same clip sieved in several ways, and how many patches these have in common.

    python examples/compare_selections.py [VIDEO]

Fewer patches are a part of more, since the highest scores are kept. Other signals keep other patches. `sampling` and
`random` ignore the signals; they are there to compare with.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import codecsieve as cs
from codecsieve.pipelines.demo import carried_videos

WAYS: dict[str, dict[str, Any]] = {
    "as published": {},
    "half as many": {"k_keep": 256},
    "block matching": {"signals": "search"},
    "frame difference": {"signals": "difference"},
    "camera left in": {"mv_compensate": "none"},
    "residual counts more": {"w_res": 3.0},
    "one whole slot": {"anchors": 1},
    "whole frames": {"policy": "sampling"},
    "random": {"policy": "random"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?")
    video = parser.parse_args().video or carried_videos()[0]

    common = {"num_frames": 32, "k_keep": 512}
    first = None
    print(f"{'selection':22}{'signals':12}{'patches':>8}{'slots':>7}{'as published':>14}")
    for name, options in WAYS.items():
        clip = cs.sieve(video, **common | options)
        first = clip if first is None else first
        slots = len(np.unique(clip.positions[:, 0]))
        shared = np.isin(clip.indices, first.indices).mean()
        print(f"{name:22}{clip.signals:12}{len(clip.indices):8}{slots:7}{shared:14.0%}")


if __name__ == "__main__":
    main()
