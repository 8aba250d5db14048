"""Re-encode videos so that their bitstream says plainly what moved.

Every output is H.264 or HEVC with only I and P pictures, one reference picture, no weighted prediction and a
closed GOP of fixed length: each picture is predicted from the one shown before it, so motion and residual
need no guessing. Frames stay one to one with the source's, timestamps included; only an odd last row or
column is cropped.

The encoding is done by an ffmpeg program, one process a job, see `ffmpeg_program`; the counting and verifying by PyAV
in this process, see `verify`. Which files become which is left to `plan`, progress bars to the command line.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import ffmpeg

from codecsieve.codec.facts import input_of, open_container
from codecsieve.errors import VideoError
from codecsieve.pipelines.transcode.config import TranscodeOptions
from codecsieve.pipelines.transcode.ffmpeg_program import (
    encode_command,
    find_ffmpeg,
    run,
)
from codecsieve.pipelines.transcode.plan import TranscodeJob
from codecsieve.pipelines.transcode.verify import Budget, Expected, decode_video, verify

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


def transcode_one(
    job: TranscodeJob,
    options: TranscodeOptions,
    program: str | None = None,
    stop: threading.Event | None = None,
) -> TranscodeResult:
    """Do one job: the output appears whole and verified, or not at all.

    An output that is there already is kept ("skipped") if it was made from this very source (size and
    modification time) with these options, both of which its comment tag records, and still verifies. A video
    that is there but was not made here is never replaced. Verifying decodes from end to end: the source's
    decodable frames, a keyframe every `gop`, P pictures between.

    program: the ffmpeg to run, `find_ffmpeg`'s by default. stop: set it from another thread to end the job.
    What goes wrong with the files is told in the result; only a missing ffmpeg program raises VideoError.
    """
    program = program or find_ffmpeg(options.codec)
    budget = Budget(options.timeout, stop or threading.Event())

    status: Literal["done", "skipped", "failed"] = "failed"
    frames = damaged = 0
    error = None
    try:
        kept = _kept(job, options, budget)
        frames, damaged = kept or _produce(job, options, program, budget)
        status = "skipped" if kept else "done"
    except VideoError as refused:
        error = str(refused)
    except OSError as refused:
        error = f"{refused.filename or job.output}: {refused.strerror}; check that file and its disk"
    return TranscodeResult(job, status, time.monotonic() - budget.start, frames, damaged, error)


def transcode_many(
    jobs: Sequence[TranscodeJob],
    options: TranscodeOptions,
    workers: int,
    on_done: Callable[[TranscodeResult], None] | None = None,
) -> list[TranscodeResult]:
    """Do `jobs`, `workers` at a time; their results in the order of the jobs.

    on_done is called in this thread as each job ends. A job that fails does not keep the others from
    finishing. An interrupt, or whatever else on_done raises, ends the running ffmpeg processes and leaves no
    half-written output.
    """
    if workers < 1:
        raise ValueError(f"workers ({workers}) must be >= 1")
    program = find_ffmpeg(options.codec)
    stop = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(transcode_one, job, options, program, stop) for job in jobs]
        try:
            for future in as_completed(futures):  # each within `options.timeout`
                if on_done is not None:
                    on_done(future.result())
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _fingerprint(job: TranscodeJob, options: TranscodeOptions) -> dict[str, object]:
    """What an output depends on: the source's size and modification time, the options that matter."""
    stat = job.source.stat()
    chosen = {k: v for k, v in asdict(options).items() if k not in ("threads", "timeout")}
    return chosen | {"source_size": stat.st_size, "source_mtime_ns": stat.st_mtime_ns}


def _kept(job: TranscodeJob, options: TranscodeOptions, budget: Budget) -> tuple[int, int] | None:
    """(frames, damaged) of an output that is there and as this job would make it, else None."""
    try:
        with open_container(job.output) as container:
            comment = container.metadata.get("comment", "")
    except VideoError:
        return None  # absent, or no video at all
    fingerprint, expected = _read_record(comment, job.output)
    if fingerprint != _fingerprint(job, options):
        return None
    try:
        return verify(job.output, job.source, expected, options.gop, budget), expected.damaged
    except VideoError:
        budget.check(job.source)  # only a stop or a timeout counts: an output gone bad is made anew
        return None


def _read_record(comment: str, output: Path) -> tuple[dict[str, object], Expected]:
    """What `_produce` wrote into an output's comment; VideoError where the comment is not of its making."""
    foreign = VideoError(f"{output}: a video that was not made by transcode; move it away, or choose another folder")
    if not comment.startswith(_RECORD):
        raise foreign
    try:
        record = json.loads(comment.removeprefix(_RECORD))
        return record, Expected(int(record.pop("frames")), int(record.pop("damaged")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise foreign from error


def _produce(job: TranscodeJob, options: TranscodeOptions, program: str, budget: Budget) -> tuple[int, int]:
    """Encode, verify and publish; (frames, damaged)."""
    try:
        f"{job.source}{job.output}".encode()  # ffmpeg-python hashes names as UTF-8
    except UnicodeEncodeError as error:
        raise VideoError(f"{str(job.source)!a}: its name is not UTF-8; rename it") from error
    fingerprint = _fingerprint(job, options)
    source = decode_video(job.source, budget)
    expected = Expected(len(source.pictures), source.damaged)
    if not expected.frames:
        raise VideoError(f"{job.source}: no frame of it decodes; check that the file is whole")
    job.output.parent.mkdir(parents=True, exist_ok=True)
    _sweep(job.output.parent, options)
    part = job.output.with_name(f".transcode-{uuid.uuid4().hex}.part")
    target = {
        "format": "mp4",
        "movflags": "+faststart",
        "fflags": "+bitexact",
        "enc_time_base": str(source.time_base),  # else a variable frame rate's timestamps would be rounded
        "metadata": f"comment={_RECORD}{json.dumps(fingerprint | asdict(expected))}",
    }
    try:
        url, bounds = input_of(job.source)
        stream = ffmpeg.input(url, threads=1, **bounds)
        command = encode_command(program, stream, f"file:{part}", options, target)
        run(command, job.source, lambda: budget.check(job.source))
        count = verify(part, job.source, expected, options.gop, budget)
        _publish(part, job.output)
    finally:
        part.unlink(missing_ok=True)
    return count, expected.damaged


def _sweep(folder: Path, options: TranscodeOptions) -> None:
    """Remove what killed runs left behind: parts so old that no run can still be writing them."""
    for part in folder.glob(".transcode-*.part"):
        if part.stat().st_mtime + options.timeout < time.time():
            part.unlink(missing_ok=True)


def _publish(part: Path, output: Path) -> None:
    """Give a finished file its name: a power cut leaves either no file of that name or a whole one."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, output)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(output.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
