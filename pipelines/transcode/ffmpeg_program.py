"""The ffmpeg program: finding one that can encode, its command line, and running it within bounds.

Which files to encode is left to `run`, whether the outcome is good to `verify`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import ffmpeg

from codecsieve.errors import VideoError
from codecsieve.pipelines.transcode.config import ENCODERS, TranscodeOptions

TRIAL_SECONDS = 60.0
_EXIT_SECONDS = 10.0

_CONSEQUENCES = re.compile(
    "Conversion failed|Nothing was written|Terminating thread|Task finished|Could not open encoder before EOF"
    "|Error sending frames|Error submitting|Error while opening encoder|Error while filtering"
    r"|Error opening output files: |Error opening output file .*\.$"
)


def find_ffmpeg(codec: str = "h264") -> str:
    """An `ffmpeg` program that can do the job: the one on PATH, else the one that `imageio-ffmpeg` carries.

    Each is tried on two frames, since many builds lack libx264 or libx265. Raises VideoError saying what was
    tried.
    """
    tried = []
    for place, program in _ffmpeg_programs():
        if program is None:
            tried.append(f"{place}: none")
            continue
        source = ffmpeg.input("color=size=64x64:rate=25:duration=0.08", format="lavfi")
        command = encode_command(program, source, "-", TranscodeOptions(codec), {"format": "null"})
        try:
            trial = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=TRIAL_SECONDS
            )
        except OSError as error:
            tried.append(f"{place}: {program} does not run ({error.strerror})")
            continue
        except subprocess.TimeoutExpired:
            tried.append(f"{place}: {program} has not encoded two frames after {TRIAL_SECONDS:g} s")
            continue
        if trial.returncode == 0:
            return program
        tried.append(f"{place}: {program} cannot ({_last_words(trial.stderr)})")
    raise VideoError(
        f"no ffmpeg program that encodes with {ENCODERS[codec]} ({'; '.join(tried)}): "
        "pip install imageio-ffmpeg, or install FFmpeg 5.1 or newer"
    )


def _ffmpeg_programs() -> Iterator[tuple[str, str | None]]:
    yield "PATH", shutil.which("ffmpeg")
    try:
        import imageio_ffmpeg  # an extra; 30 MB that a machine with its own ffmpeg does without

        yield "imageio-ffmpeg", imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        yield "imageio-ffmpeg", None


def encode_command(
    program: str, source: ffmpeg.nodes.Stream, target: str, options: TranscodeOptions, extra: dict[str, str]
) -> list[str]:
    """The command line that encodes `source`'s picture track, and nothing else of it, to `target`.

    One reference, no B pictures, closed GOPs at fixed places, no weighted prediction: x264's weightp=2 would
    add a second, duplicate reference. `extra` holds what the target's format needs.
    """
    structure = f"keyint={options.gop}:min-keyint={options.gop}:scenecut=0:open-gop=0:bframes=0:ref=1:weightp=0"
    encoders = {
        "h264": {"x264-params": structure},
        "hevc": {
            "x265-params": f"{structure}:pools={options.threads}:frame-threads=1:log-level=error",
            "tag:v": "hvc1",
        },
    }
    output = ffmpeg.output(
        source["V:0"],
        target,
        **{
            "vf": "crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0,format=yuv420p",
            "fps_mode": "passthrough",
            "avoid_negative_ts": "make_zero",  # or an edit list would hide the frames before zero
            "map_metadata": "-1",
            "map_chapters": "-1",
            "c:v": ENCODERS[options.codec],
            "preset": options.preset,
            "crf": str(options.crf),
            "g": str(options.gop),
            "bf": "0",
            "threads": str(options.threads),
            **encoders[options.codec],
            **extra,
        },
    )
    return output.compile(
        cmd=[program, "-hide_banner", "-nostdin", "-v", "error", "-max_error_rate", "1"],
        overwrite_output=True,
    )


def run(command: list[str], source: Path, check: Callable[[], None]) -> None:
    """Run an encoding command; the program never outlives this call, whatever ends it.

    Only where this process itself is killed does the program go on, to the end of its file, under a name that no
    output has. check: called a few times a second; what it raises ends the program. Raises VideoError with the
    program's own words.
    """
    with tempfile.TemporaryFile() as log:
        # Its own session: an interrupt from the keyboard reaches this process alone, which then ends it.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
        )
        try:
            while child.returncode is None:
                check()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.2)
        finally:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # a disk may hold it for ever
                child.wait(_EXIT_SECONDS)
        if child.returncode:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 65536))
            raise VideoError(f"{source}: ffmpeg failed ({_last_words(log.read()) or f'exit {child.returncode}'})")


def _last_words(stderr: bytes) -> str:
    """The last line of ffmpeg's complaints that names a cause rather than its consequences."""
    lines = [re.sub(r"\[[^\]]* @ [^\]]*\] ", "", line).strip() for line in stderr.decode(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    causes = [line for line in lines if not _CONSEQUENCES.search(line)]
    return (causes or lines or [""])[-1]
