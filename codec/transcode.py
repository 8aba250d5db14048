"""Re-encode videos so that their bitstream says plainly what moved.

Every output is H.264 or HEVC with only I and P pictures, one reference picture, no weighted prediction and a closed
GOP of fixed length: each picture is predicted from the one shown before it, so motion and residual need no guessing.
Frames stay one to one with the source's, timestamps included; only an odd last row or column is cropped.

The encoding is done by an ffmpeg program, one process a job; the counting and verifying by PyAV in this process.
Reading motion and residual is left to the readers, progress bars to the command line.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import av
from av.stream import Discard
from av.video.frame import PictureType

from codecsieve.codec.errors import VideoError
from codecsieve.codec.ffmpeg_program import LOCAL_FILES_ONLY, TranscodeOptions, encode_command, find_ffmpeg, run
from codecsieve.codec.transcode_plan import TranscodeJob, plan_transcode

__all__ = [
    "TranscodeJob",
    "TranscodeOptions",
    "TranscodeResult",
    "find_ffmpeg",
    "plan_transcode",
    "transcode_many",
    "transcode_one",
]

_RECORD = "codecsieve transcode "  # what the mp4's comment starts with; JSON follows


@dataclass(frozen=True)
class TranscodeResult:
    """What became of a job.

    frames: in the output. damaged: packets of the source that did not decode (its frames are those that did).
    error: one line, None unless `status` is "failed"; a failed job leaves no output of its own behind.
    """

    job: TranscodeJob
    status: Literal["done", "skipped", "failed"]
    seconds: float
    frames: int = 0
    damaged: int = 0
    error: str | None = None



@dataclass(frozen=True)
class _Budget:
    """Until when a job may run, and the event that ends it earlier."""

    seconds: float
    stop: threading.Event
    start: float = field(default_factory=time.monotonic)

    def check(self, path: Path) -> None:
        if self.stop.is_set():
            raise VideoError(f"{path}: stopped before it was done; run again to finish")
        if time.monotonic() - self.start > self.seconds:
            raise VideoError(f"{path}: not done after {self.seconds:g} s; raise the timeout or use a faster preset")


@dataclass(frozen=True)
class _Decoded:
    """pictures: a letter each in the order shown, K a keyframe, else I, P or B. damaged: packets that did not decode."""

    pictures: str
    damaged: int


def _decode(path: Path, budget: _Budget) -> _Decoded:
    """Decode a file's first video stream from end to end, on one thread, keeping nothing but its kinds of pictures."""
    kinds: list[str] = []
    damaged = 0
    try:
        with av.open(f"file:{path}", options=_LOCAL_FILES_ONLY) as container:
            streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
            if not streams:
                raise VideoError(f"{path}: no video stream; give a file that has one")
            for stream in container.streams:
                # A truncated mp4 ends at the first packet of any stream it lacks, so only the video's may count.
                stream.discard = Discard.default if stream is streams[0] else Discard.all
            streams[0].codec_context.thread_count = 1
            for packet in container.demux(streams[0]):
                budget.check(path)
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    damaged += 1
                    continue
                kinds += ["K" if f.key_frame else PictureType(f.pict_type).name for f in frames]
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: FFmpeg cannot read it ({error.strerror}); check that it is a video") from error
    return _Decoded("".join(kinds), damaged)


