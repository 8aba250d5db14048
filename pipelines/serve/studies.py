"""Clips that the page looks at, kept at hand: the least recently used go first, each is its caller's alone."""

from __future__ import annotations

import uuid
from collections import OrderedDict

from codecsieve.pipelines.look.study import Study

from .refusal import RefusedError


class Studies:
    """most: that are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[str, tuple[str, Study]] = OrderedDict()

    def add(self, owner: str, study: Study) -> str:
        """Keep a study; the id it has from now on."""
        study_id = uuid.uuid4().hex
        self._kept[study_id] = (owner, study)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return study_id

    def get(self, owner: str, study_id: str) -> Study:
        """The study of an id. Raises RefusedError 404 where it has gone, or is another's."""
        whose, study = self._kept.get(study_id, ("", None))
        if study is None or whose != owner:
            raise RefusedError(404, "that study is not at hand any more; send the clip again")
        self._kept.move_to_end(study_id)
        return study
