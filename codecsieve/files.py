"""How a file reaches the disk, whole or not at all, by one writer at a time; and what may be opened to be read.

A published file was written under another name, flushed to the device, renamed, and its folder flushed too,
so neither a killed process nor a power cut leaves half of one. Only what a path says it is, a file, is opened: a FIFO
would wait for ever. What is published, in which order, and what is made of what is read, is left to others.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from codecsieve.errors import CacheError

PARTIAL = ".partial"
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}  # what systems say of a lock that another process has
_PAUSE = 0.02  # seconds between two tries to get a lock
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP}
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def kind_of_file(path: str | os.PathLike[str] | int) -> str:
    """What a path or an open descriptor leads to: file, folder, FIFO, socket, device. Raises OSError as `os.stat`."""
    return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "special file")


def open_regular(path: str | os.PathLike[str]) -> int:
    """A descriptor to read a file by; what is no file is not opened.

    Raises OSError, whose `strerror` says what stands there instead.
    """
    _refuse_special(path, path)
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    try:
        _refuse_special(descriptor, path)  # another may have come in its place; opened so, not even a FIFO waits
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """All bytes of a file. Raises OSError as `open_regular`, and where it has more than `most`."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise OSError(errno.EFBIG, f"is too large: {size} bytes, at most {most}", os.fspath(path))
        return file.read()


def _refuse_special(opened: str | os.PathLike[str] | int, path: str | os.PathLike[str]) -> None:
    kind = kind_of_file(opened)
    if kind != "file":
        raise OSError(errno.EISDIR if kind == "folder" else errno.EINVAL, f"is a {kind}, not a file", os.fspath(path))


def publish(path: Path, parts: Iterable[Any]) -> None:
    """Write `parts` (contiguous buffers) one after the other as the file `path`, atomically and durably.

    Raises CacheError where the disk is full or the folder cannot be written; `path` is then as it was before.
    """
    with publishing(path) as file:
        for part in parts:
            file.write(part)


@contextlib.contextmanager
def publishing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which becomes `path`, atomically and durably, where the block ends without an error.

    Raises CacheError where the disk is full or the folder cannot be written; `path` is then as it was before, as it is
    after any error of the block.
    """
    temporary = path.with_name(path.name + PARTIAL)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def publish_folder(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Make the folder `path` of files, by name and content, atomically and durably: it is there with all, or not.

    Raises CacheError where the disk is full or the folder above cannot be written; what `files` raises, too.
    """
    temporary = path.with_name(path.name + PARTIAL)
    try:
        if temporary.is_dir():  # of a writer that was killed
            shutil.rmtree(temporary)
        temporary.mkdir()
        for name, data in files:
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def rename(path: Path, new: Path) -> None:
    """Have a file of a folder take another name in it, atomically and durably; raises OSError."""
    os.replace(path, new)
    sync_folder(new.parent)


def make_folder(path: Path) -> None:
    """Make `path` and the folders above it, durably."""
    if path.is_dir():
        return
    if path.parent != path and not path.parent.exists():
        make_folder(path.parent)
    try:
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def remove(path: Path) -> None:
    """Remove `path` if it is there, durably."""
    remove_all([path])


def remove_all(paths: Iterable[Path]) -> None:
    """Remove those of `paths`, files of one folder, that are there, durably."""
    folder = None
    try:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                folder = path.parent
        if folder is not None:
            sync_folder(folder)
    except OSError as error:
        raise cannot_write(path, error) from error


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed writer left half written in `folder`."""
    for path in folder.glob("*" + PARTIAL):
        remove(path)


def sync_file(path: Path) -> None:
    """Flush a file that another library wrote to the device."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the device, where that can be asked for.

    Windows has no such call, its renames are journalled; network mounts refuse it.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> CacheError:
    """The line for a full disk, a read-only folder, something else in its place and the like."""
    reason = error.strerror or str(error)
    advice = "move away what is in its place" if error.errno in _IN_THE_WAY else "make room or choose another --out"
    return CacheError(f"cannot write {path}: {reason}; {advice}, then run it again")


class HeldError(CacheError):
    """Another process holds a lock, so this one must wait or do something else."""


def lock(path: Path, cache: Path, shared: bool = False, patience: float = 0.0) -> IO[str]:
    """Take the lock of the file `path` until the returned file is closed or the process ends.

    cache: the folder that it is for, as messages name it; shared: with others that take it so, alone otherwise;
    patience: seconds that it is waited for. Raises HeldError where another process writes there, CacheError where its
    file system has no locks.
    """
    try:
        if path.exists():
            _refuse_special(path, path)
        file = path.open("a+", encoding="ascii", errors="replace")
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        _wait_for(file, shared, time.monotonic() + patience)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        if error.errno not in _HELD:
            reason = error.strerror or str(error)
            raise CacheError(f"cannot lock {path} ({reason}); put the cache on a file system with locks") from error
        who = f"process {owner}" if owner else "another process"
        raise HeldError(f"{cache} is being written by {who}; wait for it or use another --out") from error
    try:
        file.truncate(0)
        file.write("" if shared else f"{os.getpid()}\n")
        file.flush()
    except OSError as error:
        with contextlib.suppress(OSError):  # what could not be written is tried again on closing
            file.close()
        raise cannot_write(path, error) from error
    return file


def _wait_for(file: IO[str], shared: bool, until: float) -> None:
    """Take a lock; OSError where it cannot be had by then."""
    while True:
        try:
            _lock_file(file, shared)
            return
        except OSError as error:
            if error.errno not in _HELD or time.monotonic() >= until:
                raise
        time.sleep(_PAUSE)


if sys.platform == "win32":
    import msvcrt

    def _lock_file(file: IO[str], shared: bool) -> None:
        """Windows has no locks to share: of what would be done side by side, the second is refused."""
        file.seek(1 << 20)  # past the process number, which others must be able to read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock_file(file: IO[str], shared: bool) -> None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
