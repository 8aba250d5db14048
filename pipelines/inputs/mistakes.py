"""Inputs that cannot be meant, told before anything is made of them, with what was probably meant.

A file of a manifest that is not there is another matter: that clip fails, and the others are made. But where none of
them is there, it is the manifest that is wrong.
"""

from __future__ import annotations

import codecs
import difflib
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from codecsieve.codec.facts import VIDEO_SUFFIXES
from codecsieve.errors import ConfigError, ManifestError
from codecsieve.files import kind_of_file
from codecsieve.objects import check_url, is_object_url, objects_beside, parted
from codecsieve.pipelines.inputs.manifest import MANIFEST_SUFFIXES, is_data_set
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
    check_path(given)
    if is_object_url(given) or not os.path.exists(given):  # a link that leads nowhere is a clip that fails
        return
    kind, suffix = kind_of_file(given), Path(given).suffix.lower()
    if kind not in ("file", "folder") and suffix not in MANIFEST_SUFFIXES:  # whose reader says it
        raise ManifestError(f"{shortened(given)}: is a {kind}; copy what it gives into a file")
    if kind == "file" and suffix not in MANIFEST_SUFFIXES | VIDEO_SUFFIXES and _is_text(given):
        raise ManifestError(f"{shortened(given)}: is a text, not a video; {_SAVE}, with the suffix of its kind")


def check_inputs(given: Sequence[str], columns: bool, labels_from_folders: bool) -> None:
    """The same for all of them; also where an option that was given is of use for none of them.

    columns: whether names of a manifest's columns were given. Raises ManifestError.
    """
    for path in given:
        check_input(path)
    if columns and not any(Path(path).suffix.lower() in MANIFEST_SUFFIXES or is_data_set(path) for path in given):
        raise ManifestError("columns are a manifest's, and none of the inputs is one; leave out --columns")
    if labels_from_folders and given and not any(is_object_url(path) or os.path.isdir(path) for path in given):
        raise ManifestError("labels from folders are of a folder's videos; name the folder above them, not each video")


def check_path(given: str) -> None:
    """Raise ManifestError where a file, by its path as it was typed, is not there, or of a kind that is never read."""
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
        raise ManifestError(f"{shortened(given) or quoted(given)}: no such file or folder; {_meant(given)}")
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


def _is_text(path: str) -> bool:
    """Whether a file begins with text, and no video does."""
    try:
        with open(path, "rb") as file:
            text = codecs.getincrementaldecoder("utf-8")().decode(file.read(1024))
    except (OSError, UnicodeDecodeError):
        return False
    return bool(text) and all(letter.isprintable() or letter in "\t\r\n\ufeff" for letter in text)


def _meant(given: str) -> str:
    if given.startswith("~"):
        return "the shell did not expand the ~: leave out the quotes"
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
