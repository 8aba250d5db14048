"""Whether a choice survives compression: the same clips encoded again by x264 and x265, well and badly, choose.

    python -m benchmarks.evidence.reencoded --videos VIDEOS --work WORK

Only the choice differs: the tokens kept are those of the original pictures at the same frames, read from WORK/clips,
where `contest` leaves them; encodes are put into WORK/encodes. For each encoding the codec's own signals, read from the
decoder and as FFmpeg exports them, what the encoder spent (`bits`), block search and frame difference choose.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.common import save
from benchmarks.evidence.candidates import CONTENDERS, SPREAD_DIFFERENCE, Options, compared
from benchmarks.evidence.choices import Sampling, Stream, choose_all
from benchmarks.evidence.clips import Clips
from benchmarks.evidence.contest import BUDGETS, Judged, Key, judge_all, rows, show_rows
from benchmarks.evidence.encodes import ENCODINGS, Encoding, encode_all
from benchmarks.evidence.tokens import PATCH, SIZE

KINDS = {
    "libx264": ("bitstream", "bitstream, exported", "search", "bits"),
    "libx265": ("bitstream", "search", "bits"),
}
"""Signals by encoder: FFmpeg exports no motion of HEVC."""
RESIDUAL: dict[str, Options] = {"residual": {"w_mv": 0.0, "center_prior": 0.0, "scale": "none"}}
"""What `bits` are scored by: they have no motion."""


def candidates(kind: str, names: tuple[str, ...]) -> dict[str, Options]:
    """What is asked of one kind of signals."""
    if kind == "difference":
        return {"frame difference": SPREAD_DIFFERENCE["frame difference"]}
    if kind == "bits":
        return RESIDUAL
    return compared(names)


def judged_encoding(clips: Clips, encoding: Encoding, work: Path, names: tuple[str, ...]) -> dict[Key, Judged]:
    """All figures of one encoding."""
    sampling = Sampling(clips.slots, SIZE, PATCH)
    paths = encode_all(clips.paths, encoding, work / "encodes")
    streams = [Stream(path, source) for path, source in zip(paths, clips.paths, strict=True)]
    choices = {
        Key(encoding.name, kind, *key, "logistic"): indices
        for kind in (*KINDS[encoding.encoder], "difference")
        for key, indices in choose_all(streams, kind, sampling, candidates(kind, names), BUDGETS).items()
    }
    features = (clips.pooled(indices) for indices in choices.values())
    return judge_all(list(choices), features, clips.labels, clips.groups)


@click.command(help=__doc__)
@click.option("--videos", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--slots", default=64, show_default=True, help="Frames sampled a clip.")
@click.option("--contender", "names", multiple=True, type=click.Choice(list(CONTENDERS)), default=("slot", "product"))
def main(videos: Path, work: Path, slots: int, names: tuple[str, ...]) -> None:
    """Measure; print the tables; write the JSON."""
    clips = Clips.read(videos, work / "clips", slots)
    judged: dict[Key, Judged] = {}
    for encoding in ENCODINGS:
        judged |= judged_encoding(clips, encoding, work, names)
    made = rows(judged)
    show_rows(made)
    save("contest_encodings", {"slots": slots, "rows": made})


if __name__ == "__main__":
    main()
