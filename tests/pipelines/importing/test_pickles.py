"""Pickles read as data: arrays of integers come out as they went in, and nothing that a file names is ever called."""

from __future__ import annotations

import importlib
import os
import pickle
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.errors import CacheError
from codecsieve.pipelines.importing.pickles import read_pickle

PROTOCOLS = range(6)
ARRAY = np.arange(7, 2048, 3)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["<i4", "<i8", ">i4", "<u2", "u1"])
def test_arrays_of_integers_come_out_as_they_went_in(protocol: int, kind: str) -> None:
    values = (ARRAY % 251).astype(kind)
    for array in (values, values[::2], values.reshape(-1, 1), np.asfortranarray(values[:400].reshape(20, 20))):
        read = read_pickle(pickle.dumps(array, protocol), "x.pkl")
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("protocol", range(1, 6))
def test_names_with_arrays_and_lists_come_out_too(protocol: int) -> None:
    held = {"/videos/a.mp4": ARRAY, "b": [1, 2, 3], "c": (ARRAY, ARRAY), 4: np.int32(5), "d": None}
    read = read_pickle(pickle.dumps(held, protocol), "x.pkl")
    assert list(read) == list(held)
    np.testing.assert_array_equal(read["/videos/a.mp4"], ARRAY)
    assert (read["b"], read[4], read["d"]) == ([1, 2, 3], 5, None)
    np.testing.assert_array_equal(read["c"], [ARRAY, ARRAY])


@pytest.mark.parametrize("root", ["numpy.core", "numpy._core"])
def test_those_of_old_and_new_numpy_are_read(root: str) -> None:
    """Files name numpy's modules as it called them when they were written."""
    data = pickle.dumps(ARRAY.astype(np.int32), 2)
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        data = data.replace(module, f"{root}.multiarray".encode())
    np.testing.assert_array_equal(read_pickle(data, "x.pkl"), ARRAY)


class Calls:
    """Would call a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.called


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_would_run_something_is_refused_and_is_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "mark"
    hostile = [
        Calls(os.system, f"touch {mark}"),
        Calls(eval, f"open({str(mark)!r}, 'w')"),
        Calls(open, str(mark), "w"),
        Calls(importlib.import_module, "antigravity"),
        Calls(np.load, str(mark), None, True),
        Calls(np.fromfile, "/dev/zero"),
        Calls(Calls, print),
    ]
    for one in (*hostile, {"a.mp4": hostile[0]}, [ARRAY, hostile[1]]):
        with pytest.raises(CacheError, match=r"^x\.pkl is not read, since nothing is unpickled: it"):
            read_pickle(pickle.dumps(one, protocol), "x.pkl")
    assert not mark.exists()


HOSTILE = {
    "an object array": pickle.dumps(np.array([os.system, 1], object), 4),
    "floats": pickle.dumps(np.ones(3), 4),
    "text": pickle.dumps(np.array(["a"]), 4),
    "a class instance": pickle.dumps(ValueError("x"), 4),
    "a set": pickle.dumps({1, 2}, 4),
    "a persistent id": b"\x80\x02Pabc\n.",
    "an extension code": b"\x80\x02\x82\x01.",
    "old instance": b"(cos\nsystem\nS'true'\no.",
    "old inst": b"(S'true'\nios\nsystem\n.",
    "newobj": b"\x80\x02cnumpy\nndarray\n)\x81.",
    "a name alone": b"\x80\x02cnumpy\nndarray\n.",
    "an attribute of numpy's": b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.",
    "a number called": b"\x80\x02K\x01)R.",
    "a list that is built": b"\x80\x02]}b.",
    "nothing": b"",
    "no end": pickle.dumps(ARRAY, 4)[:-1],
    "no stack": b"\x80\x02.",
    "bytes after which it ends": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
    "text longer than there is": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b".",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "garbage": b"\x93NUMPY\x01\x00",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_is_no_array_of_integers_is_refused_in_one_line(what: str) -> None:
    with pytest.raises(CacheError, match=r"^x\.pkl is not read, since nothing is unpickled: ") as caught:
        read_pickle(HOSTILE[what], "x.pkl")
    assert len(str(caught.value)) < 400


def test_an_array_whose_shape_promises_more_than_its_bytes_is_refused() -> None:
    data = pickle.dumps(np.zeros(3, np.int32), 4)
    shape = b"K\x03\x85"
    assert data.count(shape) == 1
    for said in (
        b"\x8a\x05\x00\x00\x00\x00\x7f\x85",
        b"J\xff\xff\xff\xff\x85",
        b"K\x02\x85",
        b"G" + bytes(8) + b"\x85",
    ):
        with pytest.raises(CacheError, match="is not read"):
            read_pickle(data.replace(shape, said + b"\x85"), "x.pkl")


def test_lists_in_each_other_a_million_times_cost_neither_time_nor_memory() -> None:
    deep = bytearray(b"\x80\x02]q\x00")
    for level in range(1, 8):  # each list holds the one before a hundred times: 10^14 in all
        deep += b"](" + b"h%c" % (level - 1) * 100 + b"eq%c" % level
    began = time.perf_counter()
    assert len(read_pickle(bytes(deep) + b".", "x.pkl")) == 100
    with pytest.raises(CacheError, match="deep"):
        read_pickle(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", "x.pkl")
    itself = b"\x80\x02]q\x00h\x00a."
    with pytest.raises(CacheError, match="deep"):
        read_pickle(itself, "x.pkl")
    assert time.perf_counter() - began < 20


PICKLES = [pickle.dumps(held, protocol) for held in (ARRAY[:9], {"a": ARRAY[:3]}) for protocol in PROTOCOLS]


@given(st.sampled_from(PICKLES), st.data())
def test_damaged_files_are_refused_or_hold_plain_values_and_nothing_else_is_raised(
    data: bytes, draw: st.DataObject
) -> None:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = draw.draw(st.integers(0, 255))
    try:
        read = read_pickle(bytes(damaged), "x.pkl")
    except CacheError:
        return
    assert isinstance(read, np.ndarray | dict | list | str | bytes | int | float | None)
