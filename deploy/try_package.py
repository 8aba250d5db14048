"""Install what is to be released in environments of their own, and use it there, outside of the checkout.

    python deploy/try_package.py DIST PYTHON...        # `make package`

For each Python: the wheel by pip, the source distribution by pip, and the wheel by uv where there is one. In each a
clip is drawn, sieved, listed and verified by the command line. Exit status 1 where something of it fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DRAW = """
import av, numpy as np
with av.open("clip.mp4", "w") as file:
    stream = file.add_stream("libx264", rate=25, width=64, height=64, pix_fmt="yuv420p")
    for number in range(16):
        picture = np.full((64, 64, 3), 40, np.uint8)
        picture[20:36, 2 * number : 2 * number + 16] = 220
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
    file.mux(stream.encode())
"""
HOME = "import codecsieve, sys; print(codecsieve.__file__); assert 'torch' not in sys.modules"
SMALL = ("--num-frames", "4", "--input-size", "56", "--k-keep", "16", "--workers", "1")
COMMANDS = (
    ("--version",),
    ("describe", "clip.mp4"),
    ("precompute", "clip.mp4", "--out", "cache", *SMALL),
    ("list", "cache"),
    ("verify", "cache"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dist", type=Path)
    parser.add_argument("pythons", nargs="+", metavar="PYTHON")
    arguments = parser.parse_args()
    (wheel,), (source,) = (sorted(arguments.dist.absolute().glob(f"codecsieve-*{end}")) for end in (".whl", ".tar.gz"))

    whole = True
    for python in arguments.pythons:
        for installer, file in (("pip", wheel), ("pip", source), ("uv", wheel)):
            if installer == "uv" and shutil.which("uv") is None:
                continue
            with tempfile.TemporaryDirectory() as folder:
                begun = time.perf_counter()
                wrong = try_one(python, installer, file, Path(folder))
            seconds = time.perf_counter() - begun
            print(f"{python:24} {installer:4} {file.name:40} {seconds:5.0f} s  {wrong or 'works'}", flush=True)
            whole = whole and not wrong
    sys.exit(not whole)


def try_one(python: str, installer: str, file: Path, folder: Path) -> str:
    """Install and use it in a folder; what went wrong, nothing where it works."""
    program = folder / "environment" / "bin" / "python"
    constraints = ("-c", str(ROOT / "constraints.txt"), str(file))
    make = {"pip": [python, "-m", "venv"], "uv": ["uv", "venv", "--quiet", "--python", python]}[installer]
    install = {
        "pip": [str(program), "-m", "pip", "install", "--quiet"],
        "uv": ["uv", "pip", "install", "--quiet", "--python", str(program)],
    }[installer]
    lines = [
        [*make, str(program.parents[1])],
        [*install, *constraints],
        [str(program), "-c", DRAW],
        [str(program), "-c", HOME],
        *([str(program.with_name("codecsieve")), *words] for words in COMMANDS),
    ]
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    for line in lines:
        done = subprocess.run(line, cwd=folder, env=clean, capture_output=True, text=True)
        if done.returncode:
            return f"{' '.join(line)[:100]} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}"
        if HOME in line and str(folder) not in done.stdout:
            return f"codecsieve came from {done.stdout.strip()}"
    return ""


if __name__ == "__main__":
    main()
