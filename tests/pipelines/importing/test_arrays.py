"""Files of integers: read whole and as data, no larger than they may be, and none outside of their folder."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.errors import CacheError
from codecsieve.pipelines.importing import arrays
from codecsieve.pipelines.importing.arrays import parse_npy, parse_npz, read_json, read_values

ARRAY = np.arange(12, dtype=np.int32).reshape(3, 4)


def npy(values: np.ndarray, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=pickled)
    return file.getvalue()


def npz(pickled: bool = False, **values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=pickled, **values)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["npy", "npz", "pkl", "pickle", "NPY"])
def test_each_kind_of_file_is_read_by_its_suffix(tmp_path: Path, suffix: str) -> None:
    data = {"npy": npy(ARRAY), "npz": npz(visible_indices=ARRAY)}.get(suffix.lower(), pickle.dumps(ARRAY))
    (tmp_path / f"a.{suffix}").write_bytes(data)
    read = read_values(tmp_path, f"a.{suffix}")
    np.testing.assert_array_equal(read["visible_indices"] if suffix == "npz" else read, ARRAY)


@pytest.mark.parametrize("values", [ARRAY, np.asfortranarray(ARRAY), ARRAY.astype(">i8"), ARRAY[:0], np.uint16(3)])
def test_arrays_of_integers_come_out_as_numpy_reads_them(values: np.ndarray) -> None:
    read = parse_npy(npy(values), "a.npy")
    assert (read.dtype, read.shape) == (values.dtype, values.shape)
    np.testing.assert_array_equal(read, values)


class Opens:
    """Would open a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


def test_objects_in_arrays_are_never_unpickled(tmp_path: Path) -> None:
    objects = np.array([Opens(tmp_path / "mark")], object)
    for data, parse in ((npy(objects, True), parse_npy), (npz(True, a=objects), parse_npz)):
        with pytest.raises(CacheError, match="holds object, not integers"):
            parse(data, "a")  # type: ignore[operator]
    assert not (tmp_path / "mark").exists()


def test_an_array_that_promises_more_than_there_is_is_refused() -> None:
    data = npy(np.zeros(8, np.int64))
    for said in (b"(8000000000000,)", b"(9,)", b"(7,)", b"(-8,)", b"(8.,)", b"(1,)*99"):
        header = data.replace(b"(8,), }" + b" " * len(said), said + b", }" + b" " * 4, 1)
        with pytest.raises(CacheError, match=r"^a\.npy "):
            parse_npy(header, "a.npy")
    with pytest.raises(CacheError, match=r"a\.npy says that it is \[8\], and has 65 bytes"):
        parse_npy(data + b"x", "a.npy")


@given(st.data())
def test_a_damaged_array_is_refused_or_read_and_nothing_else_is_raised(draw: st.DataObject) -> None:
    damaged = bytearray(npy(ARRAY))
    for _ in range(draw.draw(st.integers(1, 3))):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(CacheError):
        assert parse_npy(bytes(damaged), "a.npy").dtype.kind in "iu"


@given(st.data())
def test_a_damaged_archive_is_refused_or_read_and_nothing_else_is_raised(draw: st.DataObject) -> None:
    damaged = bytearray(npz(a=ARRAY, b=ARRAY))
    for _ in range(draw.draw(st.integers(1, 3))):
        damaged[draw.draw(st.integers(0, len(damaged) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(CacheError):
        parse_npz(bytes(damaged), "a.npz")


def test_an_archive_that_would_be_too_large_unpacked_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = npz(a=np.zeros(1 << 20, np.uint8))  # a thousandth of that, packed
    assert len(bomb) < 1 << 12
    monkeypatch.setattr(arrays, "MOST_BYTES", 1 << 16)
    with pytest.raises(CacheError, match=r"a\.npz would be larger than 65536 bytes unpacked; it is not read"):
        parse_npz(bomb, "a.npz")
    # One that says less than it is.
    lying = bomb.replace((128 + (1 << 20)).to_bytes(4, "little"), (1 << 10).to_bytes(4, "little"))
    assert lying != bomb
    with pytest.raises(CacheError, match=r"a\.npz"):
        parse_npz(lying, "a.npz")


def test_an_archive_of_the_same_bytes_many_times_over_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}.npy", npy(np.zeros(1 << 11, np.uint8)))
    monkeypatch.setattr(arrays, "MOST_BYTES", 1 << 16)
    with pytest.raises(CacheError, match="larger than 65536 bytes unpacked"):
        parse_npz(file.getvalue(), "a.npz")


def test_an_archive_that_numpy_would_not_have_packed_so_is_not_unpacked() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", npy(ARRAY))
    with pytest.raises(CacheError, match="is packed as numpy packs nothing"):
        parse_npz(file.getvalue(), "a.npz")


def test_a_file_outside_of_the_folder_is_not_read(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "below").mkdir(parents=True)
    (tmp_path / "secret.npy").write_bytes(npy(ARRAY))
    (inside / "below" / "a.npy").write_bytes(npy(ARRAY))
    (inside / "link.npy").symlink_to(tmp_path / "secret.npy")
    (inside / "folder").symlink_to(tmp_path)
    (inside / "near.npy").symlink_to(inside / "below" / "a.npy")
    for name in ("below/a.npy", "./below/../below/a.npy", "near.npy"):
        np.testing.assert_array_equal(read_values(inside, name), ARRAY)
    for name in (
        "../secret.npy",
        "below/../../secret.npy",
        str(tmp_path / "secret.npy"),
        "link.npy",
        "folder/secret.npy",
    ):
        with pytest.raises(CacheError, match="leads out of the folder; nothing outside is read"):
            read_values(inside, name)


def test_what_is_no_file_or_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo.npy")
    (tmp_path / "folder.npy").mkdir()
    for name in ("fifo.npy", "folder.npy", "gone.npy"):
        with pytest.raises(CacheError, match=r"^cannot read .*\.npy: "):
            read_values(tmp_path, name)
    with (tmp_path / "large.npy").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CacheError, match="is too large: 1099511627776 bytes, at most 268435456"):
        read_values(tmp_path, "large.npy")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a": 1' + b"0" * 5000 + b"}"])
def test_a_meta_json_that_is_none_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "meta.json").write_bytes(text)
    with pytest.raises(CacheError, match=r"meta\.json is (damaged|no object)"):
        read_json(tmp_path, "meta.json")
