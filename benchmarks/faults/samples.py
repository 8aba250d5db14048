"""Small caches made on the spot, and the truth about them.

70 clips are planned, over two shards. Sixteen are videos, the others have none: their rows say so. So a cache is
quick to read whole, has rows that failed, and shards with empty slots; and a run over the sixteen ends with status 0.
Labels were corrected and a column was added later, so that there is a table, too.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import zarr
from click.testing import CliRunner

from benchmarks.faults.encodes import CLIP_ENCODES, make_encode
from codecsieve.cache import SparseCache, compact_cache, open_cache
from codecsieve.cache.layout import SHARD_CLIPS
from codecsieve.cache.shard import FOOTER_BYTES
from codecsieve.cli import main
from codecsieve.pipelines.learn.frozen import cached_features

PLANNED = 70
_GOOD = [*range(2, 62, 5), 64, 65, 66, 67]
NAMES = ("path", "label", "start", "end", "id", "take")
OPTIONS = ["--num-frames", "4", "--input-size", "32", "--patch-size", "8", "--k-keep", "6", "--workers", "0"]
FORMS = ("raw", "packed", "indices", "compressed", "features")


@dataclass(frozen=True)
class Sample:
    """One form of the cache, whole.

    folder: what is copied and damaged; clips: each clip's arrays and label by id; failed: ids of the others; parts:
    the rows of each part of the index by its file's name; inputs: the manifest of the clips with a video; tokens: of
    each clip by id; picture: what `inspect` draws of the clip `drawn`; videos: their folder.
    """

    form: str
    folder: Path
    clips: dict[str, dict[str, Any]]
    failed: frozenset[str]
    parts: dict[str, list[dict[str, Any]]]
    inputs: Path
    whole_cache: Path
    tokens: dict[str, np.ndarray]
    drawn: str
    picture: bytes
    plan: bytes


class Tokens:
    """An encoder that needs no weights: a token for each patch, the mean of its colours and its place."""

    name = "means"
    fingerprint = "0" * 64

    def __call__(self, patches: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Patches uint8 [B, K, 3, P, P] and positions int64 [B, K, 3] -> tokens float [B, K, 6]."""
        return torch.cat([patches.float().mean(dim=(3, 4)), positions.float()], dim=2)


def make_samples(folder: Path, forms: Sequence[str] = FORMS) -> list[Sample]:
    """The cache in each of these forms, in `folder`."""
    videos = folder / "videos"
    videos.mkdir(parents=True)
    paths = [make_encode(encode, videos, frames=30, size=(64, 48)) for encode in CLIP_ENCODES]
    rows = list(_clips(paths, videos))
    inputs, everything = folder / "inputs.csv", folder / "everything.csv"
    _write(everything, [[row[0], "old", *row[2:-1]] for row, _ in rows], NAMES[:-1])
    _write(inputs, [row for row, good in rows if good], NAMES)
    made = {}
    for store in ("patches", "indices"):
        cache = folder / store
        run(["precompute", str(everything), "--out", str(cache), *OPTIONS, "--store", store, "--quiet"], 1)
        run(["precompute", str(inputs), "--out", str(cache), *OPTIONS, "--store", store, "--quiet"], 0)
        made[store] = cache
    compressed, features, packed = folder / "compressed", folder / "features", folder / "packed"
    shutil.copytree(made["patches"], packed)
    compact_cache(packed)
    compress(made["patches"], compressed)
    tokens = make_tokens(open_cache(made["patches"]), features)
    raw, indices = made["patches"], made["indices"]
    folders = {"raw": raw, "packed": packed, "indices": indices, "compressed": compressed, "features": features}
    return [_sample(form, folders[form], made, inputs, tokens, folder) for form in forms]


def _sample(
    form: str, folder: Path, made: dict[str, Path], inputs: Path, tokens: dict[str, np.ndarray], scratch: Path
) -> Sample:
    whole = folder if form in ("packed", "indices") else made["patches"]
    cache = open_cache(whole)
    clips = {clip.clip_id: vars(clip) for clip in map(cache.__getitem__, range(len(cache)))}
    failed = [row["id"] for row in cache.index.to_pylist() if row["status"] == "failed"]
    parts = {path.name: pq.read_table(path).to_pylist() for path in sorted((whole / "index").iterdir())}
    drawn, picture = cache.clip_ids[3], scratch / "drawn.png"
    run(["inspect", str(whole), drawn, "--out", str(picture), "--slots", "2"], 0)
    if (len(clips), len(failed)) != (len(_GOOD), PLANNED - len(_GOOD)):
        raise RuntimeError(f"the undamaged cache has {len(clips)} clips, {len(failed)} failed")
    return Sample(
        form=form,
        folder=folder,
        clips=clips,
        failed=frozenset(failed),
        parts=parts,
        inputs=inputs,
        whole_cache=whole,
        tokens=tokens,
        drawn=drawn,
        picture=picture.read_bytes(),
        plan=(whole / "plan.parquet").read_bytes(),
    )


