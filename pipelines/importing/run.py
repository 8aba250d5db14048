"""Import: what others chose of videos becomes a cache, which is gone on with where it was begun.

What becomes of one clip stays with it: a file that is not read, a video that is not there, is a row of the index with
its error. What a source is, is left to `indexed` and `folders`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from codecsieve.cache import CacheWriter, Layout
from codecsieve.errors import CodecsieveError, ConfigError
from codecsieve.machine import MAX_MEMORY, available_cores, limit_memory
from codecsieve.pipelines.config import GIVEN
from codecsieve.pipelines.engines.base import Lost
from codecsieve.pipelines.engines.local import run_jobs
from codecsieve.pipelines.inputs.clips import distinct, read_inputs
from codecsieve.pipelines.inputs.row import ColumnNames
from codecsieve.pipelines.precompute.outcome import out_of_memory
from codecsieve.pipelines.precompute.said import news
from codecsieve.pipelines.precompute.shards import Shards
from codecsieve.pipelines.sieve.warm import warm_up
from codecsieve.text import quoted, shortened

from .arrays import SUFFIXES
from .config import ImportOptions
from .folders import ClipFolders, clip_folders
from .given import Job, Outcome, Source
from .indexed import IndexedVideos

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Imported:
    """What there is now.

    clips: of the source, in the cache; made: of these, now; failures: by id, why others are not.
    """

    out: str
    clips: int
    made: int
    failures: Mapping[str, str]


@dataclass
class Attempt:
    """Does a job in a worker process, in bounded memory. Whatever goes wrong is the clip's outcome, no exception."""

    take: Callable[[Job], Outcome]
    limited: bool = True

    def __call__(self, job: Job) -> Outcome:
        """What becomes of the job."""
        if self.limited:
            limit_memory(MAX_MEMORY)
            self.limited = False
        if job.error:
            return job.failed(job.error)
        try:
            return self.take(job)
        except MemoryError:
            return job.failed(out_of_memory(MAX_MEMORY))
        except CodecsieveError as error:
            return job.failed(str(error))
        except Exception as error:  # a fault of this program's in one clip must not end the run
            return job.failed(f"internal error: {type(error).__name__}: {error}")


def import_cache(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    videos: Sequence[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    *,
    columns: Mapping[str, str] | ColumnNames | None = None,
    num_frames: int = ImportOptions.num_frames,
    input_size: int = ImportOptions.input_size,
    patch_size: int = ImportOptions.patch_size,
    fit: Literal["crop", "letterbox"] = "crop",
    store: Literal["indices", "patches"] = "indices",
    videos_were: str = "",
    cache_key: str = "",
    workers: int | None = None,
    clip_timeout: float = ImportOptions.clip_timeout,
    progress: Progress | None = None,
) -> Imported:
    """Make a cache of what others chose: published indices with their videos, or folders of pictures.

    Nothing is unpickled, or run. Clips that are in the cache are passed over, those that failed are tried again. Scores
    are not known, and 0.

    Args:
        source: a folder of index files, or one file of all, see `indexed`; or an export to LLaVA's form, see
            `folders`, or to canvases, see `canvas_folders`, or what codec-video-prep made of one video.
        out: the cache, which is made or gone on with; a folder, or a URL in an object store.
        videos: what index files are of, as of `precompute`: videos, folders, manifests.
        columns: what a manifest calls our columns; one called `indices` names each clip's file.
        num_frames: slots that the indices count, spread from the video's first frame to its last.
        input_size: side of the square that they divide into patches, in pixels.
        patch_size: side of a patch, in pixels.
        fit: how pictures were brought into the square: "crop", or "letterbox", centred on black; folders say it
            themselves.
        store: "indices", or "patches" to cut them out of the videos, or off the pictures of folders.
        videos_were: the folder that the videos lay in when the indices were made, of whose paths files are named.
        cache_key: what was added to the paths for that.
        workers: clips at a time; None: one for each core, 0: in this process.
        clip_timeout: seconds that one clip may take.
        progress: told of clips done, of how many there are to do, and of how many failed.

    Raises ConfigError where an option cannot work or nothing can be imported, ManifestError where the videos cannot be
    understood, CacheError where `out` is something else or cannot be written.
    """
    options = ImportOptions(
        num_frames, input_size, patch_size, fit, store, os.fspath(videos_were), cache_key, workers, clip_timeout
    )
    listed = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
    found = _source(Path(source), listed, columns, options)
    shape = found.shape
    layout = Layout(shape.num_frames, shape.k_keep, shape.patch, store)
    config = {"policy": GIVEN, "signals": GIVEN, "input_size": shape.grid * shape.patch, **shape.laid,
              "imported": dict(found.about)}  # fmt: skip
    with CacheWriter.open(os.fspath(out), layout, config) as writer:
        writer.look_at(found.ids)
        told = news(writer.index(), found.requests)
        if told.rows is not None:
            writer.say(told.rows)
        work = writer.plan(found.ids, retry_failed=True)
        ids = [clip_id for shard in work for clip_id in shard.ids]
        made = failed = 0
        tell = progress or (lambda *_: None)
        tell(0, len(ids), 0)
        with Shards(writer, work) as shards, closing(_outcomes(found, ids, options)) as outcomes:
            for record, arrays in outcomes:
                shards.add(record, arrays)
                made, failed = made + (arrays is not None), failed + (arrays is None)
                tell(made + failed, len(ids), failed)
        index = writer.index()
    wanted = set(found.ids)
    failures = {
        row["id"]: row["error"] for row in index.select(["id", "status", "error"]).to_pylist()
        if row["status"] == "failed" and row["id"] in wanted
    }  # fmt: skip
    return Imported(os.fspath(out), len(found.ids) - len(failures), made, failures)


def _source(
    source: Path, videos: Sequence[Any], columns: Mapping[str, str] | ColumnNames | None, options: ImportOptions
) -> Source:
    if not source.exists():
        raise ConfigError(f"source ({quoted(str(source))}) is not there")
    folders = clip_folders(source) if source.is_dir() else []
    if folders:
        if videos:
            raise ConfigError(f"videos are for indices: {shortened(str(source))} has folders that say what they are of")
        return ClipFolders(folders, options)
    if not source.is_dir() and source.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"source ({quoted(str(source))}) must be a folder, or one of {', '.join(SUFFIXES)}")
    if not videos:
        raise ConfigError(f"{shortened(str(source))} has no folders of clips; say of which --videos its indices are")
    requests = distinct(read_inputs(videos, columns))
    return IndexedVideos(source, requests, _common_folder(videos), options)


def _common_folder(videos: Iterable[Any]) -> Path:
    """The folder that the videos lie in, as they were given."""
    paths = [os.path.abspath(os.fspath(path)) for path in videos]
    return Path(os.path.commonpath([path if os.path.isdir(path) else os.path.dirname(path) for path in paths]))


def _outcomes(source: Source, ids: Sequence[str], options: ImportOptions) -> Generator[Outcome]:
    """What becomes of each clip, in the order in which they are done."""
    jobs: Iterator[Job] = map(source.job, ids)
    count = min(available_cores() if options.workers is None else options.workers, len(ids))
    if not count:
        yield from map(Attempt(source.take, limited=False), jobs)
        return
    if options.store == "patches" and source.requests:  # whose patches are cut out of videos
        warm_up()
    workers = [Attempt(source.take) for _ in range(count)]
    with closing(run_jobs(workers, jobs, options.clip_timeout)) as answers:
        for job, answer in answers:
            yield job.failed(answer.reason) if isinstance(answer, Lost) else answer
