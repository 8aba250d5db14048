"""The same contest by tokens that know nothing but their patch: patches of 14 px, each encoded alone.

    python -m benchmarks.training.demo --out DEMO --seeds 1
    python -m benchmarks.evidence.alone --videos VIDEOS --twin TWIN --encoder DEMO/seed-0/step-250

The network of `contest` sees whole frames, so that a token also tells what lies around its patch, kept or not. Here the
project's tiny encoder gets each kept patch as a clip of one, without its place: trained by the demonstration (sprites
on photos, no people), and untrained. Two and four frames' worth of pixels are kept, 512 and 1,024 of 16,384 patches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.common import save
from benchmarks.evidence.candidates import CONTENDERS, SPREAD_DIFFERENCE, compared
from benchmarks.evidence.choices import Sampling, Stream, choose_all
from benchmarks.evidence.contest import Judged, Key, judge_all, rows, show_rows
from benchmarks.evidence.policies import random_tokens, uniform_slots, whole_slots
from benchmarks.evidence.tokens import LabelledClip, read_frames, read_labels
from codecsieve.encoder import EncoderConfig, OneVisionEncoder

SAMPLING = Sampling(64, 224, 14)
BUDGETS = (512, 1024)
KINDS = ("search", "bitstream")
BATCH = 1024
"""Patches at once."""

Choices = dict[tuple[str, str, int], list[np.ndarray]]
"""Indices kept of each clip, by signals, candidate and budget."""


def choices_of(clips: list[LabelledClip], names: tuple[str, ...]) -> Choices:
    """What is kept of every clip, controls included."""
    streams = [Stream(clip.path, clip.path) for clip in clips]
    found: Choices = {}
    for kind in KINDS:
        made = choose_all(streams, kind, SAMPLING, compared(names), BUDGETS)
        found |= {(kind, *key): indices for key, indices in made.items()}
    difference = {"frame difference": SPREAD_DIFFERENCE["frame difference"]}
    made = choose_all(streams, "difference", SAMPLING, difference, BUDGETS)
    found |= {("difference", *key): indices for key, indices in made.items()}
    for budget in BUDGETS:
        whole = whole_slots(uniform_slots(SAMPLING.slots, budget // SAMPLING.frame), SAMPLING.frame)
        found["none", "uniform frames", budget] = [whole] * len(clips)
        found["none", "random tokens", budget] = [
            random_tokens(SAMPLING.slots, SAMPLING.frame, budget, seed) for seed in range(len(clips))
        ]
    return found


def wanted(choices: Choices, clip: int) -> np.ndarray:
    """Indices that any choice keeps of a clip, ascending."""
    return np.unique(np.concatenate([indices[clip] for indices in choices.values()]))


def patches_of(clip: LabelledClip, indices: np.ndarray) -> np.ndarray:
    """Pixels of some patches: uint8 [n, 3, 14, 14]."""
    pictures, _, _ = read_frames(clip.path, SAMPLING.slots)
    side, patch = SAMPLING.size // SAMPLING.patch, SAMPLING.patch
    grid = pictures.reshape(-1, 3, side, patch, side, patch).transpose(0, 2, 4, 1, 3, 5)
    return grid.reshape(-1, 3, patch, patch)[indices]


@torch.inference_mode()
def encode_alone(model: OneVisionEncoder, patches: np.ndarray) -> np.ndarray:
    """Each patch as a clip of its own: uint8 [n, 3, 14, 14] -> float32 [n, D]."""
    tokens = []
    for batch in torch.from_numpy(patches).split(BATCH):
        positions = torch.zeros((len(batch), 1, 3), dtype=torch.int64)
        tokens.append(model(patches=batch[:, None], positions=positions).last_hidden_state[:, 0].float())
    return torch.cat(tokens).numpy()


def encoders(folder: Path) -> dict[str, OneVisionEncoder]:
    """The tiny encoder trained, and at random initialisation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untrained = OneVisionEncoder(EncoderConfig.preset("tiny"))
    trained = OneVisionEncoder.from_pretrained(str(folder), dtype=torch.float32, device="cpu")
    return {"trained": trained.eval(), "untrained": untrained.eval()}


def judged_alone(name: str, videos: Path, models: dict[str, OneVisionEncoder], names: tuple[str, ...]) -> Any:
    """All figures of one set of clips, the encoder's state in the name of the set."""
    clips, _ = read_labels(videos)
    labels, groups = np.array([clip.label for clip in clips]), np.array([clip.group for clip in clips])
    choices = choices_of(clips, names)
    own = [wanted(choices, number) for number in range(len(clips))]
    patches = [patches_of(clip, indices) for clip, indices in zip(clips, own, strict=True)]
    found: dict[Key, Judged] = {}
    for state, model in models.items():
        tokens = [encode_alone(model, each) for each in patches]
        for readout in ("logistic", "attentive"):
            keys = [Key(f"{name}, {state}", *key, readout) for key in choices]
            found |= judge_all(
                keys, (_features(tokens, own, choices[key[1:4]], readout) for key in keys), labels, groups
            )
    return found


def _features(tokens: list[np.ndarray], own: list[np.ndarray], choice: list[np.ndarray], readout: str) -> np.ndarray:
    """Tokens of a choice [n, K, D], or their means [n, D]."""
    kept = [each[np.searchsorted(all_of, some)] for each, all_of, some in zip(tokens, own, choice, strict=True)]
    return np.stack([each.mean(axis=0) for each in kept] if readout == "logistic" else kept)


@click.command(help=__doc__)
@click.option("--videos", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--twin", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--encoder", type=click.Path(exists=True, path_type=Path), required=True, help="Exported by a training.")
@click.option("--contender", "names", multiple=True, type=click.Choice(list(CONTENDERS)), default=("slot", "product"))
def main(videos: Path, twin: Path, encoder: Path, names: tuple[str, ...]) -> None:
    """Measure; print the tables; write the JSON."""
    models = encoders(encoder)
    judged = judged_alone("clips", videos, models, names) | judged_alone("moving", twin, models, names)
    made = rows(judged)
    show_rows(made, BUDGETS)
    save("contest_alone", {"slots": SAMPLING.slots, "patch": SAMPLING.patch, "rows": made})


if __name__ == "__main__":
    main()