def _clips(paths: Sequence[Path], videos: Path) -> Iterator[tuple[list[Any], bool]]:
    """The manifest's rows in the order of the plan, and whether there is a video."""
    for number in range(PLANNED):
        if number in _GOOD:
            turn = _GOOD.index(number)
            start = round(0.1 * (turn // len(paths)), 1)
            yield (
                [paths[turn % len(paths)], f"label-{turn % 3}", start, start + 0.5, f"clip-{number:02d}", number],
                True,
            )
        else:
            yield [videos / f"none-{number:02d}.mp4", "none", "", "", f"clip-{number:02d}", number], False


def _write(path: Path, rows: Sequence[Sequence[Any]], names: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def run(arguments: Sequence[str], status: int) -> None:
    """Run a command that must end with this status."""
    done = CliRunner().invoke(main, list(arguments))
    if done.exit_code != status:
        raise RuntimeError(f"codecsieve {' '.join(arguments)} ended with {done.exit_code}: {done.output}")


def compress(cache: Path, target: Path) -> None:
    """A copy whose arrays zarr has compressed, which is read through zarr-python only."""
    source = zarr.open_group(cache, mode="r")
    copy = zarr.create_group(target, attributes=dict(source.attrs), zarr_format=3)
    for name in ("patches", "positions", "scores", "frame_ids"):
        array: Any = source[name]
        shape = array.shape[1:]
        written = copy.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=(1, *shape), shards=(64, *shape), fill_value=0
        )
        written[...] = array[...]
    shutil.copy(cache / "plan.parquet", target)
    shutil.copy(cache / "table.parquet", target)
    shutil.copytree(cache / "index", target / "index")


def make_tokens(cache: SparseCache, folder: Path) -> dict[str, np.ndarray]:
    """Every clip's tokens by id, through the feature cache in `folder`: what is not there is made."""
    numbers = list(range(len(cache)))
    features = cached_features(cache, numbers, Tokens(), folder=folder)
    return dict(zip(cache.clip_ids, features.read(numbers), strict=True))


def unpublished(sample: Sample, folder: Path) -> set[str]:
    """Clips that the index in `folder` does not list, as that of an unfinished run does not.

    So it is where a part is not there, or is one that lists some of its clips only, just as they are. What a part says
    that was damaged otherwise is no such thing: of that a word must be said.
    """
    gone: set[str] = set()
    if not (folder / "index").is_dir():
        return gone
    for name, rows in sample.parts.items():
        there = _rows_of(folder / "index" / name)
        if there is not None and all(row in rows for row in there):
            gone |= {row["id"] for row in rows} - {row["id"] for row in there}
    return gone


def said_of(sample: Sample, folder: Path, clip_id: str) -> tuple[str | None, int | None]:
    """A clip's label and take as the cache in `folder` should give them.

    By its table, which people may write anew: where it lists other clips or says something else, that holds. Whether it
    is one at all is for the cache to say.
    """
    rows = [row for row in _rows_of(folder / "table.parquet") or [] if row.get("id") == clip_id]
    if not rows:
        return "old", None
    return rows[0].get("label"), rows[0].get("take")


def looks_whole(sample: Sample, folder: Path, clip_id: str) -> bool:
    """Whether a clip's shard files have the sizes and the indices that they should, whatever their other bytes are."""
    shard = int(clip_id.removeprefix("clip-")) // SHARD_CLIPS
    for truth in sorted(sample.folder.glob(f"*/c.{shard}.*")):
        path = folder / truth.relative_to(sample.folder)
        if not _is_file(path) or path.stat().st_size != truth.stat().st_size:
            return False
        if path.read_bytes()[-FOOTER_BYTES:] != truth.read_bytes()[-FOOTER_BYTES:]:
            return False
    return True


def plan_is_whole(sample: Sample, folder: Path) -> bool:
    """Whether the plan still is what it was."""
    path = folder / "plan.parquet"
    return _is_file(path) and path.stat().st_size == len(sample.plan) and path.read_bytes() == sample.plan


def _rows_of(part: Path) -> list[dict[str, Any]] | None:
    """A part's rows, none where there is no part; None where it is something else."""
    if not os.path.lexists(part):
        return []
    if not _is_file(part) or part.stat().st_size > 1 << 20:
        return None
    try:
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(part.read_bytes())).to_pylist()
    except Exception:  # whatever Arrow says of it, it is no part
        return None
    return rows


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


Check = Callable[[Sample, Path], str]
"""What is tried on a damaged cache: sample and folder; says what it saw, or raises `FaultError` or an error of ours."""
