"""Options that are wrong on purpose: both type checkers must say so on every line with an ignore, and on no other.

Checked by `make types`, never run. An ignore on a line that is right is an error, too, so each of these is asserted.
"""

from __future__ import annotations

import codecsieve as cs
from codecsieve.pipelines.loading.dali import make_dali_loader

cs.sieve("video.mp4", k_kep=1)  # type: ignore[call-arg]
cs.sieve("video.mp4", k_keep="many")  # type: ignore[arg-type]
cs.sieve("video.mp4", signals="serch")  # type: ignore[arg-type]
cs.SieveConfig(k_kep=1)  # type: ignore[call-arg]
cs.SieveConfig.preset("surprise", k_kep=1)  # type: ignore[call-arg]
cs.SieveConfig.preset("suprise")  # type: ignore[arg-type]
cs.sieve("video.mp4", preset="contrst")  # type: ignore[arg-type]

cs.precompute("videos/", "cache", k_kep=1)  # type: ignore[call-arg]
cs.precompute("videos/", "cache", worker=8)  # type: ignore[call-arg]
cs.precompute("videos/", "cache", store="pixels")  # type: ignore[arg-type]
cs.precompute(3, "cache")  # type: ignore[arg-type]
cs.precompute("videos/", "cache", prune=["fail"])  # type: ignore[list-item]
cs.stream("rtsp://camera/1", windw=32)  # type: ignore[call-arg]
cs.stream("rtsp://camera/1", num_frames=32)  # type: ignore[call-arg]

cs.open_cache("cache", verify="twice")  # type: ignore[arg-type]
cs.export_cache("cache", "out", "parquet")  # type: ignore[arg-type]
cs.export_cache("cache", "out", to="npz", shard_siz="1 GB")  # type: ignore[call-arg]

cache = cs.open_cache("cache")
cache[1.5]  # type: ignore[call-overload]
cs.make_loader(cache, batch_size=16, sed=1)  # type: ignore[call-arg]
cs.make_loader(cache, batch_size=16, seed="one")  # type: ignore[arg-type]
make_dali_loader(cache, batch_size=16, sed=1)  # type: ignore[call-arg]
cs.load_encoder("folder", dtyp=None)  # type: ignore[call-arg]

client = cs.Client("http://localhost:8000")
client.sieve("video.mp4", k_kep=1)  # type: ignore[call-arg]
client.embed("video.mp4", k_keep="many")  # type: ignore[arg-type]
client.inspect("video.mp4", signals="serch")  # type: ignore[arg-type]
client.start_job("caches:train", inputs=["videos"], k_kep=1)  # type: ignore[call-arg]
client.jobs("ready")  # type: ignore[arg-type]
