"""Write `image-*.txt`: every package of an image at the version in constraints.txt, with its files' hashes.

    python deploy/lock.py        # pip install uv

An image takes nothing else: pip refuses a file that has another hash, and a package that is not listed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.12"  # of both base images
EXTRAS = {"cpu": ("transcode", "service"), "cuda": ("gpu", "transcode", "service", "encoder")}
HEAD = (
    "# Every package of the image VARIANT={} ({}), with the hashes of its files: "
    "`make lock` writes it of constraints.txt.\n"
)


def main() -> None:
    for variant, extras in EXTRAS.items():
        wanted = [word for extra in extras for word in ("--extra", extra)]
        options = ["--constraints", "constraints.txt", "--generate-hashes", "--universal", "--python-version", PYTHON]
        quiet = ["--no-header", "--no-annotate", "--quiet"]
        command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *wanted, *options, *quiet]
        listed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        (ROOT / "deploy" / f"image-{variant}.txt").write_text(HEAD.format(variant, ",".join(extras)) + listed)


if __name__ == "__main__":
    main()
