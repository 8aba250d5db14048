r"""What is asked and answered of a clip, in the form of LLaVA's data: turns of `human` and `gpt`.

    conversations      a column of the clips: JSON, [{"from": "human", "value": "<video>\nWho wins?"}, ...]
    question, answer   columns, where there is none of that name; without them the export's question, and the label

In the first human turn `<image>\n` stands once for each picture, in place of `<video>`, or before all else.
"""

from __future__ import annotations

import json
import re
from typing import Any

from codecsieve.errors import ConfigError
from codecsieve.text import shortened

from .selection import Selection

_VIDEO = re.compile(r"<video>\n?")
_SPEAKERS = ("human", "gpt", "system")


def check_conversations(selection: Selection, question: str) -> None:
    """Raise ConfigError for the first clip whose column `conversations` is no conversation."""
    if "conversations" in selection.table.column_names:
        for row in selection.known():
            conversation(row, question, 1)


def conversation(row: dict[str, Any], question: str, pictures: int) -> list[dict[str, str]]:
    """The turns of a clip. row: what is known of it. Raises ConfigError where its column `conversations` has none."""
    turns = [dict(turn) for turn in _turns(row, question)]
    asked = next(turn for turn in turns if turn["from"] == "human")
    images = "<image>\n" * pictures
    if _VIDEO.search(asked["value"]):
        asked["value"] = _VIDEO.sub(lambda _: images, asked["value"], count=1)
    else:
        asked["value"] = images + asked["value"]
    return turns


def _turns(row: dict[str, Any], question: str) -> list[dict[str, str]]:
    if row.get("conversations") is not None:
        return _given(row["conversations"], row["id"])
    answer = row["label"] if row.get("answer") is None else row["answer"]
    asked = {"from": "human", "value": question if row.get("question") is None else str(row["question"])}
    return [asked] if answer is None else [asked, {"from": "gpt", "value": str(answer)}]


def _given(text: Any, clip_id: str) -> list[dict[str, str]]:
    try:
        turns = json.loads(text)
        plain = [{"from": turn["from"], "value": turn["value"]} for turn in turns]
    except (TypeError, ValueError, KeyError, RecursionError):
        plain = []
    speakers = [turn["from"] for turn in plain]
    spoken = all(isinstance(turn["value"], str) and turn["from"] in _SPEAKERS for turn in plain)
    if not spoken or "human" not in speakers:
        raise ConfigError(
            f"clip {shortened(clip_id)}: its column conversations must be JSON of turns with `from` "
            f"({', '.join(_SPEAKERS)}) and `value`, one of them human"
        )
    return plain
