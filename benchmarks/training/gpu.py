"""A training on an NVIDIA GPU: its losses beside the processor's, and the pace and memory of a large one.

    python -m benchmarks.training.gpu

Parts of a video that is made on the spot are cached; their concepts are drawn at random, since what is learnt does not
matter here. Each training is a process of its own, as users start it; the JSON is written after each.
"""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.common import save, show
from benchmarks.gpu.scenes import VIDEOS, encode
from benchmarks.training.ranks import losses, steps_of
from codecsieve.cache.concepts import write_concepts
from codecsieve.encoder import EncoderConfig

CLIPS, TOKENS = 64, 512
SMALL = {"encoder": "tiny", "steps": 60, "batch_size": 32, "concept_rate": 0.5, "precision": "float32"}
FORMS: dict[str, dict[str, object]] = {
    "bfloat16": {"precision": "bfloat16"},
    "recompute": {"recompute": True},
    "compile": {"compile": True},
}
LARGE = {"encoder": "large", "steps": 25, "batch_size": CLIPS, "save_every": 1000}
LARGE_FORMS: dict[str, dict[str, object]] = {"bfloat16": {}, "bfloat16, recompute": {"recompute": True}}
CENTRES, MANY = 400, 400_000
_WARM = 10  # steps whose time does not count
_LOOK_SECONDS = 0.3


@click.command(help=__doc__)
def main() -> None:
    """Measure; print tables; write the JSON."""
    if not torch.cuda.is_available():
        raise click.ClickException("no NVIDIA GPU that torch can use; run this on a machine that has one")
    name = f"training-{'-'.join(torch.cuda.get_device_name().lower().split())}"
    figures: dict[str, Any] = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name()}
    with tempfile.TemporaryDirectory(prefix="codecsieve-bench-") as scratch:
        folder = Path(scratch)
        ids = _cache(folder)
        _bank(folder / "few", ids, "tiny", CENTRES)
        figures["losses"] = {"options": SMALL, "apart": _agreement(folder)}
        save(name, figures)
        _bank(folder / "many", ids, "large", MANY)
        figures["large"] = {"options": LARGE, "centres": MANY, "tokens of a clip": TOKENS, "forms": {}}
        for form, options in LARGE_FORMS.items():
            figures["large"]["forms"][form] = _pace(folder, form, options)
            save(name, figures)
    rows = [[form, *found.values()] for form, found in figures["large"]["forms"].items()]
    show(f"{LARGE['encoder']}, {MANY:,} centres", ["form", "step s", "clips/s", "tokens/s", "GPU's memory GB"], rows)


def _cache(folder: Path) -> list[str]:
    """Cache parts of a video; their ids."""
    video = encode(VIDEOS[0], folder, 300)
    ids = [f"clip-{number}" for number in range(CLIPS)]
    with (folder / "clips.csv").open("w", newline="") as file:
        rows = [(video.name, number / 10, number / 10 + 3, name) for number, name in enumerate(ids)]
        csv.writer(file).writerows([("path", "start", "end", "id"), *rows])
    sieve = ["--num-frames=16", f"--k-keep={TOKENS}", "--device=cpu"]
    _codecsieve("precompute", str(folder / "clips.csv"), f"--out={folder / 'cache'}", *sieve)
    return ids


def _bank(folder: Path, ids: list[str], preset: str, classes: int) -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((classes, EncoderConfig.preset(preset).hidden_size), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    write_concepts(folder, centres, ids, random.integers(0, classes, (len(ids), 8)), {})


def _agreement(folder: Path) -> list[dict[str, Any]]:
    """How far losses are apart, relative to the first named."""
    _train(folder, "cpu", "few", "cpu", SMALL)
    plain = _train(folder, "cuda", "few", "cuda", SMALL)
    rows = [{"losses": "processor, GPU", **_apart(folder / "cpu", plain)}]
    for form, options in FORMS.items():
        out = _train(folder, f"cuda-{form}", "few", "cuda", {**SMALL, **options})
        rows.append({"losses": f"GPU, {form}", **_apart(plain, out)})
    show("Losses, apart by", list(rows[0]), [list(row.values()) for row in rows])
    return rows


def _apart(one: Path, other: Path) -> dict[str, float]:
    apart = [abs(a - b) / abs(a) for a, b in zip(losses(one), losses(other), strict=True)]
    return {"in 1 step": apart[0], "in 10 steps": max(apart[:10]), f"in {len(apart)} steps": max(apart)}


def _pace(folder: Path, form: str, options: dict[str, object]) -> dict[str, float]:
    """Of one training, and the most that the GPU had in use meanwhile."""
    used, done = [0], threading.Event()

    def look() -> None:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while not done.wait(_LOOK_SECONDS):
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            used.append(int(said.split()[0]))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        out = _train(folder, f"large-{form}", "many", "cuda", {**LARGE, **options})
    finally:
        done.set()
        looking.join()
    seconds = statistics.median(step["seconds"] for step in steps_of(out)[_WARM:])
    return {
        "step_s": seconds,
        "clips_per_s": CLIPS / seconds,
        "tokens_per_s": CLIPS * TOKENS / seconds,
        "gpu_memory_gb": max(used) * 2**20 / 1e9,
    }


def _train(folder: Path, out: str, bank: str, device: str, options: dict[str, Any]) -> Path:
    flags = [f"--{name.replace('_', '-')}{'' if value is True else f'={value}'}" for name, value in options.items()]
    places = [f"--cache={folder / 'cache'}", f"--concepts={folder / bank}", f"--out={folder / out}"]
    _codecsieve("train", *places, f"--device={device}", "--quiet", *flags)
    return folder / out


def _codecsieve(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "codecsieve", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"codecsieve {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")


if __name__ == "__main__":
    main()
