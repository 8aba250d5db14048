"""Whether H.264's exact residual changes what the selection probe says: the same clips, transcoded, choose the tokens.

Only the choice differs: the tokens kept are those of the original pictures at the same frames, read from WORK.

    codecsieve transcode VIDEOS --out H264 --crf 18
    python -m benchmarks.evidence.h264 --videos VIDEOS --h264 H264 --work WORK
"""

from __future__ import annotations

import dataclasses
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.common import save, show
from benchmarks.evidence.choices import pick, shown_frames
from benchmarks.evidence.clips import Clips, all_scores
from benchmarks.evidence.policies import DIFFERENCE, FOUND, ONEVISION, Variant, kept
from benchmarks.evidence.readout import Splits
from benchmarks.evidence.scores import Scoring, score_clip
from benchmarks.evidence.tables import BUDGETS, against, logistic_rows, summary
from benchmarks.evidence.tokens import PATCH, SIZE
from codecsieve.codec.clip import read_clip
from codecsieve.machine import available_cores

OPTIONS = {
    "onevision": ONEVISION["bitstream"],
    "weights 1:3": FOUND["bitstream, weights 1:3"],
    "residual only": FOUND["bitstream, residual only"],
}
OTHERS = {"search": ONEVISION["search"], "frame difference": DIFFERENCE}
FILLED = "keyframes by difference"


@dataclasses.dataclass(frozen=True)
class TranscodedScores:
    """Scores of one transcoded clip. plain, filled: int64 [options, T, 7, 7]; intra: bool [T], of the transcoded clip
    and, as `original`, of the clip itself.
    """

    plain: np.ndarray
    filled: np.ndarray
    """The same, but slots without prediction have the frame difference for a residual, and still no motion."""
    intra: np.ndarray
    original: np.ndarray


def score_transcoded(path: Path, source: Path, slots: int) -> TranscodedScores:
    """Score a transcoded clip at the frames that its source's slots show."""
    original = read_clip(source, slots, "bitstream", size=SIZE, patch=PATCH)
    frames = shown_frames(path)
    if frames != shown_frames(source):
        raise click.ClickException(f"{path}: {frames} frames, not the {shown_frames(source)} of {source}; transcode it")
    plain = pick(read_clip(path, frames, "bitstream", size=SIZE, patch=PATCH), original.frame_ids)
    difference = pick(read_clip(path, frames, "difference", size=SIZE, patch=PATCH), original.frame_ids)
    scores = np.stack([score_clip(plain, scoring, SIZE, PATCH) for scoring in OPTIONS.values()])
    filling = np.stack([score_clip(difference, scoring, SIZE, PATCH) for scoring in OPTIONS.values()])
    filled = np.where(plain.keyframe[:, None, None], filling, scores)
    return TranscodedScores(scores, filled, plain.keyframe, original.keyframe)


def score_all(clips: Clips, videos: Path, h264: Path) -> list[TranscodedScores]:
    """Scores of every transcoded clip, on all cores."""
    paths = [h264 / path.relative_to(videos).with_suffix(".mp4") for path in clips.paths]
    with ProcessPoolExecutor(available_cores(), multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(partial(score_transcoded, slots=clips.slots), paths, clips.paths))


def all_choices(clips: Clips, made: list[TranscodedScores]) -> dict[str, list[np.ndarray]]:
    """Scores [T, 7, 7] of each clip by the name of the policy."""
    scorings: dict[str, Scoring] = {f"MPEG-4, {name}": scoring for name, scoring in OPTIONS.items()} | OTHERS
    scores = all_scores(clips, set(scorings.values()))
    found = {name: list(scores[scoring]) for name, scoring in scorings.items()}
    for number, name in enumerate(OPTIONS):
        found[f"H.264, {name}"] = [clip.plain[number] for clip in made]
        found[f"H.264, {name}, {FILLED}"] = [clip.filled[number] for clip in made]
    return found


def compare(clips: Clips, choices: dict[str, list[np.ndarray]], splits: Splits) -> list[dict[str, Any]]:
    """Accuracy of every policy at every budget, by logistic regression, and paired differences of those on H.264."""
    features = {
        (name, budget): clips.pooled([kept(clip, budget, Variant("")) for clip in scores])
        for budget in BUDGETS
        for name, scores in choices.items()
    }
    right = logistic_rows(features, splits)
    rows = {key: {"policy": key[0], "budget": key[1], **summary(hits, splits)} for key, hits in right.items()}
    for (name, budget), row in rows.items():
        codec, _, options = name.partition(", ")
        if codec != "H.264":
            continue
        plain = options.removesuffix(f", {FILLED}")
        row.update(against(row, rows[f"MPEG-4, {plain}", budget], "over_mpeg4"))
        row.update(against(row, rows["search", budget], "over_search"))
        row.update(against(row, rows["frame difference", budget], "over_difference"))
        if plain != options:
            row.update(against(row, rows[f"H.264, {plain}", budget], "over_unfilled"))
        if plain != "onevision":
            published = name.replace(plain, "onevision")
            row.update(against(row, rows[published, budget], "over_onevision"))
    return list(rows.values())


def shares(choices: dict[str, list[np.ndarray]], made: list[TranscodedScores]) -> dict[str, Any]:
    """How many slots have no prediction, and how many kept tokens lie in those of the transcoded clips."""
    intra = [clip.intra for clip in made]
    per_slot = choices["search"][0][0].size
    found: dict[str, Any] = {
        "slots": sum(len(each) for each in intra),
        "intra_h264": int(np.sum(intra)),
        "intra_mpeg4": int(np.sum([clip.original for clip in made])),
        "intra_h264_per_clip": [int(each.sum()) for each in intra],
        "kept_there": {},
    }
    for name, scores in choices.items():
        found["kept_there"][name] = {
            budget: float(
                np.mean(
                    [
                        each[kept(clip, budget, Variant("")) // per_slot].mean()
                        for clip, each in zip(scores, intra, strict=True)
                    ]
                )
            )
            for budget in BUDGETS
        }
    return found


@click.command(help=__doc__)
@click.option("--videos", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--h264", type=click.Path(exists=True, path_type=Path), required=True, help="The same clips, transcoded.")
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--slots", default=64, show_default=True, help="Frames sampled a clip.")
@click.option("--repeats", default=4, show_default=True, help="Of the 5 grouped folds, drawn anew.")
def main(videos: Path, h264: Path, work: Path, slots: int, repeats: int) -> None:
    """Measure; print the table; write the JSON."""
    clips = Clips.read(videos, work, slots)
    made = score_all(clips, videos, h264)
    choices = all_choices(clips, made)
    intra = shares(choices, made)
    rows = compare(clips, choices, Splits.make(clips.labels, clips.groups, repeats))
    figures = {"videos": len(clips.paths), "slots": slots, "readout": "logistic", "repeats": repeats}
    save("probe_h264", figures | {"intra": intra, "policies": rows})
    over = ("over_mpeg4", "over_search", "over_difference", "over_unfilled", "over_onevision")
    lines = [
        [r["policy"], r["budget"], _percent(r, "mean", "std"), *(_percent(r, name, f"{name}_se") for name in over)]
        for r in rows
    ]
    show("Accuracy, logistic; paired difference +- standard error over groups", ["policy", "tokens", "%", *over], lines)


def _percent(row: dict[str, Any], mean: str, error: str) -> str:
    return f"{100 * row[mean]:.1f} +- {100 * row[error]:.1f}" if mean in row else ""


if __name__ == "__main__":
    main()
