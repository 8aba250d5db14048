"""What is told apart by the tokens that each way of choosing keeps: equal tokens, one frozen network, one readout.

    python -m benchmarks.compare.accuracy JOB.json

Of clips as `squares` makes them. A frame has 7x7 tokens of 32x32 px, see `benchmarks.evidence.tokens`; which of them a
tool of another environment keeps comes with the job. `contest` runs this where the network's packages are found.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

from benchmarks.compare.pruning import evs_pixels, evs_tokens, vidcom2
from benchmarks.compare.squares import BUDGETS, FRAME, PATCH, SIZE, SLOTS
from benchmarks.evidence.candidates import DIFFERENCE
from benchmarks.evidence.choices import Sampling, Stream, choose
from benchmarks.evidence.policies import random_tokens, uniform_slots, whole_slots
from benchmarks.evidence.readout import Splits, logistic_readout, paired
from benchmarks.evidence.tokens import encode, load_network, model_rgb
from codecsieve.codec.decode import decode_pictures
from codecsieve.codec.packets import open_source
from codecsieve.pipelines.config import PRESETS

DRAWS = 6
"""Of the folds, see `benchmarks.evidence.readout`."""


def pooled(clip: Path, theirs: dict[str, dict[str, list[list[int]]]]) -> dict[tuple[str, int], np.ndarray]:
    """Mean of the tokens that each way keeps of a clip, float32 [1280], by its name and budget."""
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
def _network() -> EfficientNet:
    """The network of this process, on one thread: there are as many processes as cores."""
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(None):
        return load_network()


def _by_signals(clip: Path) -> tuple[np.ndarray, dict[tuple[str, int], np.ndarray]]:
    """Frames of the slots, int [64], and what is kept by the codec's signals or by differences of frames."""
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
    splits = Splits.make(labels, groups, DRAWS)
    return splits.by_group(logistic_readout(features, splits))


def main() -> None:
    """Judge every way of choosing; write rows of name, budget, accuracy, its error, and what it is over `contrast`."""
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
