"""Videos in, sparse tokens out: keep the patches that move, straight from what the codec already knows.

    import codecsieve as cs

    clip = cs.sieve("video.mp4", k_keep=1024)          # one clip's patches, positions, scores
    for window in cs.stream("rtsp://camera/1"): ...    # the same of 64 frames at a time, for as long as they come
    cs.precompute("videos/", "cache", k_keep=1024)     # many clips into a cache, as `codecsieve precompute` does
    cache = cs.open_cache("cache")
    loader = cs.make_loader(cache, batch_size=16)      # batches for a model, such as cs.load_encoder(FOLDER_OR_HUB_ID)
    client = cs.Client("http://localhost:8000")        # the same, asked of a service: client.sieve("video.mp4")

Names are loaded when they are first used, so that `import codecsieve` and `codecsieve --help` stay quick.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Unpack

    from codecsieve import encoder
    from codecsieve.cache import SparseBatch, SparseCache, SparseClip, open_cache
    from codecsieve.client import Client
    from codecsieve.codec.arriving import Bytes
    from codecsieve.codec.clip import ClipSignals, read_clip
    from codecsieve.encoder import load_encoder
    from codecsieve.errors import CacheError, CodecsieveError, ConfigError, ServiceError, VideoError
    from codecsieve.kernels.dispatch import score_patches, select_patches
    from codecsieve.pipelines.config import PrecomputeKeywords, Preset, SieveConfig, SieveKeywords, WindowKeywords
    from codecsieve.pipelines.exchange.export import Exported, export_cache
    from codecsieve.pipelines.importing.run import Imported, import_cache
    from codecsieve.pipelines.loading.dataset import Batch, SparseDataset, collate
    from codecsieve.pipelines.loading.loader import make_loader
    from codecsieve.pipelines.precompute.ray_options import RayOptions
    from codecsieve.pipelines.precompute.summary import Progress, RunSummary
    from codecsieve.pipelines.sieve.kept import SievedClip
    from codecsieve.pipelines.stream.stream import Stream
    from codecsieve.pipelines.stream.windows import StreamWindow

__version__ = "0.1.0"

_HOME = {
    "Batch": "codecsieve.pipelines.loading.dataset",
    "CacheError": "codecsieve.errors",
    "Client": "codecsieve.client",
    "ClipSignals": "codecsieve.codec.clip",
    "CodecsieveError": "codecsieve.errors",
    "ConfigError": "codecsieve.errors",
    "Exported": "codecsieve.pipelines.exchange.export",
    "Imported": "codecsieve.pipelines.importing.run",
    "Progress": "codecsieve.pipelines.precompute.summary",
    "RayOptions": "codecsieve.pipelines.precompute.ray_options",
    "RunSummary": "codecsieve.pipelines.precompute.summary",
    "ServiceError": "codecsieve.errors",
    "SieveConfig": "codecsieve.pipelines.config",
    "SievedClip": "codecsieve.pipelines.sieve.kept",
    "SparseBatch": "codecsieve.cache",
    "SparseCache": "codecsieve.cache",
    "SparseClip": "codecsieve.cache",
    "SparseDataset": "codecsieve.pipelines.loading.dataset",
    "Stream": "codecsieve.pipelines.stream.stream",
    "StreamWindow": "codecsieve.pipelines.stream.windows",
    "VideoError": "codecsieve.errors",
    "collate": "codecsieve.pipelines.loading.dataset",
    "export_cache": "codecsieve.pipelines.exchange.export",
    "import_cache": "codecsieve.pipelines.importing.run",
    "load_encoder": "codecsieve.encoder",
    "make_loader": "codecsieve.pipelines.loading.loader",
    "open_cache": "codecsieve.cache",
    "read_clip": "codecsieve.codec.clip",
    "score_patches": "codecsieve.kernels.dispatch",
    "select_patches": "codecsieve.kernels.dispatch",
}

__all__ = [
    "Batch",
    "CacheError",
    "Client",
    "ClipSignals",
    "CodecsieveError",
    "ConfigError",
    "Exported",
    "Imported",
    "Progress",
    "RayOptions",
    "RunSummary",
    "ServiceError",
    "SieveConfig",
    "SievedClip",
    "SparseBatch",
    "SparseCache",
    "SparseClip",
    "SparseDataset",
    "Stream",
    "StreamWindow",
    "VideoError",
    "collate",
    "encoder",
    "export_cache",
    "import_cache",
    "load_encoder",
    "make_loader",
    "open_cache",
    "precompute",
    "read_clip",
    "score_patches",
    "select_patches",
    "sieve",
    "stream",
]


def sieve(
    path: str | os.PathLike[str],
    *,
    preset: Preset | None = None,
    start: float | None = None,
    end: float | None = None,
    **options: Unpack[SieveKeywords],
) -> SievedClip:
    """Sieve one clip, without a cache.

    Args:
        path: a video file.
        preset: options by one name, see `codecsieve.pipelines.config.PRESETS`; `options` go before it. None: those of
            `DEFAULT_PRESET`.
        start: seconds from the file's first frame; None: from the beginning.
        end: seconds, exclusive; None: to the end.
        options: fields of `SieveConfig`, such as `num_frames=64, k_keep=2048, signals="auto"`.

    Returns:
        SievedClip: `patches` uint8 [K, 3, P, P], `positions` uint16 [K, 3] (slot, row, column), `scores` int32 [K]
        and what they come from. A notebook draws it, and `show()` gives the picture.

    Raises:
        VideoError: the file cannot be used: one line that names it and says what to do.
        ValueError: an option is out of range.
        TypeError: an option that `SieveConfig` does not have, with the one that was probably meant.
    """
    from codecsieve.options import check_names
    from codecsieve.pipelines.config import DEFAULT_PRESET, SieveConfig
    from codecsieve.pipelines.sieve.clip import sieve_clip

    check_names(sieve, options, SieveConfig)
    return sieve_clip(path, SieveConfig.preset(preset or DEFAULT_PRESET, **options), start, end)


def stream(
    source: str | os.PathLike[str] | Bytes,
    *,
    window: int = 64,
    stride: int | None = None,
    every: int = 1,
    fps: float | None = None,
    follow: bool = False,
    patience: float = 10.0,
    pixels: bool = True,
    max_memory: int | str = "4 GB",
    preset: Preset | None = None,
    **options: Unpack[WindowKeywords],
) -> Stream:
    """Sieve a source that need have no end, window by window, each as soon as its last frame has come.

    A window's selection is what `sieve` gives of its frames, with `start` and `end` about them; each picture is decoded
    and scored once, and each patch cut out once, however many windows it is in.

    Args:
        source: a path, of a FIFO too; "-" for standard input; an address: rtsp, http(s), tcp, udp; or what has
            `read(size)`, which waits for some bytes, b"" being the end.
        window: frames of a selection.
        stride: frames from one window's first to the next one's, at most `window`; None: a quarter of it, 16 of 64.
        every: of the frames shown one in so many is taken.
        fps: or so many a second: the first frame at or after each k/fps seconds from the first frame's time.
        follow: the file is still written to: wait at its end for more.
        patience: seconds that nothing may come before the source is given up.
        pixels: also cut out the patches; without, `patches` is empty.
        max_memory: bytes that the stream may take, such as "500 MB"; one that may take more is refused.
        preset: options by one name, as of `sieve`.
        options: fields of `SieveConfig`, but those that say which frames there are.

    Returns:
        Stream: an iterator of `StreamWindow`, with `close()`; also for a `with` block. It raises VideoError where the
        source falls silent or breaks off, once all windows before that were given.

    Raises:
        VideoError: the source cannot be used: one line that says what to do.
        ValueError: an option is out of range.
        TypeError: an option that `SieveConfig` does not have, with the one that was probably meant.
    """
    from codecsieve.options import check_names
    from codecsieve.pipelines.config import SieveConfig
    from codecsieve.pipelines.stream.config import StreamOptions, window_config
    from codecsieve.pipelines.stream.stream import Stream

    check_names(stream, options, SieveConfig)
    sliding = StreamOptions(window, stride, every, fps, follow, patience, max_memory)  # type: ignore[arg-type]
    return Stream(source, window_config(sliding, preset, options), sliding, pixels)


def precompute(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    preset: Preset | None = None,
    columns: Mapping[str, str] | None = None,
    labels_from_folders: bool = False,
    ray: RayOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[PrecomputeKeywords],
) -> RunSummary:
    """Put videos into a cache, which is made or gone on with: what `codecsieve precompute` does.

    Worker processes are spawned, so a script calls this under `if __name__ == "__main__":`.

    Args:
        inputs: a video, a folder of videos, a manifest, or several of these.
        out: the cache's folder.
        preset: options by one name, see `codecsieve.pipelines.config.PRESETS`; `options` go before it. None: those of
            the cache that is gone on with, or, for a new one, of `DEFAULT_PRESET`.
        columns: what a manifest calls our columns, such as `{"path": "filename", "label": "action"}`.
        labels_from_folders: a folder's videos are labelled by the folder that they lie in.
        ray: `RayOptions()` to have a Ray cluster make the clips, with `ray_address`, `ray_actors` and so on.
        progress: called at the start and after every clip.
        options: fields of `SieveConfig`, such as `k_keep=1024`, and of `codecsieve.pipelines.config.RunOptions`, such
            as `workers=8, device="cpu"`.

    Returns:
        RunSummary: how many clips were made, and the failures, each with its reason; `complete` where there are none.

    Raises:
        CacheError: `out` cannot be made or written, or holds something else, or a cache of other options.
        ValueError: an option is out of range, or a manifest cannot be understood.
        TypeError: an option that there is not, with the one that was probably meant.
        KeyboardInterrupt: what is done by then is kept; call it again to go on.
    """
    from codecsieve.options import check_names
    from codecsieve.pipelines.config import RunOptions, SieveConfig
    from codecsieve.pipelines.inputs.clips import read_ranges
    from codecsieve.pipelines.precompute.chosen import options_of_run
    from codecsieve.pipelines.precompute.run import precompute as run

    check_names(precompute, options, SieveConfig, RunOptions)
    given: dict[str, Any] = {**options}
    of_run = {name: given.pop(name) for name in RunOptions.__dataclass_fields__ if name in given}
    listed = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    requests = read_ranges(listed, columns, labels_from_folders)
    return run(requests, out, options_of_run(out, preset, **given), ray=ray, progress=progress, **of_run)


if not TYPE_CHECKING:  # for a type checker, a name that is not above is an error

    def __getattr__(name: str) -> Any:
        if name not in _HOME and name != "encoder":
            raise AttributeError(f"module 'codecsieve' has no attribute {name!r}")
        try:
            if name == "encoder":
                return importlib.import_module("codecsieve.encoder")
            return getattr(importlib.import_module(_HOME[name]), name)
        except ModuleNotFoundError as error:  # of torch, mostly
            needed = f"codecsieve.{name} needs {error.name}, which is not installed"
            extra = "client" if name == "Client" else "encoder"
            raise ImportError(f"{needed}; pip install 'codecsieve[{extra}]'", name=error.name) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, "encoder"])
