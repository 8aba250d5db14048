"""Text of outside origin: nothing of it moves a terminal's cursor, and none of it is long."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.errors import CodecsieveError
from codecsieve.text import LIMIT, one_line, printable, quoted, shortened

NEVER_SHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
ANY = st.text(st.characters())  # lone surrogates among them
HOSTILE = st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Mn", "Lu", "Zs"]))
ORDINARY = st.text(st.characters(exclude_categories=[*NEVER_SHOWN], exclude_characters="\u115f\u1160\u3164\uffa0"))


def is_shown(text: str) -> bool:
    return not {unicodedata.category(character) for character in text} & NEVER_SHOWN


@given(ANY | HOSTILE)
def test_printable_text_has_nothing_that_a_terminal_acts_on(text: str) -> None:
    assert is_shown(printable(text))
    assert printable(printable(text)) == printable(text)


@given(ORDINARY)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x7f\x9b31m", r"\x7f\x9b31m"),
        ("cat\u202egpj.mp4", r"cat\u202egpj.mp4"),
        ("\u2066\u2069\u200b\ufeff\u00ad\U000e0041", r"\u2066\u2069\u200b\ufeff\xad\U000e0041"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\udcff.mp4", r"\udcff.mp4"),
        ("\u3164", r"\u3164"),
        ("Пти́ца, 猫, e\u0301, 🎬, [red]x[/red], \\x1b", "Пти́ца, 猫, e\u0301, 🎬, [red]x[/red], \\x1b"),
        ("👨\u200d👩", r"👨\u200d👩"),
    ],
    ids=["escape", "breaks", "C1", "override", "invisible", "separators", "surrogate", "filler", "ordinary", "joiner"],
)
def test_what_is_written_out_and_what_is_not(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY | HOSTILE, st.integers(50, 300))
def test_shortened_text_is_printable_and_no_longer_than_its_limit(text: str, limit: int) -> None:
    short = shortened(text * 7, limit)
    assert is_shown(short)
    assert len(short) <= limit
    assert shortened(short, limit) == short
    if len(printable(text)) <= limit:
        assert shortened(text, limit) == printable(text)


def test_shortened_text_tells_how_much_of_it_is_left_out() -> None:
    short = shortened("begins " + "x" * 3_000_000 + " ends")
    beginning, _, rest = short.partition(" … (")
    number, _, end = rest.partition(" characters) … ")
    assert beginning.startswith("begins xxx")
    assert end.endswith("xxx ends")
    assert len(beginning) + int(number) + len(end) == 3_000_012
    assert len(short) <= LIMIT


def test_a_quoted_value_is_as_python_writes_it() -> None:
    assert quoted("a 'b'\n") == repr("a 'b'\n")
    assert quoted(1.5) == "1.5"
    assert quoted({"a": 1}) == "{'a': 1}"
    assert len(quoted(b"\x00" * 10_000)) <= LIMIT


@given(st.lists(ANY | HOSTILE | st.just("x" * 300)).map(" ".join))
def test_one_line_is_one_printable_line_and_bounded(text: str) -> None:
    line = one_line(text)
    assert is_shown(line)
    assert line.splitlines() in ([line], [])
    assert len(line) <= 1000
    assert all(len(word) <= LIMIT for word in line.split())
    assert one_line(line) == line


def test_a_message_about_a_long_path_with_blanks_in_it_repeats_little_of_it() -> None:
    line = one_line("/data" + "/a b" * 2000 + ": no such file; check the path")
    assert line.startswith("/data/a b/a b")
    assert line.endswith("/a b: no such file; check the path")
    assert len(line) <= 300


def test_line_breaks_of_a_message_become_blanks() -> None:
    assert one_line("a\n  b\r\n\n  c  d\n") == "a b c  d"


@given(ANY | HOSTILE)
def test_an_error_is_one_line_whatever_it_repeats(name: str) -> None:
    message = str(CodecsieveError(f"{name * 50}: no such file; check the path"))
    assert is_shown(message)
    assert len(message) <= 1000
    assert message.endswith(": no such file; check the path")
