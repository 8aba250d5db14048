"""What is told apart by the tokens that each way of choosing keeps: equal tokens, one frozen network, one readout.

    python -m benchmarks.compare.accuracy JOB.json

Every clip is its centre square, 224x224 px, encoded as H.264: the one form that all tools read, in which none sees more
of a picture than another. A frame has 7x7 tokens of 32x32 px, see `benchmarks.evidence.tokens`; which of them a tool of
another environment keeps comes with the job. Run by `run` in a process that finds the network's packages.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph

SIZE, PATCH, SLOTS, FRAME = 224, 32, 64, 49
CRF = 23
"""x264's own default."""
BUDGETS = (2 * FRAME, 4 * FRAME)
DRAWS = 6
"""Of the folds, see `benchmarks.evidence.readout`."""

Kept = dict[str, dict[str, np.ndarray]]
"""Frame, row and column of every token kept, int [K, 3], by rival and budget."""


def write_square(source: Path, target: Path) -> None:
    """Encode the centre square of every frame that a decoder shows; nothing where it is there already."""
    if target.exists():
        return
    draft = target.with_suffix(".draft.mp4")
    with av.open(str(source)) as shown, av.open(str(draft), "w") as made:
        first = shown.streams.video[0]
        graph = Graph()
        graph.link_nodes(
            graph.add_buffer(template=first),
            graph.add("crop", "w='min(iw,ih)':h='min(iw,ih)'"),
            graph.add("scale", f"{SIZE}:{SIZE}"),
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ).configure()
        stream = made.add_stream("libx264", rate=first.average_rate, options={"crf": str(CRF)})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(shown.decode(first)):
            graph.vpush(frame)
            square = graph.vpull()
            square.pts, square.time_base = number, 1 / Fraction(first.average_rate or 25)
            square.pict_type = 0
            made.mux(stream.encode(square))
        made.mux(stream.encode(None))
    draft.rename(target)


def write_squares(sources: Sequence[Path], root: Path, folder: Path, processes: int) -> list[Path]:
    """The squares of all clips, which lie below `root`, by their places there."""
    targets = [(folder / source.relative_to(root)).with_suffix(".mp4") for source in sources]
    for parent in {target.parent for target in targets}:
        parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_square, sources, targets))
    return targets


