"""One clip that is asked for, as it is given to whoever makes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from codecsieve.text import from_utf8, quoted

NOTHING: Mapping[str, Any] = {}
"""Of clips of which a manifest says nothing further; one for all, a plain dictionary since requests are pickled."""


@dataclass(frozen=True, slots=True)  # there are as many as a range of the inputs has rows
class ClipRequest:
    """One clip to be made.

    path: absolute. id: unique to clip and label. label: text, None where there is none. start, end: seconds,
    None for the file's own. fingerprint: of the file's content, "" where it has none that can be read. metadata: by
    name, what further columns of a manifest say of it: text, numbers, truth values.
    """

    path: str
    id: str
    label: str | None = None
    start: float | None = None
    end: float | None = None
    fingerprint: str = ""
    metadata: Mapping[str, Any] = field(default_factory=lambda: NOTHING, compare=False)

    @property
    def known(self) -> dict[str, Any]:
        """The fields of its row in a cache's index that are known before it is made."""
        names = ("id", "fingerprint", "label", "start", "end")
        return {"uri": self.path, **{name: getattr(self, name) for name in names}}

    def __post_init__(self) -> None:
        if not self.id or not self.id.isprintable():
            raise ValueError(f"clip id ({quoted(self.id)}) must be printable text")


def path_of(uri: str) -> str:
    r"""The path of a request out of a cache's `uri`, where a byte of it that is no UTF-8 stands as `\udcXX`."""
    return uri if os.path.lexists(uri) else from_utf8(uri)
