"""The clips as files: H.264 videos, and conversations about them in LLaVA's form.

`videos/SPLIT-NUMBER.mp4` are all of them. Of training clips `ways.jsonl` asks the way alone, `train.jsonl` all
questions in one conversation each, in any order; of those that are judged by, `SPLIT.jsonl` has a conversation for each
question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np

from benchmarks.language.crossings import QUESTIONS, SIDE, Shot, draw_shot, pictures
from codecsieve.pipelines.language.chat import VIDEO, Conversation, Turn
from codecsieve.pipelines.language.conversations import write_conversations


@dataclass(frozen=True)
class Sizes:
    """How many clips there are to learn from, and to be judged by."""

    train: int = 1000
    judged: int = 240


def make_clips(folder: Path, sizes: Sizes, judged: str, seed: int) -> None:
    """Draw and encode clips, one after the other, and write what is asked of them; judged: `val` or `test`."""
    (folder / "videos").mkdir(parents=True)
    shots = {
        split: [draw_shot(split, number, seed) for number in range(count)]
        for split, count in (("train", sizes.train), (judged, sizes.judged))
    }
    for shot in chain.from_iterable(shots.values()):
        encode(shot, folder / "videos" / name_of(shot))
    random = np.random.default_rng(seed)
    orders = [random.permutation(list(QUESTIONS)) for _ in shots["train"]]
    write_conversations(folder / "ways.jsonl", [ask(shot, ["way"]) for shot in shots["train"]])
    write_conversations(folder / "train.jsonl", [ask(*one) for one in zip(shots["train"], orders, strict=True)])
    write_conversations(folder / f"{judged}.jsonl", [ask(shot, [kind]) for shot in shots[judged] for kind in QUESTIONS])


def name_of(shot: Shot) -> str:
    """Of its file."""
    return f"{shot.split}-{shot.number:04d}.mp4"


def ask(shot: Shot, kinds: Sequence[str]) -> Conversation:
    """Questions of a clip, and their answers; the id ends with the kinds."""
    turns = [turn for kind in kinds for turn in (Turn("user", QUESTIONS[kind]), Turn("assistant", shot.answer(kind)))]
    turns[0] = Turn("user", f"{VIDEO}\n{turns[0].text}")
    return Conversation(tuple(turns), (name_of(shot),), "-".join([shot.split, f"{shot.number:04d}", *kinds]))


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
