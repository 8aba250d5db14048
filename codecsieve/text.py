"""Text of outside origin, as it may be shown: names of files, labels, ids, what libraries say of their errors.

A terminal acts on control characters, lays text out anew at bidirectional ones, and shows nothing of others: so they
are written out, as Python does. What is repeated of an input is short. Where text is shown is left to whoever shows it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LIMIT = 200
"""Characters that a message repeats of one input."""
_LONGEST_LINE = 1000
_REASON = 100  # characters, for what is said of an input that makes a line longer than that
# Control, format (bidirectional, joiners, tags), surrogate, line and paragraph separators.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")  # letters by category, and yet nothing to see
_BREAK = re.compile(r"\s*[\t-\r\x1c-\x1f\x85\u2028\u2029]\s*")
_SURROGATE = re.compile(r"\\u(dc[89a-f][0-9a-f])")
_LONG_WORD = re.compile(rf"\S{{{LIMIT + 1},}}")


def printable(text: str) -> str:
    r"""The text with all that a terminal would not show as a character of its own written out, such as \x1b, \u202e.

    Also the joiners within an emoji of several; combining marks stay. A backslash stays as it is, so that this can be
    done twice.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_written_out, text))


def as_utf8(text: str) -> str:
    r"""The text as UTF-8 can have it, which file names need not be: `\\udcXX` for what it cannot."""
    return text.encode("utf-8", "backslashreplace").decode()


def from_utf8(text: str) -> str:
    r"""The file name that `as_utf8` made such text of: `\udcXX` is a byte again, as Python has it in names."""
    return _SURROGATE.sub(lambda found: chr(int(found[1], 16)), text)


def shortened(text: str, limit: int = LIMIT) -> str:
    """`printable` text of at most `limit` characters: beginning and end, and between them how much is left out."""
    if len(text) <= limit and len(whole := printable(text)) <= limit:
        return whole
    room = limit - len(_left_out(len(text)))
    beginning = _fitting(text, room * 2 // 3)
    end = _fitting(reversed(text[len(beginning) :]), room - room * 2 // 3)
    left_out = len(text) - len(beginning) - len(end)
    return printable("".join(beginning)) + _left_out(left_out) + printable("".join(reversed(end)))


def quoted(value: object, limit: int = LIMIT) -> str:
    """A value as a message quotes it: as Python writes it, in quotes where it is text, `shortened`."""
    return shortened(repr(value), limit)


def first_few(values: Iterable[object], most: int = 8) -> str:
    """The first few of some values, each `shortened` to 48 characters, and how many more there are."""
    listed = list(values)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(shortened(str(value), 48) for value in listed[:most]) + more


def one_line(message: str) -> str:
    """A message as one printable line: line breaks become blanks, words too long for one are `shortened`.

    A whole of more than 1,000 characters is `shortened` as well, to 300. A line stays as it is, so that this can be
    done twice.
    """
    line = _BREAK.sub(" ", _short_words(message)).strip()
    line = _short_words(printable(line))
    return line if len(line) <= _LONGEST_LINE else shortened(line, LIMIT + _REASON)


def _short_words(text: str) -> str:
    return _LONG_WORD.sub(lambda word: shortened(word[0]), text)


def _written_out(character: str) -> str:
    if unicodedata.category(character) in _ESCAPED or character in _BLANK_LETTERS:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def _fitting(characters: Iterable[str], room: int) -> list[str]:
    """As many of the first characters as there is room for once they are printable."""
    taken = []
    for character in characters:
        room -= len(_written_out(character))
        if room < 0:
            break
        taken.append(character)
    return taken


def _left_out(count: int) -> str:
    return f" … ({count} characters) … "
