"""What cached features save: seconds an epoch of a probe takes with them, and with the encoder in the loop.

    python -m benchmarks.speed.probe [--clips N] [--epochs N] [--preset tiny] [--threads N]

Clips are noise, tinted a little by their class, in a cache of their own; the encoder is untrained. Both trainings have
the same probes, clips, steps and looks at the validation split, so that their accuracies can be compared as well.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.common import save, show
from codecsieve.cache import CacheWriter, ClipArrays, IndexRecord, Layout, SparseCache, open_cache
from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.pipelines.learn.frozen import FrozenEncoder, cached_features, encode_clips
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.probe.config import ProbeConfig
from codecsieve.pipelines.probe.tokens import LabelledTokens
from codecsieve.pipelines.probe.training import evaluate, train_probes

CLASSES = 4
LAYOUT = Layout(num_frames=16, k_keep=256, patch=14)


@dataclass(frozen=True)
class ProbeSpeed:
    """One training. seconds_per_epoch: steps, looks and checkpoints; processor_seconds: the same without waiting, which
    does not depend on what else the machine does; top1: of the chosen probe.
    """

    tokens: str
    seconds_per_epoch: float
    processor_seconds: float
    learning_rate: float
    epoch: int
    validation_top1: float
    test_top1: float


@click.command(help=__doc__)
@click.option(
    "--clips", default=128, show_default=True, help="Half of them to train on, a quarter for each other split."
)
@click.option("--epochs", default=4, show_default=True)
@click.option("--preset", default="tiny", show_default=True, help="Size of the encoder.")
@click.option("--threads", default=1, show_default=True, help="torch's; more than are free only wait for each other.")
def main(clips: int, epochs: int, preset: str, threads: int) -> None:
    """Measure both; print the table; write the JSON."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    encoder = FrozenEncoder(OneVisionEncoder(EncoderConfig.preset(preset)), preset)
    config = ProbeConfig((1e-4, 1e-3), (0,), epochs, batch_size=16)
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as folder:
        cache, labels = write_cache(clips, Path(folder) / "cache")
        encode = InTheLoop(encoder, cache)
        train(encode, labels[:32], ProbeConfig(epochs=1), Path(folder) / "warm")
        began = time.perf_counter()
        features = cached_features(cache, range(clips), encoder)
        making = time.perf_counter() - began
        looped = train(encode, labels, config, Path(folder) / "looped")
        cached = train(features, labels, config, Path(folder) / "cached")
    rows = [
        (
            row.tokens,
            row.seconds_per_epoch,
            row.processor_seconds,
            f"{row.validation_top1:.1%}",
            f"{row.test_top1:.1%}",
            row.epoch,
        )
        for row in (looped, cached)
    ]
    faster = looped.seconds_per_epoch / cached.seconds_per_epoch
    less_work = looped.processor_seconds / cached.processor_seconds
    title = f"A probe of {clips // 2} clips by the {preset} encoder: {faster:.0f} times faster, {less_work:.0f} in work"
    show(title, ["tokens", "s an epoch", "of processor", "validation", "test", "chosen epoch"], rows)
    print(f"features were made in {making:.1f} s, once")
    settings = {"preset": preset, "clips": clips, "epochs": epochs, "tokens": LAYOUT.k_keep, "torch": torch.__version__}
    figures = {"trainings": [asdict(looped), asdict(cached)], "times_faster": faster}
    figures |= {"times_less_processor": less_work, "making_seconds": making}
    save("probe_speed", {"settings": {**settings, "threads": threads}, **figures})


class InTheLoop:
    """Tokens made anew whenever they are asked for."""

    def __init__(self, encoder: FrozenEncoder, cache: SparseCache) -> None:
        self.encoder, self.cache = encoder, cache

    def read(self, numbers: list[int]) -> np.ndarray:
        """Float32 [B, N, D]."""
        (tokens,) = encode_clips(self.encoder, self.cache, [numbers])
        return tokens


def train(source: object, labels: torch.Tensor, config: ProbeConfig, out: Path) -> ProbeSpeed:
    """Train on the first half of the clips, choose on the next quarter, look at the last."""
    splits = torch.arange(len(labels)).tensor_split([len(labels) // 2, len(labels) * 3 // 4])
    training, validation, test = (_split(source, part.tolist(), labels[part]) for part in splits)
    began, worked = time.perf_counter(), time.process_time()
    trained = train_probes(training, validation, CLASSES, config, out)
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    (scores,) = evaluate(trained.best, test, config.batch_size, Ranks()).scores()
    choice = trained.choice
    name = "encoder in the loop" if isinstance(source, InTheLoop) else "cached"
    epochs = config.epochs_for(len(training))
    return ProbeSpeed(
        name, seconds / epochs, work / epochs, choice["learning_rate"], choice["epoch"], choice["top1"], scores.top1
    )


def _split(source: object, numbers: list[int], labels: torch.Tensor) -> LabelledTokens:
    return LabelledTokens(lambda clips: source.read([numbers[clip] for clip in clips]), labels)  # type: ignore[attr-defined]


def write_cache(clips: int, path: Path) -> tuple[SparseCache, torch.Tensor]:
    """A cache of noise in which some patches of a clip are tinted by its class."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, clips)
    tints = random.integers(-40, 40, (CLASSES, 3, 1, 1))
    with CacheWriter.open(path, LAYOUT, {}) as writer:
        for work in writer.plan(f"clip-{number}" for number in range(clips)):
            made, records = {}, []
            for clip_id in work.ids:
                number = int(clip_id.removeprefix("clip-"))
                pixels = random.integers(50, 200, (LAYOUT.k_keep, 3, 14, 14))
                pixels[: LAYOUT.k_keep // 8] += tints[labels[number]]
                places = np.sort(random.choice(LAYOUT.num_frames * 256, LAYOUT.k_keep, replace=False))
                positions = np.stack(np.unravel_index(places, (LAYOUT.num_frames, 16, 16)), axis=-1)
                made[clip_id] = ClipArrays(
                    pixels.astype(np.uint8),
                    positions.astype(np.uint16),
                    np.zeros(LAYOUT.k_keep, np.int32),
                    np.arange(LAYOUT.num_frames, dtype=np.int32),
                )
                records.append(IndexRecord(id=clip_id, uri=f"/{clip_id}", status="ok"))
            writer.write_shard(work.shard, made, records)
    return open_cache(path), torch.tensor(labels)


if __name__ == "__main__":
    main()
