"""Names that other formats give a clip: made of its id, fit for a file, and split by nobody.

A range's id holds dots (`3f2a@1.5-3.0`), at the first of which WebDataset and `datasets` cut a key off; an id of the
user's may hold whatever is printable. So a key is the id percent-encoded as in a URL, dots too, and
`urllib.parse.unquote` gives the id back. The true id goes along in each format all the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import quote

_LONGEST = 200
"""Characters of a key: file systems take 255 bytes, suffixes included."""
_HASH = 32
_LONGEST_STEM = 160


def keys_of(ids: Sequence[str]) -> list[str]:
    """A key for each id: no two are the same, on file systems that do not tell capitals from small letters either.

    Where the encoded id would be too long, or the same as another's but for capitals, a hash takes the place of its
    end.
    """
    encoded = [_encoded(clip_id) for clip_id in ids]
    seen = Counter(key.lower() for key in encoded)
    return [
        key if len(key) <= _LONGEST and seen[key.lower()] == 1 else _hashed(clip_id)
        for key, clip_id in zip(encoded, ids, strict=True)
    ]


def stem_of(uri: str) -> str:
    """A video's name without folders and suffix; percent-encoded, or the beginning of it, where no file can have it."""
    stem = PurePath(uri).stem
    if stem.isprintable() and not set(stem) & set('/\\:*?"<>|') and len(stem.encode()) <= _LONGEST_STEM:
        return stem
    return _encoded(stem)[:_LONGEST_STEM]


def _encoded(text: str) -> str:
    return quote(text, safe="@,=+").replace(".", "%2E")


def _hashed(clip_id: str) -> str:
    beginning = clip_id[: _LONGEST - _HASH - 1]
    while len(_encoded(beginning)) > _LONGEST - _HASH - 1:
        beginning = beginning[:-1]
    return f"{_encoded(beginning)}~{hashlib.sha256(clip_id.encode()).hexdigest()[:_HASH]}"
