"""Objects in a bucket, below a URL: read whole or by ranges, put under a condition, listed, removed; through obstore.

What a bucket promises is less than what a folder does: an object is replaced as a whole or not at all, nothing is
renamed, nothing locked. It promises more, too: that an object is put only where none is, or only in the place of the
version that one has seen. Errors are OSErrors, as a file's are; keys and tokens are in none of them. What objects mean,
and what is done where a condition does not hold, is left to whoever puts them.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

from codecsieve.errors import ConfigError
from codecsieve.text import one_line, shortened

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")
"""Of URLs that obstore reads and writes. Others are left to fsspec, which reads only."""
_TRIES = 4  # of what may be asked twice, where the answer broke off; requests that were refused obstore itself repeats
_PAUSE = 0.2  # seconds before the second try, twice that before the next
_CLIENT = {"connect_timeout": "10 seconds", "timeout": "5 minutes"}  # a shard has 77 MB
_RETRIES = {"max_retries": 10, "retry_timeout": timedelta(minutes=3)}
_ENDPOINTS = ("endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url")
_SECRET = re.compile(r"secret|token|password|key|sas|credential|authorization|service_account", re.IGNORECASE)
_STATUS, _CODE = re.compile(r"status code: (\d{3}[A-Za-z ]*)"), re.compile(r"<Code>(\w+)</Code>")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_FULL = re.compile(r"status code: 507|Quota|StorageFull|DiskFull")
_REFUSED = re.compile(r"status code: (4(?!08|29)\d\d|501)")  # which is so again when it is asked again
_SIGNED = re.compile(r"\?(.*&)?[\w.-]+=")
_WANTED = "pip install 'codecsieve[stores]'"

T = TypeVar("T")
Version = tuple[str | None, str | None]
"""What tells one content of an object from another: its ETag, and, in stores that number them, its generation."""


class ObjectsError(OSError):
    """An object, or its bucket, that cannot be reached, read or written; `strerror` says why.

    errno: EIO where it may go well another time; ENXIO: there is no such bucket; ENOSPC: it is full; EACCES: the store
    refuses what it was asked.
    """


class ChangedError(ObjectsError):
    """An object is not the version that was to be replaced or read."""


@dataclass(frozen=True)
class Stat:
    """Of one object. size: bytes; version: another one for other content; modified: by the store's own clock."""

    size: int
    version: Version
    modified: datetime


def is_object_url(path: object) -> bool:
    """Whether text is the URL of an object, or of a folder of them."""
    return isinstance(path, str) and path.partition("://")[0].lower() in SCHEMES and "://" in path


