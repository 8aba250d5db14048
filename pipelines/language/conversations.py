r"""Conversations in LLaVA's form, a JSON object a line, and what a cache holds of their videos.

    {"id": "a", "video": "a.mp4", "conversations": [{"from": "human", "value": "<video>\nWho wins?"},
                                                    {"from": "gpt", "value": "Red."}]}

A line's videos are clips of a cache by id, file name or path, as `SparseCache.find` has it. `<image>`, which some of
LLaVA's files have in place of `<video>`, is taken for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from codecsieve.cache import SparseCache
from codecsieve.cache.features import FeatureCache
from codecsieve.errors import ConfigError, ManifestError
from codecsieve.pipelines.language.chat import VIDEO, Conversation, Turn
from codecsieve.pipelines.language.collate import Sample
from codecsieve.text import one_line, quoted

MOST_LINE_BYTES = 10**6
"""Of one conversation's line."""

_IMAGE = "<image>"
_ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


def read_conversations(path: str | os.PathLike[str]) -> list[Conversation]:
    """The conversations of a file. Raises ManifestError, which names the line, for what is none."""
    found = []
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MOST_LINE_BYTES + 1), b""), start=1):
                if len(line) > MOST_LINE_BYTES:
                    raise ManifestError(
                        f"{path}, line {number}: longer than {MOST_LINE_BYTES} bytes; one object a line"
                    )
                if line.strip():
                    found.append(_conversation(line, f"{path}, line {number}"))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({one_line(str(error))})") from error
    if not found:
        raise ManifestError(f"{path}: holds no conversation; one JSON object a line")
    return found


def write_conversations(path: Path, conversations: Sequence[Conversation]) -> None:
    """Write such a file."""
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    lines = []
    for one in conversations:
        said = [{"from": names[turn.role], "value": turn.text} for turn in one.turns]
        video = one.videos[0] if len(one.videos) == 1 else list(one.videos)
        lines.append(json.dumps({"id": one.id, "video": video, "conversations": said}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def _conversation(line: bytes, where: str) -> Conversation:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where}: is no JSON ({one_line(str(error))})") from error
    said = values.get("conversations") if isinstance(values, dict) else None
    if not isinstance(said, list) or not said:
        raise ManifestError(f"{where}: must be an object with `conversations`, a list of turns")
    videos = values.get("video", [])
    videos = [videos] if isinstance(videos, str) else videos
    if not isinstance(videos, list) or not all(isinstance(name, str) for name in videos):
        raise ManifestError(f"{where}: video ({quoted(videos)}) must be a name, or a list of names")
    if values.get("image"):
        raise ManifestError(f"{where}: has `image`; only a cache's clips are seen, which are named by `video`")
    turns = [_turn(turn, where) for turn in said]
    places = _places(turns)
    if videos and not places:
        turns = [
            replace(one, text=one.text.replace(_IMAGE, VIDEO)) if one.role == "user" else one  # an answer's is a word
            for one in turns
        ]
        places = _places(turns)
    if places != len(videos):
        raise ManifestError(f"{where}: has {VIDEO} {places} times, and {len(videos)} videos; each needs one")
    return Conversation(tuple(turns), tuple(videos), str(values.get("id", "")))


def _places(turns: Sequence[Turn]) -> int:
    return sum(turn.text.count(VIDEO) for turn in turns if turn.role != "assistant")


def _turn(turn: Any, where: str) -> Turn:
    role, text = (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
    if not isinstance(role, str) or role not in _ROLES or not isinstance(text, str):
        raise ManifestError(f"{where}: a turn must have `from` ({', '.join(_ROLES)}) and `value`, a text")
    return Turn(_ROLES[role], text)


class Samples(Dataset[Sample]):
    """Conversations with the clips that a cache holds of their videos, or what a frozen tower made of these."""

    def __init__(
        self, cache: SparseCache, conversations: Sequence[Conversation], features: FeatureCache | None = None
    ) -> None:
        """Take them. Raises ConfigError where a video is not in the cache, or is more than one clip of it."""
        cache.check_pixels()
        self.cache, self.conversations, self.features = cache, conversations, features
        numbers = {clip: number for number, clip in enumerate(cache.clip_ids)}
        try:
            self.numbers = [[numbers[cache.find(video)] for video in one.videos] for one in conversations]
        except KeyError as error:
            raise ConfigError(f"{error.args[0]}; run precompute on the conversations' videos") from error

    def __len__(self) -> int:
        return len(self.conversations)

    def __getitem__(self, index: int) -> Sample:
        """A conversation and its clips. Raises CacheError where bytes are missing or damaged."""
        numbers = self.numbers[index]
        if not numbers:
            return Sample(self.conversations[index], ())
        read = self.cache.read(numbers)
        values = read.patches if self.features is None else self.features.read(numbers)
        clips = zip(torch.from_numpy(values), torch.from_numpy(read.positions.astype(np.int64)), strict=True)
        return Sample(self.conversations[index], tuple(clips))
