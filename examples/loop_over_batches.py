"""The loop of a training: labelled clips in batches, shared by ranks, taken up again where it was left.

    python examples/loop_over_batches.py [VIDEO] [--out batches]        # pip install 'codecsieve[encoder]'

A manifest cuts the video into eight clips, the first four of one class, the others of another. Two loaders stand for
two processes: together they give every clip once. A third one goes on in the middle of the epoch, by itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import codecsieve as cs
from codecsieve.pipelines.demo import carried_videos
from codecsieve.pipelines.loading.augment import Photometric
from codecsieve.pipelines.look.describe import describe

CLIPS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?")
    parser.add_argument("--out", default="batches")
    arguments = parser.parse_args()
    video = Path(arguments.video or carried_videos()[0]).absolute()

    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    length = describe(video).seconds / CLIPS
    lines = [f"{video},{('early', 'late')[n >= CLIPS // 2]},{n * length},{(n + 1) * length}" for n in range(CLIPS)]
    (out / "clips.csv").write_text("\n".join(["path,label,start,end", *lines]) + "\n")
    cs.precompute(out / "clips.csv", out / "cache", num_frames=16, k_keep=256, device="cpu")
    cache = cs.open_cache(out / "cache")

    ranks = [cs.make_loader(cache, 2, seed=1, rank=rank, world_size=2, photometric=Photometric()) for rank in (0, 1)]
    print(f"classes {ranks[0].dataset.classes}, {len(ranks[0])} steps an epoch")
    seen = set()
    for step, batches in enumerate(zip(*ranks, strict=True)):
        for rank, batch in enumerate(batches):
            # A model would come here: tokens = model(**batch.inputs)
            print(f"step {step}, rank {rank}: patches {tuple(batch.patches.shape)}, labels {batch.labels.tolist()}")
            seen.update(batch.ids)
        if step == 0:
            state = ranks[0].state_dict()
    print(f"{len(seen)} of {len(cache)} clips seen")

    alone = cs.make_loader(cache, 4, seed=1)
    alone.load_state_dict(state)
    left = [clip_id for batch in alone for clip_id in batch.ids]
    print(f"one process, from step 1 on: {len(left)} clips left")


if __name__ == "__main__":
    main()