def check_url(url: str) -> None:
    """Raise ConfigError for a URL that carries a password or a signature, which would be kept with the clips, or that
    names no object: what follows the bucket is the key as it is, with nothing to be decoded.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    plain = shortened(f"{scheme}://{bucket.rpartition('@')[2]}/{_SIGNED.split(key)[0]}")
    if "@" in bucket and scheme.lower() not in ("abfs", "abfss"):  # theirs is container@account
        raise ConfigError(f"{plain}: a URL must not hold a user or password; give them by the environment")
    if "?" in bucket or _SIGNED.search(key):
        raise ConfigError(f"{plain}: a URL must not hold a query or signature; give keys by the environment")
    if key.strip("/") and not {"", ".", ".."}.isdisjoint(key.rstrip("/").split("/")):
        raise ConfigError(f"{plain}: a URL must not have an empty part, . or .. between its slashes")


class Objects:
    """The objects below a URL, named relative to it. It may be shared by threads, not by forked processes."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        """Nothing is asked yet. options: obstore's of the store, for what the environment does not say.

        Raises ConfigError where obstore is not installed, or cannot make anything of the URL or of an option.
        """
        check_url(url)
        self.url = url.rstrip("/")
        self._obstore = _import()
        given = dict(options or {})
        client = {**_CLIENT, **given.pop("client_options", {})}
        retries = {**_RETRIES, **given.pop("retry_config", {})}
        told = (*given.items(), *os.environ.items())
        self._secrets = [str(value) for name, value in told if _SECRET.search(name)]
        self._bare = False  # see `keeps_conditions`
        if any(str(value).startswith("http://") for value in _endpoints(given)):
            client.setdefault("allow_http", True)  # who names such an endpoint means it
        try:
            self.store = self._obstore.store.from_url(
                _encoded(self.url), client_options=client, retry_config=retries, **given
            )
        except Exception as error:  # obstore's are of many classes
            raise ConfigError(f"{shortened(self.url)}: {self._reason(error)}; check the URL and its options") from None

    def read(self, key: str, version: Version | None = None) -> tuple[memoryview, Stat]:
        """A whole object. Raises FileNotFoundError, ChangedError where it is not of that version, or ObjectsError."""
        return self._get(key, {}, version)

    def read_range(self, key: str, start: int, nbytes: int, version: Version | None = None) -> tuple[memoryview, Stat]:
        """So many bytes from `start` on, fewer where it ends before; raises as `read` does."""
        return self._get(key, {"range": (start, start + nbytes)}, version)

    def read_end(self, key: str, nbytes: int) -> tuple[memoryview, Stat]:
        """The last bytes of an object; raises as `read` does."""
        return self._get(key, {"range": {"suffix": nbytes}}, None)

    def fetch(self, key: str, file: BinaryIO) -> Stat:
        """Write a whole object into a file, from its beginning on; raises as `read` does, and as the file does."""

        def ask() -> Stat:
            file.seek(0)
            with self._said(key):
                answer = self._obstore.get(self.store, key)
            for piece in self._pieces(key, answer):
                file.write(piece)
            return _stat(answer.meta)

        return _patiently(ask)

    def stat(self, key: str) -> Stat:
        """Size and version of an object. Raises FileNotFoundError, or ObjectsError."""

        def ask() -> Stat:
            with self._said(key):
                return _stat(self._obstore.head(self.store, key))

        return _patiently(ask)

    def entries(self, folder: str) -> dict[str, Stat]:
        """The objects in a folder, by their names in it, and not those below; raises ObjectsError."""

        def ask() -> dict[str, Stat]:
            with self._said(folder):
                found = self._obstore.list_with_delimiter(self.store, folder or None)
                return {meta["path"].rpartition("/")[2]: _stat(meta) for meta in found["objects"]}

        return _patiently(ask)

    def walk(self) -> Iterator[tuple[str, Stat]]:
        """Every object below the URL, by its whole name; raises ObjectsError."""
        with self._said(""):
            for page in self._obstore.list(self.store):
                for meta in page:
                    yield meta["path"], _stat(meta)

    def put(self, key: str, parts: Sequence[Any], replacing: Version | None) -> Version:
        """Put an object, of contiguous buffers one after the other, with one request; its version.

        replacing: the version that it takes the place of; None: there must be none. Raises ChangedError where that is
        not so, and ObjectsError, after which it may have been put or not.
        """
        if replacing is None:
            return self._put(key, parts, "create")
        etag, number = replacing
        told = {"e_tag": etag.strip('"') if etag and self._bare else etag, "version": number}
        return self._put(key, parts, {name: one for name, one in told.items() if one is not None})

    def overwrite(self, key: str, parts: Sequence[Any]) -> Version:
        """The same, whatever is there."""
        return _patiently(lambda: self._put(key, parts, "overwrite"))

    def keeps_conditions(self, key: str) -> bool:
        """Whether the store puts an object where a condition holds, and nowhere else; tried by one that nobody else
        puts, which is there afterwards. Raises ObjectsError.

        Some take a condition for none. Others (Ceph) know versions without their quotes only, and get them so from
        then on.
        """

        def done(data: bytes, replacing: Version | None) -> bool:
            with suppress(ChangedError, FileNotFoundError):
                _patiently(lambda: self.put(key, [data], replacing))
            return self.read(key)[0] == data  # whatever became of the answer

        first = self.overwrite(key, [b"1"])
        if done(b"2", None):
            return False
        if not done(b"3", first):
            self._bare = True
            if not done(b"3", first):
                return False
        return not done(b"4", first)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove those that are there. Raises ObjectsError."""
        wanted = list(keys)

        def ask() -> None:
            with self._said(wanted[0]):
                self._obstore.delete(self.store, wanted)

        if wanted:
            _patiently(ask)

    def _get(self, key: str, options: Mapping[str, Any], version: Version | None) -> tuple[memoryview, Stat]:
        asked = {**options, "if_match": version[0]} if version else dict(options)

        def ask() -> tuple[memoryview, Stat]:
            with self._said(key):
                answer = self._obstore.get(self.store, key, options=asked)
                data, stat = memoryview(answer.bytes()), _stat(answer.meta)
                if version and not _same(stat.version[0], version[0]):  # not all stores heed what is asked
                    raise ChangedError(errno.EEXIST, "is another version", f"{self.url}/{key}")
                return data, stat

        return _patiently(ask)

    def _pieces(self, key: str, answer: Any) -> Iterator[memoryview]:
        with self._said(key):
            for piece in answer.stream(min_chunk_size=1 << 20):
                yield memoryview(piece)

    def _put(self, key: str, parts: Sequence[Any], mode: Any) -> Version:
        with self._said(key):
            buffers = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]
            put = self._obstore.put(self.store, key, buffers or b"", mode=mode, use_multipart=False)
            return put["e_tag"], put["version"]

    @contextmanager
    def _said(self, key: str) -> Iterator[None]:
        """Whatever obstore raises inside is raised as one of ours, or as FileNotFoundError."""
        kinds, name = self._obstore.exceptions, f"{self.url}/{key}".rstrip("/")
        try:
            yield
        except OSError as error:
            if isinstance(error, ObjectsError):
                raise
            if any(told in str(error) for told in _NO_BUCKET):
                raise ObjectsError(errno.ENXIO, "there is no such bucket", name) from None
            raise FileNotFoundError(errno.ENOENT, "no such object", name) from None
        except (kinds.AlreadyExistsError, kinds.PreconditionError) as error:
            raise ChangedError(errno.EEXIST, f"is another version ({self._reason(error)})", name) from None
        except (kinds.BaseError, ValueError) as error:  # the latter for names that no object has
            text = str(error)
            if any(told in text for told in _NO_BUCKET):
                raise ObjectsError(errno.ENXIO, "there is no such bucket", name) from None
            if "409 Conflict" in text:  # two conditional puts at the same instant
                raise ChangedError(errno.EEXIST, "is being put by another process", name) from None
            if _FULL.search(text):
                raise ObjectsError(errno.ENOSPC, f"the bucket is full ({self._reason(error)})", name) from None
            lasting = isinstance(error, ValueError) or _REFUSED.search(text)
            raise ObjectsError(errno.EACCES if lasting else errno.EIO, self._reason(error), name) from None

    def _reason(self, error: Exception) -> str:
        """What obstore says, in one line, without what it adds for its makers, and without secrets."""
        text = str(error)
        status, code = _STATUS.search(text), _CODE.search(text)
        if status:
            text = f"the store answered {status[1].strip()}{f' ({code[1]})' if code else ''}"
        else:
            text = re.sub(r"\?\S*", "", text.partition("Debug source")[0].strip())
        for secret in self._secrets:
            if len(secret) > 3:
                text = text.replace(secret, "***")
        return shortened(one_line(text)) or type(error).__name__


