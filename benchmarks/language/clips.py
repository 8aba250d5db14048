"""The clips as files: H.264 videos, and conversations about them in LLaVA's form, one question each.

`videos/SPLIT-NUMBER.mp4` are all of them; `train.jsonl` has every question of every training clip, `test.jsonl` of
every other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from benchmarks.language.crossings import QUESTIONS, SIDE, Shot, draw_shot, pictures
from codecsieve.pipelines.language.chat import VIDEO, Conversation, Turn
from codecsieve.pipelines.language.conversations import write_conversations

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Sizes:
    """How many clips there are to learn from, and to be judged by."""

    train: int = 1200
    test: int = 240


def make_clips(folder: Path, sizes: Sizes, seed: int) -> None:
    """Draw and encode all clips, one after the other, and write what is asked of them."""
    (folder / "videos").mkdir(parents=True)
    for split in SPLITS:
        shots = [draw_shot(split, number, seed) for number in range(getattr(sizes, split))]
        for shot in shots:
            encode(shot, folder / "videos" / name_of(shot))
        write_conversations(folder / f"{split}.jsonl", [ask(shot, kind) for shot in shots for kind in QUESTIONS])


def name_of(shot: Shot) -> str:
    """Of its file."""
    return f"{shot.split}-{shot.number:04d}.mp4"


def ask(shot: Shot, kind: str) -> Conversation:
    """One question of a clip, and its answer; the id ends with the kind of question."""
    turns = (Turn("user", f"{VIDEO}\n{QUESTIONS[kind]}"), Turn("assistant", shot.answer(kind)))
    return Conversation(turns, (name_of(shot),), f"{shot.split}-{shot.number:04d}-{kind}")


def encode(shot: Shot, path: Path) -> None:
    """Write a clip as the encoder x264 does by itself."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(pictures(shot)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
