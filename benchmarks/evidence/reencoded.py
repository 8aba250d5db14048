"""Whether signals still choose as well once clips were encoded again: by x264 and x265, well and badly.

    python -m benchmarks.evidence.reencoded --videos VIDEOS --work WORK

Only the choice differs: the tokens kept are those of the original pictures at the same frames, read from WORK, where
the encodes are put, too. For each encoding the codec's own signals, read from the decoder and as FFmpeg exports them,
what the encoder spent (`bits`), and block search choose; beside them stands frame difference on the originals.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.common import save, show
from benchmarks.evidence.clips import Clips, all_scores
from benchmarks.evidence.encodes import ENCODINGS, encode_all
from benchmarks.evidence.h264 import pick, shown_frames
from benchmarks.evidence.policies import DIFFERENCE, ONEVISION, Variant, kept
from benchmarks.evidence.readout import Splits
from benchmarks.evidence.scores import Scoring, score_clip
from benchmarks.evidence.tables import against, logistic_rows, summary
from benchmarks.evidence.tokens import FRAME, PATCH, SIZE
from codecsieve.codec.clip import read_clip
from codecsieve.errors import VideoError
from codecsieve.machine import available_cores

BUDGETS = (2 * FRAME, 4 * FRAME)
REFERENCE = "frame difference, originals"


class Way(NamedTuple):
    """How a re-encoded clip's patches are scored."""

    signals: str
    decoder_fields: str
    scoring: Scoring


WAYS = {
    "bitstream": Way("bitstream", "on", ONEVISION["bitstream"]),
    "bitstream, weights 1:3": Way("bitstream", "on", Scoring(w_res=3)),
    "bitstream, exported": Way("bitstream", "off", ONEVISION["bitstream"]),
    "bits": Way("bits", "on", Scoring(w_mv=0)),
    "search": Way("search", "off", ONEVISION["search"]),
}


def score_encoded(path: Path, source: Path, slots: int) -> dict[str, np.ndarray]:
    """Scores [T, 7, 7] of a re-encoded clip by each way that its codec has, at the frames of its source's slots."""
    ids = read_clip(source, slots, "search", size=SIZE, patch=PATCH).frame_ids
    frames = shown_frames(path)
    found = {}
    for name, way in WAYS.items():
        try:
            every = read_clip(path, frames, way.signals, size=SIZE, patch=PATCH, decoder_fields=way.decoder_fields)
        except VideoError:  # FFmpeg exports nothing of this codec
            continue
        found[name] = score_clip(pick(every, np.minimum(ids, frames - 1)), way.scoring, SIZE, PATCH)
    return found


@click.command(help=__doc__)
@click.option("--videos", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--slots", default=64, show_default=True, help="Frames sampled a clip.")
@click.option("--repeats", default=4, show_default=True, help="Of the 5 grouped folds, drawn anew.")
def main(videos: Path, work: Path, slots: int, repeats: int) -> None:
    """Measure; print the table; write the JSON."""
    clips = Clips.read(videos, work, slots)
    splits = Splits.make(clips.labels, clips.groups, repeats)
    choices = {(REFERENCE, budget): _keep(all_scores(clips, {DIFFERENCE})[DIFFERENCE], budget) for budget in BUDGETS}
    for encoding in ENCODINGS:
        paths = encode_all(clips.paths, encoding, work / "encodes")
        with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
            made = list(pool.map(partial(score_encoded, slots=slots), paths, clips.paths))
        for name in made[0]:
            scores = np.stack([each[name] for each in made])
            choices |= {(f"{encoding.name}: {name}", budget): _keep(scores, budget) for budget in BUDGETS}
    right = logistic_rows({key: clips.pooled(indices) for key, indices in choices.items()}, splits)
    rows = [_row(key, right, splits) for key in choices]
    columns = ("choice", "tokens", "accuracy", "over difference")
    show("Choices after encoding again", columns, [_shown(row) for row in rows])
    save("reencoded", {"videos": len(clips.paths), "slots": slots, "repeats": repeats, "rows": rows})


def _keep(scores: np.ndarray, budget: int) -> list[np.ndarray]:
    return [kept(clip, budget, Variant("")) for clip in scores]


def _row(key: tuple[str, int], right: dict[tuple[str, int], np.ndarray], splits: Splits) -> dict[str, Any]:
    own, base = summary(right[key], splits), summary(right[REFERENCE, key[1]], splits)
    return {"choice": key[0], "tokens": key[1], **own, **against(own, base, "over_difference")}


def _shown(row: dict[str, Any]) -> list[object]:
    over = f"{100 * row['over_difference']:+.1f} ± {100 * row['over_difference_se']:.1f}"
    return [row["choice"], row["tokens"], 100 * row["mean"], over]


if __name__ == "__main__":
    main()
