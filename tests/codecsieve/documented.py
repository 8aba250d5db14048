"""The commands that the documents show: lines of their shell blocks, joined where they are continued."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {"codecsieve", "python", "torchrun", "pip", "make", "git", "docker", "curl"}
"""What a command begins with; other lines of such blocks are a file's, or set something."""
_FENCED = re.compile(r"^( *)```([^`\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SHELL = ("", "sh", "bash")


def lines_of(document: Path) -> list[str]:
    """A document's commands, in order."""
    blocks = [block for _, kind, block in _FENCED.findall(document.read_text()) if kind in _SHELL]
    lines = [line.strip() for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [line for line in lines if line.split(" ")[0] in PROGRAMS]


def words_of(line: str) -> list[str]:
    """A command's words, without its comment and where its output goes."""
    words = shlex.split(line, comments=True)
    return words[: words.index(">")] if ">" in words else words


def file_of(line: str) -> str | None:
    """The file where a command's output goes, if to any."""
    words = shlex.split(line, comments=True)
    return words[words.index(">") + 1] if ">" in words else None


def ours(line: str) -> list[str] | None:
    """What follows `codecsieve` in a line of ours, however it is started; None where it is another program's."""
    words = words_of(line)
    for begin in (["codecsieve"], ["python", "-m", "codecsieve"]):
        if words[: len(begin)] == begin:
            return words[len(begin) :]
    if words[0] == "torchrun" and "codecsieve" in words:
        return words[words.index("codecsieve") + 1 :]
    return None
