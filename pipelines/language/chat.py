r"""Conversations about videos as a tokenizer's numbers: which of them are answers, and where a video's tokens go.

    chat = Chat(tokenizer)
    rendered = chat.render(Conversation((Turn("user", "<video>\nWho wins?"), Turn("assistant", "Red"))), [2048])

Files of conversations are left to `conversations`, batches to `collate`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from codecsieve.errors import ConfigError
from codecsieve.text import quoted

VIDEO = "<video>"
"""Where in a turn's text a video goes, as in LLaVA's files; the line break after it goes with it."""
ROLES = ("system", "user", "assistant")

_PLACE = re.compile(re.escape(VIDEO) + r"\n?")


@dataclass(frozen=True)
class Turn:
    """What one says. role: of `ROLES`; text: may hold `<video>` where it is a user's."""

    role: str
    text: str

    def __post_init__(self) -> None:
        """Check the role."""
        if self.role not in ROLES:
            raise ConfigError(f"role ({quoted(self.role)}) must be one of {', '.join(ROLES)}")


@dataclass(frozen=True)
class Conversation:
    """Turns, and by name the videos that `<video>` in them stands for, in order."""

    turns: tuple[Turn, ...]
    videos: tuple[str, ...] = ()
    id: str = ""

    def __post_init__(self) -> None:
        """Check that there is something."""
        if not self.turns:
            raise ConfigError(f"conversation {quoted(self.id)} has no turn")

    def asked(self) -> Conversation:
        """The same without its last answer, to be answered."""
        return Conversation(self.turns[:-1], self.videos, self.id) if self.turns[-1].role == "assistant" else self


@dataclass(frozen=True)
class Style:
    """What a language model has seen around turns: before each, by role, and behind it; an answer's is learned."""

    system: str = "<|im_start|>system\n"
    user: str = "<|im_start|>user\n"
    assistant: str = "<|im_start|>assistant\n"
    end: str = "<|im_end|>"
    between: str = "\n"
    beginning: str = ""


@dataclass(frozen=True)
class Rendered:
    """A conversation of L tokens. ids: int64 [L]; answer, video: bool [L], which are to be learned, and a video's."""

    ids: Tensor
    answer: Tensor
    video: Tensor


@dataclass(frozen=True)
class Chat:
    """How conversations are put to a language model.

    tokenizer: any of transformers'; style: `Style()` is ChatML, which Qwen's models know; filler: the number that
    stands where a video's tokens go, which no model sees; longest: tokens of a conversation, its videos' included.
    """

    tokenizer: Any
    style: Style = Style()
    filler: int = 0
    longest: int = 32768

    def render(self, conversation: Conversation, lengths: Sequence[int]) -> Rendered:
        """A conversation as tokens, with so many for each of its videos.

        Where its last turn is not an answer, the opening of one follows. Raises ConfigError where there are not as many
        `<video>` as lengths, or too many tokens.
        """
        parts = list(self._parts(conversation, lengths))
        ids = [number for part, _, _ in parts for number in part]
        if len(ids) > self.longest:
            name = quoted(conversation.id)
            raise ConfigError(f"conversation {name} has {len(ids)} tokens, longest is {self.longest}; leave it out")
        marks = [(answer, video) for part, answer, video in parts for _ in part]
        answer, video = torch.tensor(marks, dtype=torch.bool).unbind(-1)
        return Rendered(torch.tensor(ids), answer, video)

    def _parts(self, conversation: Conversation, lengths: Sequence[int]) -> Iterator[tuple[list[int], bool, bool]]:
        """Tokens piece by piece, and of each whether it is an answer, and a video."""
        style, left = self.style, list(lengths)
        yield self._ids(style.beginning, True), False, False
        for number, turn in enumerate(conversation.turns):
            answer = turn.role == "assistant"
            yield self._ids((style.between if number else "") + getattr(style, turn.role), True), False, False
            for index, piece in enumerate([turn.text] if answer else _PLACE.split(turn.text)):
                if index:
                    yield [self.filler] * self._next(left, conversation, lengths), False, True
                yield self._ids(piece, False), answer, False
            yield self._ids(style.end, True), answer, False
        if left:
            raise _unlike(conversation, lengths)
        if conversation.turns[-1].role != "assistant":
            yield self._ids(style.between + style.assistant, True), False, False

    def _next(self, left: list[int], conversation: Conversation, lengths: Sequence[int]) -> int:
        if not left:
            raise _unlike(conversation, lengths)
        return left.pop(0)

    def _ids(self, text: str, ours: bool) -> list[int]:
        """Tokens of a text; of a user's or a model's own, names of special tokens are letters like others."""
        if not text:
            return []
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=not ours)["input_ids"]


def _unlike(conversation: Conversation, lengths: Sequence[int]) -> ConfigError:
    places = sum(turn.text.count(VIDEO) for turn in conversation.turns if turn.role != "assistant")
    name = quoted(conversation.id)
    return ConfigError(f"conversation {name} has {VIDEO} {places} times, and {len(lengths)} videos; each needs one")
