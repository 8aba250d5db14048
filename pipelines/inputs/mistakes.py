"""Inputs that cannot be meant, told before anything is made of them, with what was probably meant.

A file of a manifest that is not there is another matter: that clip fails, and the others are made. But where none of
them is there, it is the manifest that is wrong.
"""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from codecsieve.errors import ConfigError, ManifestError
from codecsieve.objects import check_url, is_object_url, objects_beside, parted
from codecsieve.pipelines.inputs.manifest import MANIFEST_SUFFIXES
from codecsieve.pipelines.inputs.row import NO_URLS, URL, Row
from codecsieve.text import quoted, shortened

_SAVE = "a manifest must be CSV, TSV, JSONL or Parquet"
_NO_VIDEOS = {
    ".json": f"is JSON: {_SAVE}; save one object a line as .jsonl",
    ".xls": f"is a spreadsheet: {_SAVE}; export it as CSV",
    ".xlsx": f"is a spreadsheet: {_SAVE}; export it as CSV",
    ".ods": f"is a spreadsheet: {_SAVE}; export it as CSV",
    ".yaml": f"is YAML: {_SAVE}",
    ".yml": f"is YAML: {_SAVE}",
    ".xml": f"is XML: {_SAVE}",
    ".pkl": f"is a pickle, which is never read: {_SAVE}",
    ".pickle": f"is a pickle, which is never read: {_SAVE}",
    ".npy": f"is an array: {_SAVE}",
    ".npz": f"is an archive of arrays: {_SAVE}",
    ".feather": f"is Feather: {_SAVE}",
    ".arrow": f"is Arrow IPC: {_SAVE}",
    ".zip": "is an archive; unpack it and name the folder",
    ".tar": "is an archive; unpack it and name the folder",
    ".tgz": "is an archive; unpack it and name the folder",
    ".gz": "is compressed; unpack it first",
    ".md": "is a text, not a video",
    ".py": "is a text, not a video",
    ".zarr": "is an array store, not videos",
}


def check_input(given: str) -> None:
    """Raise ManifestError where an input, a path as it was typed, is not there or can be no video."""
    if is_object_url(given):
        try:
            check_url(given)
        except ConfigError as error:
            raise ManifestError(str(error)) from error
        if Path(given).suffix.lower() in MANIFEST_SUFFIXES:
            raise ManifestError(f"{shortened(given)}: manifests are not read by URL; copy it here and name its path")
        objects_beside(parted(given)[0])  # which says early what is not installed
        return
    if URL.match(given):
        raise ManifestError(f"{shortened(given)}: {NO_URLS}")
    if "\0" in given:
        raise ManifestError(f"{shortened(given)}: no path can be so: there is a NUL in it")
    if not os.path.lexists(given):
        raise ManifestError(f"{shortened(given)}: no such file or folder; {_meant(given)}")
    wrong = _NO_VIDEOS.get(Path(given).suffix.lower())
    if wrong and not os.path.isdir(given):
        raise ManifestError(f"{shortened(given)}: {wrong}")


def check_rows(manifest: str, rows: Sequence[Row]) -> None:
    """Raise ManifestError where a manifest lists files, and not one of them is there."""
    if rows and not any(is_object_url(row.path) or os.path.lexists(row.path) for row in rows):
        raise ManifestError(
            f"{shortened(manifest)}: none of its {len(rows)} files is there, the first would be "
            f"{shortened(rows[0].path)}; relative paths start at the manifest's own folder"
        )


def _meant(given: str) -> str:
    if glob.has_magic(given):
        found = len(glob.glob(given, recursive=True))
        many = f"{found} files match this pattern, which the shell did not expand: leave out the quotes"
        return many if found else "nothing matches this pattern; check the path"
    folder, name = os.path.split(given.rstrip("/"))
    try:
        near = difflib.get_close_matches(name, os.listdir(folder or "."), n=1)
    except OSError:
        return f"nor is the folder {quoted(folder)} there; check the path"
    return f"did you mean {shortened(os.path.join(folder, near[0]))}?" if near else "check the path"
