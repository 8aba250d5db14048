"""What FFmpeg's own demuxer and decoder show of a file, one packet after the other, without codecsieve.

As a program it prints a hash of all pictures' pixels: that of a process of its own, with other memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av

_PACKETS = 1000
_FILLS = ("1", "170")
"""Bytes that glibc is told to fill memory with before it gives it away, see mallopt(3)."""


def is_shown(path: Path) -> bool:
    """Whether there is any picture."""
    return next(_pictures(path), None) is not None


def is_unsteady(path: Path) -> bool:
    """Whether the pixels depend on what their memory held before: a decoder leaves some of a damaged picture unset.

    False where the system's memory cannot be filled, which takes glibc.
    """
    command = [sys.executable, "-P", __file__, str(path)]
    fills = ({**os.environ, "MALLOC_PERTURB_": fill} for fill in _FILLS)
    one, other = (subprocess.run(command, env=env, capture_output=True, text=True, timeout=120).stdout for env in fills)
    return one != other


def _pictures(path: Path, threads: int = 0) -> Iterator[av.VideoFrame]:
    """Pictures of the first packets; nothing of a file that is none."""
    with contextlib.suppress(av.FFmpegError, IndexError, ValueError), av.open(str(path)) as container:
        stream = container.streams.video[0]
        if stream.codec_context is None:  # no decoder
            return
        stream.codec_context.thread_count = threads
        for packet in itertools.islice(container.demux(stream), _PACKETS):
            with contextlib.suppress(av.FFmpegError):
                yield from packet.decode()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for picture in _pictures(path, threads=1):
        digest.update(picture.to_ndarray(format="rgb48le").tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(_digest(Path(sys.argv[1])))
