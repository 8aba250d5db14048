"""Keys: one for each id, which no format splits and every file system takes."""

from __future__ import annotations

import re
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from codecsieve.cache.layout import is_id
from codecsieve.pipelines.exchange.names import keys_of

IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=300).filter(is_id)


@given(st.lists(IDS, unique=True, max_size=8))
def test_keys_hold_nothing_that_is_split_and_tell_all_ids_apart(ids: list[str]) -> None:
    keys = keys_of(ids)
    assert all(re.fullmatch(r"[\w@,=+~%-]{1,200}", key, re.ASCII) for key in keys)
    assert len({key.lower() for key in keys}) == len(ids)


@given(st.text("abc019.@-_~/ %é", min_size=1, max_size=20))
def test_an_id_can_be_read_in_its_key(clip_id: str) -> None:
    (key,) = keys_of([clip_id])
    assert unquote(key) == clip_id


def test_a_range_s_dots_are_encoded() -> None:
    assert keys_of(["3f2a@1.5-3.0"]) == ["3f2a@1%2E5-3%2E0"]


def test_ids_that_differ_in_capitals_only_or_are_long_have_keys_with_a_hash() -> None:
    one, other, long = keys_of(["Run", "run", "é." * 300])
    assert one.startswith("Run~")
    assert other.startswith("run~")
    assert len(long) <= 200
    assert unquote(long.rpartition("~")[0]) == ("é." * 300)[:36]  # nine characters each two
