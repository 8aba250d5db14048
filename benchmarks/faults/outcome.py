"""What a trial came to, in exactly one of six words, and how a command's end or an exception is judged.

    held     right, or refused in one line that names what is wrong, with the right exit status
    unsteady FFmpeg itself gives other pixels of a damaged video each time, without a word
    lost     a clip is missing without a word: exit status 0 over what is not whole
    wrong    what was given differs from the truth, without a word
    hung     not done within its time limit, or something left behind that does not end
    crashed  a traceback, an exception that is none of ours, a death by a signal, more than one line, too much memory

What is tried, and what the truth is, is left to `caches`, `videos` and `kills`.
"""

from __future__ import annotations

import os
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import codecsieve
from codecsieve.errors import CodecsieveError

Outcome = Literal["held", "unsteady", "lost", "wrong", "hung", "crashed"]
OUTCOMES: tuple[Outcome, ...] = ("held", "unsteady", "lost", "wrong", "hung", "crashed")
BAD = OUTCOMES[2:]

SAID = 300
"""Characters that are kept of what a trial said."""
LINE = 1000
"""Characters that a line for people may have; two paths of a folder deep down are as long."""

_PACKAGE = str(Path(codecsieve.__file__).parent) + os.sep
_BESIDE_AN_ERROR = re.compile(
    r"(failed|damaged|missing|repaired|to put it right|to make what is missing): |… and |\d+ of \d+ \w+, |"
    r"\S+: \d+ clips take up to |cache \S+ has lost "
)
"""Lines that may stand beside the one that says why: lists of clips and damage, progress, warnings of what follows."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Verdict:
    """What a trial came to, and what was seen of it."""

    outcome: Outcome
    said: str = ""


@dataclass(frozen=True)
class Tried:
    """A trial that is over. id: repeats it, see `run`; kind: its row of the table; what: what was damaged, in words."""

    id: str
    kind: str
    what: str
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: by that signal) and what it printed."""

    status: int
    out: str
    err: str


class FaultError(Exception):
    """A trial that did not hold."""

    def __init__(self, outcome: Outcome, said: str) -> None:
        """See `Verdict`."""
        super().__init__(said)
        self.verdict = Verdict(outcome, said[:SAID])


def judge(check: Callable[[], str], named: Sequence[str]) -> Verdict:
    """The verdict of a check, which says what it saw or raises.

    An error of ours is a refusal, which holds if it is one line with one of `named` in it. Any other exception that
    came out of codecsieve is a crash; one that did not is a fault of the check's own, and is raised again.
    """
    try:
        return Verdict("held", check()[:SAID])
    except FaultError as fault:
        return fault.verdict
    except CodecsieveError as error:
        problem = unfit(str(error), named)
        return Verdict("crashed", f"{problem}: {str(error)[:SAID]}") if problem else Verdict("held", str(error)[:SAID])
    except Exception as error:
        raised = _raised_in(error)
        if raised is None:
            raise
        return Verdict("crashed", f"{type(error).__name__} in {raised}: {error}"[:SAID])


def unfit(line: str, named: Sequence[str]) -> str:
    """Why a message is not one line that names what is wrong; '' where it is."""
    if not line.strip() or "\n" in line.strip():
        return f"{len(line.splitlines())} lines"
    if len(line) > LINE:
        return f"{len(line)} characters"
    if _CONTROL.search(line):
        return "control characters"
    if not any(name in line for name in named):
        return "names nothing"
    return ""


def check_ended(ended: Ended, named: Sequence[str], statuses: Iterable[int] = (0, 1, 2)) -> None:
    """Raise `FaultError` where a command ended as none may, whatever it was asked and found."""
    for text in (ended.out, ended.err):
        if "Traceback (most recent call last)" in text:
            raise FaultError("crashed", f"traceback of {raised_in_text(text)}: {text.strip().splitlines()[-1]}")
        if _CONTROL.search(text):
            raise FaultError("crashed", f"control characters: {text!r}")
    if ended.status < 0:
        raise FaultError("crashed", f"died by signal {-ended.status}: {ended.err}")
    if ended.status not in statuses:
        raise FaultError("crashed", f"exit status {ended.status}: {ended.err}")
    errors = [line for line in ended.err.splitlines() if line.strip() and not _BESIDE_AN_ERROR.match(line)]
    if ended.status == 0:
        return
    if len(errors) > 1:
        raise FaultError("crashed", f"{len(errors)} lines: {ended.err}")
    told = [*errors, ended.out, *ended.err.splitlines()]
    if not any(name in text for text in told for name in named):
        raise FaultError("crashed", f"exit status {ended.status}, naming nothing: {ended.out} {ended.err}")
    for line in errors:
        if len(line) > LINE:
            raise FaultError("crashed", f"a line of {len(line)} characters: {line}")


COLUMNS = ["", "tried", *OUTCOMES, "longest s"]


def rows(tried: Iterable[Tried], total: str) -> list[list[Any]]:
    """A table: a row for each kind of trial, and the last, `total`, of what was damaged, each by its worst trial."""
    kinds: dict[str, list[Tried]] = {}
    damaged: dict[str, Tried] = {}
    for one in tried:
        kinds.setdefault(one.kind, []).append(one)
        name = one.id.rsplit("/", 1)[0]
        damaged[name] = max(damaged.get(name, one), one, key=lambda each: OUTCOMES.index(each.verdict.outcome))
    table = [[kind, *_counts(of)] for kind, of in sorted(kinds.items())]
    return [*table, [total, *_counts(list(damaged.values()))]]


def _counts(tried: Sequence[Tried]) -> list[Any]:
    counts = Counter(one.verdict.outcome for one in tried)
    longest = max((one.seconds for one in tried), default=0.0)
    return [len(tried), *(counts[outcome] for outcome in OUTCOMES), round(longest, 2)]


def _raised_in(error: BaseException) -> str | None:
    """File and function of codecsieve's that an exception came through last; None where it came through none."""
    frames = [(frame.filename, frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    return _last_of_ours(frames)


def raised_in_text(text: str) -> str | None:
    """The same of a traceback that was printed."""
    return _last_of_ours(re.findall(r'File "([^"]*)", line \d+, in (\S+)', text))


def _last_of_ours(frames: Sequence[tuple[str, str]]) -> str | None:
    ours = [(name.removeprefix(_PACKAGE), function) for name, function in frames if name.startswith(_PACKAGE)]
    return f"{ours[-1][0]}:{ours[-1][1]}" if ours else None
