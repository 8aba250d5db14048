"""Which files a transcode run reads, and what their outputs are called; nothing is opened or written here."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from codecsieve.codec.facts import VIDEO_SUFFIXES
from codecsieve.errors import VideoError
from codecsieve.text import shortened


@dataclass(frozen=True)
class TranscodeJob:
    """One source file and where its re-encoded form goes (an .mp4)."""

    source: Path
    output: Path


def plan_transcode(inputs: Iterable[str | Path], out: str | Path) -> list[TranscodeJob]:
    """The jobs for files and folder trees, in the order given, a folder's in the order of their paths.

    A folder keeps its structure under `out`. `name.avi` becomes `name.mp4`; those that would share that
    become `name.avi.mp4` and `name.mkv.mp4`; those that would share even that (two folders with the same
    file names) get eight hex digits of their path's SHA-256 besides. So the same inputs always get the same
    names. A file that does not exist is a job too: it fails alone when its turn comes. Links to folders are
    not followed, and `out` itself is passed over where it lies inside an input.

    Raises VideoError for a folder without videos, for `out` being an input, for an output that would replace
    an input, and for one that a link would carry out of `out`.
    """
    out = Path(out)
    found = dict(entry for given in inputs for entry in _sources(Path(given), out))
    outputs = _distinct_outputs(found)
    sources = {source.resolve() for source in found}
    home = out.resolve()
    for source, relative in outputs.items():
        target = (out / relative).resolve()
        if not target.is_relative_to(home):
            raise VideoError(
                f"{_said(out / relative)} leads to {_said(target)}, outside {_said(out)}: remove that link"
            )
        if target in sources:
            raise VideoError(
                f"{_said(source)}: its output {_said(target)} would replace an input; choose another output folder"
            )
    return [TranscodeJob(source, out / relative) for source, relative in outputs.items()]


def _sources(given: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """(absolute path, path relative to what was given) of each video that `given` stands for."""
    given = Path(os.path.abspath(given))
    if not given.is_dir():
        yield given, Path(given.name)
        return
    if given.resolve() == out.resolve():
        raise VideoError(f"{_said(given)}: input and output folder are the same; choose another output folder")
    found = False
    for folder, subfolders, names in os.walk(given):
        subfolders[:] = sorted(s for s in subfolders if (Path(folder) / s).resolve() != out.resolve())
        for name in sorted(names):
            path = Path(folder) / name
            if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
                found = True
                yield path, path.relative_to(given)
    if not found:
        raise VideoError(
            f"{_said(given)}: no video in this folder; name its files one by one if their suffixes are unusual"
        )


def _distinct_outputs(found: dict[Path, Path]) -> dict[Path, Path]:
    """The output of each source in the output folder; compared without case, as some file systems do."""

    def by_stem(source: Path) -> Path:
        return found[source].with_suffix(".mp4")

    def by_name(source: Path) -> Path:
        return found[source].with_name(f"{source.name}.mp4")

    def by_path(source: Path) -> Path:
        digest = hashlib.sha256(os.fsencode(source)).hexdigest()[:8]
        return found[source].with_name(f"{source.name}.{digest}.mp4")

    named: dict[Path, Path] = {}
    taken: set[str] = set()
    for naming in (by_stem, by_name, by_path):
        wanted = {source: naming(source) for source in found if source not in named}
        claims = Counter(str(name).lower() for name in wanted.values())
        unique = {s: n for s, n in wanted.items() if claims[str(n).lower()] == 1 and str(n).lower() not in taken}
        named |= unique
        taken |= {str(name).lower() for name in unique.values()}
    return {source: named[source] for source in found}


def _said(path: Path) -> str:
    return shortened(str(path))