def _verify(path: Path, frames: int, damaged: int, gop: int, budget: _Budget) -> int:
    """The frame count of an output that is what it should be; VideoError where it is not.

    A sound source must come out frame for frame. In a damaged one PyAV's FFmpeg and the program that encoded may differ
    over what a damaged packet still gives, so each of those may cost or add one frame.
    """
    decoded = _decode(path, budget)
    count = len(decoded.pictures)
    if decoded.damaged:
        raise VideoError(f"{path}: the output does not decode whole; run again, and check the disk if it recurs")
    if not count or abs(count - frames) > damaged:
        raise VideoError(f"{path}: the output has {count} frames, the source {frames}; is the source well-formed?")
    due = ("K" + "P" * (gop - 1)) * (count // gop + 1)
    for index, (is_, should) in enumerate(zip(decoded.pictures, due, strict=False)):
        if is_ != should:
            raise VideoError(f"{path}: output picture {index} is {is_}, not {should} (K: keyframe); try another ffmpeg")
    return count



def transcode_one(
    job: TranscodeJob, options: TranscodeOptions, program: str | None = None, stop: threading.Event | None = None
) -> TranscodeResult:
    """Do one job: the output appears whole and verified, or not at all.

    An output that is there already is kept ("skipped") if it was made from this very source (size and modification time)
    with these options and still verifies; both are recorded in its comment tag. Verifying decodes it from end to end:
    it has the source's decodable frames, a keyframe every `gop` and P pictures between.
    program: the ffmpeg to run, `find_ffmpeg`'s by default. stop: set it from another thread to end the job.
    What goes wrong with the files is told in the result; only a missing ffmpeg program raises VideoError.
    """
    program = program or find_ffmpeg(options.codec)
    budget = _Budget(options.timeout, stop or threading.Event())

    def result(status: Literal["done", "skipped", "failed"], frames: int, damaged: int, error: str | None = None) -> (
        TranscodeResult
    ):
        return TranscodeResult(job, status, time.monotonic() - budget.start, frames, damaged, error)

    try:
        if (kept := _kept(job, options, budget)) is not None:
            return result("skipped", *kept)
        return result("done", *_produce(job, options, program, budget))
    except VideoError as error:
        return result("failed", 0, 0, str(error))
    except OSError as error:
        return result("failed", 0, 0, f"{error.filename or job.output}: {error.strerror}")


def transcode_many(
    jobs: Sequence[TranscodeJob],
    options: TranscodeOptions,
    workers: int,
    on_done: Callable[[TranscodeResult], None] | None = None,
) -> list[TranscodeResult]:
    """Do `jobs`, `workers` at a time; their results in the order of the jobs.

    on_done is called in this thread as each job ends. A job that fails does not keep the others from finishing. An
    interrupt, or whatever else on_done raises, ends the running ffmpeg processes and leaves no half-written output.
    """
    if workers < 1:
        raise ValueError(f"workers ({workers}) must be >= 1")
    program = find_ffmpeg(options.codec)
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(transcode_one, job, options, program, stop) for job in jobs]
        try:
            for future in as_completed(futures):
                if on_done is not None:
                    on_done(future.result())
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _fingerprint(job: TranscodeJob, options: TranscodeOptions) -> dict[str, object]:
    """What an output depends on: the source's size and modification time, and the options that change its pictures."""
    stat = job.source.stat()
    chosen = {k: v for k, v in asdict(options).items() if k not in ("threads", "timeout")}
    return chosen | {"source_size": stat.st_size, "source_mtime_ns": stat.st_mtime_ns}


def _kept(job: TranscodeJob, options: TranscodeOptions, budget: _Budget) -> tuple[int, int] | None:
    """(frames, damaged) of an output that is there and as this job would make it, else None."""
    try:
        with av.open(f"file:{job.output}", options=_LOCAL_FILES_ONLY) as container:
            comment = container.metadata.get("comment", "")
    except av.error.FFmpegError:
        return None
    if not comment.startswith(_RECORD):
        return None
    record = json.loads(comment.removeprefix(_RECORD))
    frames, damaged = record.pop("frames"), record.pop("damaged")
    if record != _fingerprint(job, options):
        return None
    try:
        return _verify(job.output, frames, damaged, options.gop, budget), damaged
    except VideoError:
        budget.check(job.output)
        return None


def _produce(job: TranscodeJob, options: TranscodeOptions, program: str, budget: _Budget) -> tuple[int, int]:
    """Encode, verify and publish; (frames, damaged)."""
    fingerprint = _fingerprint(job, options)
    source = _decode(job.source, budget)
    frames, damaged = len(source.pictures), source.damaged
    if not frames:
        raise VideoError(f"{job.source}: no frame of it decodes; check that the file is whole")

    folder = job.output.parent
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(job, options)
    handle, name = tempfile.mkstemp(prefix=f".{job.output.name}.", suffix=".part", dir=folder)
    os.close(handle)
    part = Path(name)
    try:
        record = _RECORD + json.dumps(fingerprint | {"frames": frames, "damaged": damaged})
        extra = {"format": "mp4", "movflags": "+faststart", "metadata": f"comment={record}", "fflags": "+bitexact"}
        stream = ffmpeg.input(f"file:{job.source}", threads=1, **_LOCAL_FILES_ONLY)
        _encode(_command(program, stream, f"file:{part}", options, extra), job.source, budget)
        count = _verify(part, frames, damaged, options.gop, budget)
        _publish(part, job.output)
    finally:
        part.unlink(missing_ok=True)
    return count, damaged


def _sweep(job: TranscodeJob, options: TranscodeOptions) -> None:
    """Remove what killed runs left of this output: parts so old that no run can still be writing them."""
    for part in job.output.parent.iterdir():
        ours = part.name.startswith(f".{job.output.name}.") and part.suffix == ".part"
        if ours and part.stat().st_mtime + options.timeout < time.time():
            part.unlink(missing_ok=True)


def _publish(part: Path, output: Path) -> None:
    """Give a finished file its name, so that a power cut leaves either no file of that name or a whole one."""
    mode = 0o666 & ~_umask()
    os.chmod(part, mode)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, output)
    if os.name == "posix":
        folder = os.open(output.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
