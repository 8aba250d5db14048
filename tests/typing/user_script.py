"""What a user writes, as pyright and mypy see it. Checked by `make types`, never run.

The lines with an ignore are wrong on purpose: both checkers also fail where such a line is right, as it would be if
codecsieve were not found, or were Any.
"""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from torch import Tensor

import codecsieve as cs
from codecsieve.client import JobState, SievedTokens
from codecsieve.encoder import OneVisionEncoder
from codecsieve.pipelines.loading.loader import TorchLoader

clip = cs.sieve("video.mp4", k_keep=1024)
assert_type(clip, cs.SievedClip)
assert_type(clip.fps, float)
patches: np.ndarray[Any, Any] = clip.patches

with cs.stream("rtsp://camera/1", window=32, every=4, k_keep=1024) as stream:
    assert_type(stream, cs.Stream)
    for window in stream:
        assert_type(window, cs.StreamWindow)
        assert_type(window.selection, cs.SievedClip)

config = cs.SieveConfig(k_keep=1024, signals="search")
assert_type(config.k_keep, int)
config_of_text = cs.SieveConfig(k_keep="many")  # type: ignore[arg-type]

summary = cs.precompute(["videos/", "more.csv"], "cache", k_keep=1024, workers=8, max_memory="2 GB")
assert_type(summary, cs.RunSummary)
assert_type(summary.failures[0].error, str)

cache = cs.open_cache("cache")
assert_type(cache, cs.SparseCache)
assert_type(cache[0], cs.SparseClip)
assert_type(cache[0].label, str | None)
assert_type(cache.read([0, "3f2a9c"]), cs.SparseBatch)
label: str = cache[0].label  # type: ignore[assignment]

loader = cs.make_loader(cache, batch_size=16, seed=1)
assert_type(loader, TorchLoader)
model = OneVisionEncoder.from_pretrained("folder")
for batch in loader:
    assert_type(batch.patches, Tensor)
    assert_type(batch.ids, tuple[str, ...])
    model(patches=batch.patches, positions=batch.positions)
    model(**batch.inputs)
    tensor: Tensor = batch["patches"]
assert_type(cs.load_encoder("folder"), OneVisionEncoder)
assert_type(cs.load_encoder("folder").config, cs.encoder.EncoderConfig)
with cs.Client("http://localhost:8000", key="cs_...") as client:
    assert_type(client.sieve("video.mp4", k_keep=1024), SievedTokens)
    states: np.ndarray[Any, Any] | None = client.embed(path="videos/clip.mp4", tokens=True).tokens
    job = client.start_job("caches:train", inputs=["videos"], k_keep=1024)
    assert_type(job.wait(), JobState)
    rows: list[dict[str, Any]] = list(client.cache("caches:train").rows("label = 'run'"))
cs.make_loader("cache", batch_size=16)  # type: ignore[arg-type]
cs.siv("video.mp4")  # type: ignore[attr-defined]
