"""The videos in a folder and below, on a disk or in an object store, by their suffixes.

Nothing is opened here: whether they are videos shows when their turn comes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from codecsieve.codec.facts import VIDEO_SUFFIXES
from codecsieve.errors import ManifestError
from codecsieve.objects import Objects
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


def object_rows(url: str, labels: bool = False) -> Iterator[Row]:
    """The same of a folder in an object store, by its URL; of a URL with a video's suffix, that object.

    Raises ManifestError where there is no video below it, or it cannot be listed.
    """
    if Path(url).suffix.lower() in VIDEO_SUFFIXES and not url.endswith("/"):
        yield Row(url, url)
        return
    objects, found = Objects(url), False
    try:
        for name in sorted(name for name, _ in objects.walk()):
            if Path(name).suffix.lower() in VIDEO_SUFFIXES and not any(one.startswith(".") for one in name.split("/")):
                found, path = True, f"{objects.url}/{name}"
                folder = name.rpartition("/")[0].rpartition("/")[2]
                yield Row(path, path, (folder or None) if labels else None)
    except OSError as error:
        raise ManifestError(f"{shortened(url)}: {error.strerror}; check the URL, and who may list it") from error
    if not found:
        raise ManifestError(f"{shortened(url)}: no video below this URL; name one by its whole URL, with its suffix")
