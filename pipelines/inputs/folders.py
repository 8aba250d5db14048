"""The videos in a folder and below, by their suffixes.

Nothing is opened here: whether they are videos shows when their turn comes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from codecsieve.codec.facts import VIDEO_SUFFIXES
from codecsieve.errors import ManifestError
from codecsieve.pipelines.inputs.row import Row
from codecsieve.text import shortened


def folder_rows(folder: str, labels: bool = False) -> Iterator[Row]:
    """A row for each video, in the order of their paths, without hidden ones.

    labels: each has the name of the folder that it lies in for a label, but those that lie in `folder` itself. Links to
    folders are followed, each folder once; a link that leads nowhere is a clip that will fail.

    Raises ManifestError for a folder without videos, or one that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise ManifestError(
            f"{shortened(os.fsdecode(error.filename))}: {error.strerror}; make this folder readable or leave it out"
        )

    found, seen = False, {os.path.realpath(folder)}
    for at, subfolders, names in os.walk(folder, onerror=refuse, followlinks=True):
        targets = {name: os.path.realpath(os.path.join(at, name)) for name in sorted(subfolders)}
        subfolders[:] = [name for name, to in targets.items() if not name.startswith(".") and to not in seen]
        seen.update(targets[name] for name in subfolders)
        for name in sorted(names):
            path = os.path.join(at, name)
            if name.startswith(".") or Path(name).suffix.lower() not in VIDEO_SUFFIXES:
                continue
            if os.path.isfile(path) or not os.path.exists(path):
                found = True
                yield Row(path, path, os.path.basename(at) if labels and at != folder else None)
    if not found:
        raise ManifestError(f"{shortened(folder)}: no video in this folder; name files of unusual suffixes one by one")
