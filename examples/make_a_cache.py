"""A folder of videos into a cache, from Python: what `codecsieve precompute` does, and how its cache is read.

    python examples/make_a_cache.py [VIDEO_OR_FOLDER ...] [--out cache]

Run it twice: the second run finds every clip there. Worker processes are spawned, so a script that makes a cache must
do it under `if __name__ == "__main__":`.
"""

from __future__ import annotations

import argparse

import codecsieve as cs
from codecsieve.pipelines.demo import carried_videos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--out", default="cache")
    arguments = parser.parse_args()

    # Other options are another cache: a folder that was made with other options is refused.
    summary = cs.precompute(arguments.inputs or carried_videos(), arguments.out, num_frames=32, k_keep=512)
    print(f"{summary.made} clips made, {summary.skipped} were there, {len(summary.failures)} failed")
    for failure in summary.failures:
        print(f"  {failure.error}")

    # The index has a row for every clip that was tried; the cache counts those that are in.
    cache = cs.open_cache(arguments.out, verify=True)
    for row in cache.index.select(["id", "status", "codec", "signals", "frames"]).to_pylist():
        print("  {id}  {status}  {codec}, {signals}, {frames} frames".format(**row))
    batch = cache.read(range(len(cache)))
    print(f"patches {batch.patches.shape}, positions {batch.positions.shape}, scores {batch.scores.shape}")
    print(f"the first clip's frames in the file: {cache[0].frame_ids[:8].tolist()} ...")


if __name__ == "__main__":
    main()