@functools.lru_cache(maxsize=64)
def objects_beside(folder: str) -> Objects:
    """The objects of a folder's URL, by the environment's keys: one client for all the videos in it."""
    return Objects(folder)


def parted(url: str) -> tuple[str, str]:
    """A URL's folder, and the object's name in it."""
    folder, _, name = url.rpartition("/")
    return folder, name


def _patiently(ask: Callable[[], T]) -> T:
    """What is asked for, and may be asked for twice, again where an answer broke off."""
    for number in range(_TRIES - 1):
        try:
            return ask()
        except ObjectsError as error:
            if error.errno != errno.EIO:
                raise
        time.sleep(_PAUSE * 2**number)
    return ask()


def _stat(meta: Mapping[str, Any]) -> Stat:
    return Stat(int(meta["size"]), (meta["e_tag"], meta["version"]), meta["last_modified"])


def _same(etag: str | None, other: str | None) -> bool:
    """Whether two ETags are one, which gateways may weaken, or write with and without quotes."""
    return (etag or "").removeprefix("W/").strip('"') == (other or "").removeprefix("W/").strip('"')


def _encoded(url: str) -> str:
    """A URL as obstore reads it, which decodes what follows the bucket."""
    scheme, _, rest = url.partition("://")
    bucket, slash, key = rest.partition("/")
    return f"{scheme}://{bucket}{slash}{quote(key, errors='surrogateescape')}"


def _endpoints(options: Mapping[str, Any]) -> Iterator[Any]:
    yield from (value for name, value in options.items() if name.lower() in _ENDPOINTS)
    yield from (os.environ[name.upper()] for name in _ENDPOINTS if name.upper() in os.environ)


def _import() -> ModuleType:
    try:
        import obstore
        import obstore.store
    except ImportError as error:
        raise ConfigError(f"URLs of object stores need obstore ({error}); {_WANTED}") from None
    return obstore