def pooled(clip: Path, theirs: dict[str, dict[str, list[list[int]]]]) -> dict[tuple[str, int], np.ndarray]:
    """Mean of the tokens that each way keeps of a clip, float32 [1280], by its name and budget."""
    from benchmarks.evidence.tokens import encode

    sampled, chosen = _by_signals(clip)
    kept = {(name, int(budget)): np.array(own) for name, each in theirs.items() for budget, own in each.items()}
    frames = np.unique(np.concatenate([sampled, *(own[:, 0] for own in kept.values())]))
    pictures = _pictures(clip, frames)
    tokens = encode(_network(), pictures).astype(np.float32)  # [F, 49, 1280]
    slots = np.searchsorted(frames, sampled)
    for (name, budget), indices in (chosen | _by_content(pictures[slots], tokens[slots])).items():
        kept[name, budget] = _placed(indices, sampled)
    return {
        key: tokens[np.searchsorted(frames, own[:, 0]), own[:, 1] * (SIZE // PATCH) + own[:, 2]].mean(axis=0)
        for key, own in kept.items()
    }


@cache
def _network() -> Any:
    """The network of this process, on one thread: there are as many processes as cores."""
    import torch

    from benchmarks.evidence.tokens import load_network

    torch.set_num_threads(1)
    with contextlib.redirect_stdout(None):
        return load_network()


def _by_signals(clip: Path) -> tuple[np.ndarray, dict[tuple[str, int], np.ndarray]]:
    """Frames of the slots, int [64], and what is kept by the codec's signals or by differences of frames."""
    from benchmarks.evidence.candidates import DIFFERENCE
    from benchmarks.evidence.choices import Sampling, Stream, choose
    from codecsieve.pipelines.config import PRESETS

    sampling, stream = Sampling(SLOTS, SIZE, PATCH), Stream(clip, clip)
    found: dict[tuple[str, int], np.ndarray] = {}
    for kind, candidates in (
        ("bitstream", {"codecsieve, contrast": PRESETS["contrast"], "onevision": PRESETS["onevision"]}),
        ("search", {"codecsieve, contrast, block search": PRESETS["contrast"]}),
        ("difference", {"frame difference": DIFFERENCE}),
    ):
        found |= choose(stream, kind, sampling, candidates, BUDGETS)
    return stream.signals("search", sampling).frame_ids, found


def _by_content(pictures: np.ndarray, tokens: np.ndarray) -> dict[tuple[str, int], np.ndarray]:
    """What is kept by pixels uint8 [64, 3, 224, 224] or tokens float32 [64, 49, 1280], and by neither."""
    from benchmarks.compare.pruning import evs_pixels, evs_tokens, vidcom2
    from benchmarks.evidence.policies import random_tokens, uniform_slots, whole_slots

    found = {}
    for budget in BUDGETS:
        found["EVS, pixels", budget] = evs_pixels(pictures, PATCH, budget)
        found["EVS, tokens", budget] = evs_tokens(tokens, budget)
        found["VidCom2", budget] = vidcom2(tokens, budget)
        found["uniform frames", budget] = whole_slots(uniform_slots(SLOTS, budget // FRAME), FRAME)
        found["random tokens", budget] = random_tokens(SLOTS, FRAME, budget, seed=int(pictures.sum()) % 2**32)
    return found


def _placed(indices: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    """Indices slot * 49 + row * 7 + column -> frame, row, column."""
    slot, cell = np.divmod(indices, FRAME)
    return np.stack([sampled[slot], *np.divmod(cell, SIZE // PATCH)], axis=1)


def _pictures(clip: Path, frames: np.ndarray) -> np.ndarray:
    """RGB uint8 [F, 3, 224, 224] of some frames."""
    from benchmarks.evidence.tokens import model_rgb
    from codecsieve.codec.decode import decode_pictures
    from codecsieve.codec.packets import open_source

    wanted = set(frames.tolist())
    with open_source(clip) as source:
        shown = {
            picture.display_index: model_rgb(picture)
            for picture in decode_pictures(source, frames, motion=False)
            if picture.display_index in wanted
        }
    return np.stack([shown[frame] for frame in frames.tolist()])


def judge(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Accuracy by group, float64 [groups], of features float32 [n, d]."""
    from benchmarks.evidence.readout import Splits, logistic_readout

    splits = Splits.make(labels, groups, DRAWS)
    return splits.by_group(logistic_readout(features, splits))


def main() -> None:
    """Judge every way of choosing; write rows of name, budget, accuracy, its error, and what it is over `contrast`."""
    from benchmarks.evidence.readout import paired

    job = json.loads(Path(sys.argv[1]).read_text())
    labels, groups = np.array(job["labels"]), np.array(job["groups"])
    clips = [Path(clip) for clip in job["clips"]]
    made = []
    with ProcessPoolExecutor(job["processes"], multiprocessing.get_context("spawn")) as pool:
        for number, own in enumerate(pool.map(pooled, clips, job["theirs"]), 1):
            made.append(own)
            if number % 20 == 0 or number == len(clips):
                print(f"tokens of {number} of {len(clips)} clips", flush=True)
        features = [np.stack([own[key] for own in made]) for key in made[0]]
        found = dict(zip(made[0], pool.map(partial(judge, labels=labels, groups=groups), features), strict=True))
    rows: list[dict[str, Any]] = []
    for (name, budget), each in found.items():
        base = found["codecsieve, contrast", budget]
        row: dict[str, Any] = {"name": name, "budget": budget, "accuracy": float(each.mean()), "se": paired(each)[1]}
        rows.append(row | ({} if each is base else {"under contrast": paired(base - each)}))
    Path(job["result"]).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
