"""`Client`: what a service can do, as methods; options as `codecsieve.sieve` has them.

An option that there is not is an error to type checkers, and at run time the service's one line: which options there
are is for the service to say, which may be of another version.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from codecsieve.client.caches import RemoteCache
from codecsieve.client.connection import MOST_JSON, Connection
from codecsieve.client.files import RemoteFile, files_of
from codecsieve.client.jobs import RemoteJob, job_state
from codecsieve.client.streams import Bytes, RemoteStream
from codecsieve.client.tokens import SAFETENSORS, Embedded, SievedTokens, embedded, sieved_tokens
from codecsieve.errors import ConfigError, ManifestError
from codecsieve.files import publish, read_regular
from codecsieve.text import quoted, shortened

if TYPE_CHECKING:
    from typing import Literal, Unpack

    import httpx

    from codecsieve.pipelines.config import Preset, SieveKeywords, WindowKeywords

_PICTURES = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}
_CLIPS_AT_ONCE = 256
_CLIPS_WITH_TOKENS = 8  # 8 clips of 2,048 tokens of 1,024 numbers are 67 MB
_JOBS_AT_ONCE = 100


@dataclass(frozen=True)
class Readiness:
    """Whether a service takes requests; true where it does."""

    ready: bool
    lacks: Sequence[str]
    """Why not, a line each."""
    gpus: Sequence[Mapping[str, Any]]
    """Of the model, each with name, memory and free, in bytes."""

    def __bool__(self) -> bool:
        return self.ready


class Client:
    """A service of codecsieve, from any thread; used in a `with` block, it lets its connections go at the end.

    Requests that fail for a reason which may pass (no connection, 429, 502, 503, 504) are sent again, at longer and
    longer intervals, or when the service says. What cannot be is a ServiceError, the service's own line::

        with cs.Client("http://localhost:8000", key="cs_...") as client:
            clip = client.sieve("video.mp4", k_keep=1024)
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        retries: int = 6,
        timeout: float = 300.0,
        most_bytes: int = 10**9,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet, and nothing is read from the environment: neither keys nor proxies.

        Args:
            url: of the service, such as `http://localhost:8000`.
            key: its secret, where the service has keys.
            retries: further tries of a request that fails.
            timeout: seconds that a request may take, with all its tries and the waits between them.
            most_bytes: that an answer may have.
            transport: in place of the network's: `httpx.HTTPTransport(verify=..., proxy=...)`.

        Raises:
            ConfigError: a value that cannot be.
        """
        self._connection = Connection(url, key, retries, timeout, most_bytes, transport)

    def __repr__(self) -> str:
        return f"Client({self._connection.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let connections go."""
        self._connection.close()

    def ready(self) -> Readiness:
        """Whether the service takes requests, and if not, why. Raises ServiceError where it does not answer."""
        told = self._connection.ask_json("GET", "/readyz", expected=frozenset({503}))
        lacks, gpus = told.get("lacks"), told.get("gpus")
        if not isinstance(lacks, list) or not isinstance(gpus, list):
            raise self._connection.strange("no word of whether it is ready")
        return Readiness(told.get("status") == "ready", [str(line) for line in lacks], gpus)

    def sieve(
        self,
        video: str | os.PathLike[str] | None = None,
        *,
        path: str | None = None,
        url: str | None = None,
        start: float | None = None,
        end: float | None = None,
        pixels: bool = True,
        preset: Preset | None = None,
        **options: Unpack[SieveKeywords],
    ) -> SievedTokens:
        """Sieve one clip.

        Args:
            video: a file of this machine, which is sent.
            path: or a file that the service has, below one of its roots: `ROOT/sub/clip.mp4`.
            url: or where the service is to get it; of a host that it was allowed.
            start: seconds from the file's first frame; None: from the beginning.
            end: seconds, exclusive; None: to the end.
            pixels: whether patches are sent.
            preset: options by one name; None: those that the service has for all.
            options: fields of `SieveConfig`, such as `num_frames=64, k_keep=2048`.

        Raises:
            ServiceError: the service's own line.
            VideoError: the file cannot be read.
            ConfigError: not just one of video, path and url.
        """
        query = {"start": start, "end": end, "pixels": pixels, "preset": preset, **options}
        body = _source(video, path, url)
        answer = self._connection.ask("POST", "/v1/sieve", SAFETENSORS, {**query, "format": "safetensors"}, body, video)
        try:
            return sieved_tokens(answer.body)
        except ValueError as error:
            raise self._connection.strange(f"no clip ({error})") from None

    def embed(
        self,
        video: str | os.PathLike[str] | None = None,
        *,
        path: str | None = None,
        url: str | None = None,
        start: float | None = None,
        end: float | None = None,
        tokens: bool = False,
        preset: Preset | None = None,
        **options: Unpack[SieveKeywords],
    ) -> Embedded:
        """What the service's model makes of one clip; tokens: its token states, too; the rest as `sieve`.

        Raises ServiceError 501 where the service has no model; else as `sieve`.
        """
        query = {"start": start, "end": end, "tokens": tokens, "preset": preset, **options}
        body = _source(video, path, url)
        (made,) = self._embedded(query, 1, body, video)
        return made

    def embed_cached(self, cache: str, clips: Iterable[str], *, tokens: bool = False) -> list[Embedded]:
        """What the service's model makes of clips of a cache, in their order; nothing is decoded for it.

        clips: ids, beginnings of ids, or file names; sent several at a time. Raises ServiceError.
        """
        listed, made = list(clips), list[Embedded]()
        step = _CLIPS_WITH_TOKENS if tokens else _CLIPS_AT_ONCE
        for begin in range(0, len(listed), step):
            some = listed[begin : begin + step]
            made += self._embedded({"tokens": tokens}, len(some), {"cache": cache, "clips": some})
        return made

    def stream(
        self,
        video: str | os.PathLike[str] | Bytes | None = None,
        *,
        path: str | None = None,
        follow: bool = False,
        window: int = 64,
        stride: int | None = None,
        every: int = 1,
        fps: float | None = None,
        pixels: bool = True,
        preset: Preset | None = None,
        **options: Unpack[WindowKeywords],
    ) -> RemoteStream:
        """Sieve a video window by window while it comes, as `codecsieve.stream` does.

        A file, or a `path`, is begun anew where the connection is lost, and no window given twice; of a FIFO, and of
        what reads, what was sent is gone, and a connection that is lost is an error.

        Args:
            video: a file or a FIFO of this machine, or what has `read(size)`, which waits for some bytes, b"" being the
                end; sent no faster than it is sieved, and no faster than windows are taken.
            path: or a file that the service has, below one of its roots: `ROOT/sub/clip.ts`.
            follow: that file is still written to: wait at its end for more.
            window: frames of a selection.
            stride: frames from one window's first to the next one's, at most `window`; None: a quarter of it.
            every: of the frames shown one in so many is taken.
            fps: or so many a second, see `codecsieve.stream`.
            pixels: whether patches are sent.
            preset: options by one name; None: those that the service has for all.
            options: fields of `SieveConfig`, but those that say which frames there are.

        Returns:
            RemoteStream: an iterator of `RemoteWindow`, with `close()`; also for a `with` block. Nothing is asked
            before the first window is.

        Raises:
            ConfigError: not just one of video and path; or this client has a `transport`, which takes no streams.
            VideoError: the file cannot be read.
        """
        if (video is None) == (path is None):
            raise ConfigError("a stream must be one of: video (a file here, or what reads), path (of the service)")
        if not self._connection.on_network:
            raise ConfigError("transport must be None for streams: they are WebSockets, which go over the network")
        query = {"path": path, "follow": follow or None, "window": window, "stride": stride, "every": every, "fps": fps,
                 "pixels": pixels, "preset": preset, "format": "safetensors", **options}  # fmt: skip
        return RemoteStream(self._connection, query, video)

    def describe(
        self,
        video: str | os.PathLike[str] | None = None,
        *,
        path: str | None = None,
        url: str | None = None,
        num_frames: int | None = None,
    ) -> dict[str, Any]:
        """What a video offers the sieve, and why, as `codecsieve describe` tells it: codec, gops, signals, why, ...

        Arguments and errors as `sieve`.
        """
        body = _source(video, path, url)
        return self._connection.ask_json(
            "POST", "/v1/describe", query={"num_frames": num_frames}, body=body, video=video
        )

    def inspect(
        self,
        video: str | os.PathLike[str] | None = None,
        *,
        path: str | None = None,
        url: str | None = None,
        out: str | os.PathLike[str] | None = None,
        start: float | None = None,
        end: float | None = None,
        slots: int = 8,
        preset: Preset | None = None,
        **options: Unpack[SieveKeywords],
    ) -> bytes:
        """A picture of what is kept: the bytes of a PNG file, or of what `out` is named for.

        Args:
            video: as in `sieve`, as all that is not here.
            path: likewise.
            url: likewise.
            out: a file to be written, .png (a still), .gif or .mp4 (every slot in turn).
            start: likewise.
            end: likewise.
            slots: that a still shows.
            preset: likewise.
            options: likewise.

        Raises:
            CacheError: `out` cannot be written; else as `sieve`.
        """
        suffix = ".png" if out is None else Path(out).suffix.lower()
        if suffix not in _PICTURES:
            raise ConfigError(f"out ({quoted(os.fspath(out or ''))}) must end in {', '.join(_PICTURES)}")
        query = {"start": start, "end": end, "slots": slots, "preset": preset, "format": suffix[1:], **options}
        body = _source(video, path, url)
        answer = self._connection.ask("POST", "/v1/inspect", _PICTURES[suffix], query, body, video)
        if out is not None:
            publish(Path(out), [answer.body])
        return bytes(answer.body)

    def start_job(
        self,
        cache: str,
        *,
        inputs: Sequence[str] = (),
        manifest: str | os.PathLike[str] | Sequence[Mapping[str, str | int | float | bool | None]] = (),
        columns: Mapping[str, str] | None = None,
        labels_from_folders: bool = False,
        preset: Preset | None = None,
        store: Literal["patches", "indices"] = "patches",
        device: str = "auto",
        retry_failed: bool = False,
        prune: Sequence[Literal["missing", "failed"]] = (),
        **options: Unpack[SieveKeywords],
    ) -> RemoteJob:
        """Have a cache made, or gone on with. However often the request must be sent, it is one job.

        Args:
            cache: `ROOT:FOLDER`.
            inputs: videos, folders and manifests that the service has: `ROOT/sub/...`.
            manifest: or rows: `path` (`ROOT/...`), and any of label, start, end, id and further columns; or a file of
                this machine that has them as CSV, TSV or JSON lines.
            columns: what manifests call our columns, such as `{"label": "action"}`.
            labels_from_folders: a folder's videos are labelled by the folder that they lie in.
            preset: options by one name; None: those that the service has for all.
            store: whether pixels are kept.
            device: where clips are made.
            retry_failed: whether clips are tried again that failed before.
            prune: which clips are taken out at the end.
            options: fields of `SieveConfig`, such as `k_keep=1024`.

        Raises:
            ServiceError: the service's own line; 429 where it has enough of this key's jobs.
            ManifestError: the file cannot be read.
        """
        listed = {"manifest_text": _text_of(manifest)} if isinstance(manifest, str | os.PathLike) else {
            "manifest": [dict(row) for row in manifest]
        }  # fmt: skip
        body = {
            "cache": cache, "inputs": list(inputs), **listed,
            "columns": dict(columns or {}), "labels_from_folders": labels_from_folders, "preset": preset,
            "store": store, "device": device, "retry_failed": retry_failed, "prune": list(prune), "options": options,
        }  # fmt: skip
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        told = self._connection.ask_json("POST", "/v1/jobs", body=body, headers=headers)
        return RemoteJob(self._connection, job_state(self._connection, told))

    def job(self, job_id: str) -> RemoteJob:
        """A job of this key's. Raises ServiceError 404 where there is none."""
        if not (job_id.isalnum() and job_id.isascii()):
            raise ConfigError(f"job_id ({quoted(job_id)}) must be letters and digits")
        told = self._connection.ask_json("GET", f"/v1/jobs/{job_id}")
        return RemoteJob(self._connection, job_state(self._connection, told))

    def jobs(self, state: Literal["queued", "running", "done", "failed", "cancelled"] | None = None) -> list[RemoteJob]:
        """The jobs of one's key, the newest first; those in a state. Raises ServiceError."""
        found: list[RemoteJob] = []
        while True:
            query = {"state": state, "offset": len(found), "limit": _JOBS_AT_ONCE}
            told = self._connection.ask_json("GET", "/v1/jobs", query=query).get("jobs")
            if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
                raise self._connection.strange("no jobs")
            found += [RemoteJob(self._connection, job_state(self._connection, one)) for one in told]
            if len(told) < _JOBS_AT_ONCE:
                return found

    def roots(self) -> list[str]:
        """The names of the service's roots. Raises ServiceError."""
        return self._names("/v1/roots", "roots")

    def files(self, folder: str, *, begins: str = "") -> Iterator[RemoteFile]:
        """The folders, videos and manifests in `ROOT` or `ROOT/sub/...`, in the order of their names, a page at a time.

        begins: only those whose names begin so; capitals count as small letters. Raises ServiceError 404 where there is
        no such folder.
        """
        return files_of(self._connection, folder, begins)

    def caches(self) -> list[str]:
        """The names of the service's caches. Raises ServiceError."""
        return self._names("/v1/caches", "caches")

    def cache(self, name: str) -> RemoteCache:
        """A cache of the service's. Raises ServiceError 404 where there is none."""
        return RemoteCache(self._connection, name)

    def _names(self, path: str, field: str) -> list[str]:
        told = self._connection.ask_json("GET", path).get(field)
        if not isinstance(told, list):
            raise self._connection.strange(f"no {field}")
        return [str(name) for name in told]

    def _embedded(
        self, query: Mapping[str, Any], count: int, body: Any, video: str | os.PathLike[str] | None = None
    ) -> list[Embedded]:
        answer = self._connection.ask("POST", "/v1/embed", SAFETENSORS, {**query, "format": "safetensors"}, body, video)
        try:
            return embedded(answer.body, count)
        except ValueError as error:
            raise self._connection.strange(f"no embeddings ({error})") from None


def _text_of(manifest: str | os.PathLike[str]) -> str:
    """A manifest's text. Raises ManifestError."""
    try:
        return read_regular(manifest, MOST_JSON).decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{shortened(os.fspath(manifest))}: {error.strerror}; check that it can be read") from None
    except UnicodeDecodeError:
        raise ManifestError(f"{shortened(os.fspath(manifest))}: is not UTF-8 text; save it as UTF-8") from None


def _source(video: str | os.PathLike[str] | None, path: str | None, url: str | None) -> dict[str, str] | None:
    """What the request's JSON says of where the clip is; None where it is sent. Raises ConfigError."""
    if sum(one is not None for one in (video, path, url)) != 1:
        raise ConfigError("a clip must be one of: video (a file here), path (ROOT/sub/clip.mp4 of the service), url")
    if video is not None:
        return None
    return {"path": path} if path is not None else {"url": str(url)}
