"""The clips that a run has seen of its inputs, range after range: who comes again, and who was never named.

How ranges are read is left to `pipelines.inputs`, what is made of them to `run`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from codecsieve.errors import ManifestError
from codecsieve.pipelines.inputs.clips import distinct
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.text import quoted, shortened


@dataclass
class Inputs:
    """What is to be known of earlier ranges: a bit a clip, a hash of what it is, and where clips are pruned its names.

    ids, paths: of all clips, where clips whose videos are missing are to be taken out; empty otherwise.
    """

    ids: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    _split: set[str] = field(default_factory=set)  # ids that content listed with several labels would have with one
    _seen: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    _meant: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def new(
        self, requests: Sequence[ClipRequest], rows_of: Callable[[Collection[str]], Mapping[str, int]]
    ) -> dict[str, ClipRequest]:
        """A range's clips by id, without those that this or an earlier one had.

        rows_of: the rows of those that are planned. Raises ManifestError where one id stands for different clips.
        """
        wanted = {request.id: request for request in distinct(requests)}
        bases = {base: clip_id for clip_id in wanted if (base := _base(clip_id))}
        if self._seen.any():
            for base, row in rows_of(bases.keys() - wanted.keys()).items():
                if row < len(self._seen) and self._seen[row]:
                    self._refuse_split(wanted[bases[base]])
        for clip_id in self._split & wanted.keys():
            self._refuse_split(wanted[clip_id])
        self._split.update(bases)
        if not self._seen.any():
            return wanted
        for clip_id, row in rows_of(wanted).items():
            if row < len(self._seen) and self._seen[row]:
                request = wanted.pop(clip_id)
                if _meant(request) != self._meant[row]:
                    raise ManifestError(
                        f"clip id {shortened(clip_id)} stands for {shortened(request.path)} with label "
                        f"{quoted(request.label)}, start {request.start} and end {request.end}, and further up for a "
                        "clip with others; give each clip an id of its own"
                    )
        return wanted

    def _refuse_split(self, request: ClipRequest) -> None:
        raise ManifestError(
            f"{shortened(request.path)} is listed with several labels, far from each other: its clips cannot be told "
            "apart; give each an id of its own"
        )

    def remember(self, wanted: Mapping[str, ClipRequest], rows: Mapping[str, int], prune: Collection[str]) -> None:
        """Clips, now planned, have been seen."""
        size = max((rows[clip_id] for clip_id in wanted), default=-1) + 1
        if size > len(self._seen):
            grown = max(size, len(self._seen) + len(self._seen) // 4)
            self._seen = np.pad(self._seen, (0, grown - len(self._seen)))
            self._meant = np.pad(self._meant, (0, grown - len(self._meant)))
        for clip_id, request in wanted.items():
            self._seen[rows[clip_id]] = True
            self._meant[rows[clip_id]] = _meant(request)
        if "missing" in prune:
            self.ids.update(wanted)
            self.paths.update(request.path for request in wanted.values())


def _base(clip_id: str) -> str:
    """What the id of content that is listed with several labels would be with one; nothing of other ids."""
    base, mark, label = clip_id.rpartition("~")
    return base if mark and len(label) == 8 and not set(label) - set("0123456789abcdef") else ""


def _meant(request: ClipRequest) -> int:
    return hash((request.label, request.start, request.end, request.fingerprint))
