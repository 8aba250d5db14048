"""One clip, without a cache: what `sieve` returns, and where its patches belong.

    python examples/sieve_one_clip.py [VIDEO] [--out kept.png]

A patch comes with its position: slot, row and column. Put back there, on grey, the patches show what was kept of a few
of the clip's slots. Without a video, one of those that `pip install 'codecsieve[demo]'` brings is taken.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

import codecsieve as cs
from codecsieve.pipelines.demo import carried_videos

SHOWN_SLOTS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?")
    parser.add_argument("--out", default="kept.png")
    arguments = parser.parse_args()

    clip = cs.sieve(arguments.video or carried_videos()[0], k_keep=1024)
    print(f"{clip.codec}, {clip.width}x{clip.height}, {clip.frames} frames; signals: {clip.signals}")
    print(f"patches   {clip.patches.dtype} {clip.patches.shape}")
    print(f"positions {clip.positions.dtype} {clip.positions.shape}: slot, row, column")
    print(f"{clip.pictures_decoded} pictures were decoded for {len(clip.frame_ids)} slots")

    slots, rows, columns = clip.slot_scores.shape
    shown = np.linspace(0, slots - 1, SHOWN_SLOTS + 1).astype(int)[1:]  # the first is intra: nothing is kept of it
    side = clip.patches.shape[-1]
    canvas = np.full((SHOWN_SLOTS, rows * side, columns * side, 3), 128, np.uint8)
    for place, slot in enumerate(shown):
        here = clip.positions[:, 0] == slot
        for patch, (_, row, column) in zip(clip.patches[here], clip.positions[here].astype(int), strict=True):
            top, left = row * side, column * side
            canvas[place, top : top + side, left : left + side] = patch.transpose(1, 2, 0)
    Image.fromarray(np.concatenate(canvas, axis=1)).save(arguments.out)
    print(f"slots {', '.join(map(str, shown))}: {arguments.out}")


if __name__ == "__main__":
    main()
