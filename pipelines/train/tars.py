"""Pictures in WebDataset tars, by number: where each lies is found once, then any can be read without the others.

A sample's key is its file's path up to the first dot of the name. Only pictures are looked at; labels are left to
`bank`, what becomes of the bytes to `pictures`.
"""

from __future__ import annotations

import glob
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codecsieve.errors import ConfigError
from codecsieve.text import one_line, quoted, shortened

SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp"})
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_TARS, _MOST_BYTES = 1_000_000, 64 << 20


@dataclass(frozen=True)
class Sample:
    """Where a picture lies: key, tar, first byte and number of bytes."""

    key: str
    tar: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes. Raises ConfigError where they are gone."""
        try:
            with self.tar.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise ConfigError(f"{self.tar} cannot be read ({error.strerror}); is it still there?") from error
        if len(data) < self.size:
            raise ConfigError(f"{self.tar} ends in the middle of {shortened(self.key)}; copy it anew")
        return data


def tar_paths(named: str) -> list[Path]:
    """The tars that a pattern names: `shards/{000..063}.tar`, `shards/*.tar`, or one. Raises ConfigError."""
    braces = _BRACES.search(named)
    if braces:
        first, last = int(braces[1]), int(braces[2])
        if not 0 <= last - first < _MOST_TARS:
            raise ConfigError(f"tars ({quoted(named)}) must name from one to {_MOST_TARS:,} files")
        numbers = (f"{number:0{len(braces[1])}d}" for number in range(first, last + 1))
        return [Path(named[: braces.start()] + number + named[braces.end() :]) for number in numbers]
    paths = [Path(path) for path in sorted(glob.glob(named))] if glob.has_magic(named) else [Path(named)]
    if not paths:
        raise ConfigError(f"tars ({quoted(named)}) names no file; check the path")
    return paths


def samples_of(paths: Sequence[Path]) -> list[Sample]:
    """All pictures of some tars, in their order. Raises ConfigError where one cannot be read, or a key comes twice."""
    found: dict[str, Sample] = {}
    for path in paths:
        for sample in _in_tar(path):
            if sample.key in found:
                where = found[sample.key].tar
                raise ConfigError(f"{path} has {shortened(sample.key)}, which {where} has, too; keys must be distinct")
            found[sample.key] = sample
    return list(found.values())


def _in_tar(path: Path) -> Iterator[Sample]:
    try:
        with tarfile.open(path, "r:") as tar:  # not packed: what lies inside can be read without what is before
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if member.isreg() and stem and suffix.lower() in SUFFIXES:
                    if member.size > _MOST_BYTES:
                        raise ConfigError(f"{path}: {shortened(member.name)} ({member.size:,} bytes) must be at most "
                                          f"{_MOST_BYTES:,}; leave it out")  # fmt: skip
                    key = f"{folder}/{stem}" if folder else stem
                    yield Sample(key, path, member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = getattr(error, "strerror", None) or shortened(one_line(str(error)))
        raise ConfigError(f"{path} cannot be read as a tar that is not compressed ({reason})") from error
