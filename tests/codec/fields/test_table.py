"""Tables of offsets: used where they fit and prove themselves, and never where anything is off."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterator

import av
import numpy as np
import pytest
from field_cases import needs_table, uncoded_residual

from codecsieve.codec.fields import proof, table
from codecsieve.codec.fields.memory import FieldsError, Memory
from codecsieve.codec.fields.proof import KNOWN, STREAMS, prove, prove_in_child, usable_table
from codecsieve.codec.fields.reader import FieldReader
from codecsieve.codec.fields.table import Table, choose_table, table_from_json, why_not
from codecsieve.errors import ConfigError

HARMLESS = {
    ("hevc", "dpb_frames"), ("h264", "dpb_pictures"), ("h264", "most_short_references"), ("h264", "picture_frame"),
}  # fmt: skip
"""Numbers that are no offsets; and behind a picture's pointer to its frame there is another one to the same."""


TRIES = """
import json, sys
said = json.load(sys.stdin)
sys.path[:] = said["path"]
from codecsieve.codec.fields.proof import prove
from codecsieve.codec.fields.table import table_from_json
for table in said["tables"]:
    try:
        refused = prove(table_from_json(table)) is not None
    except Exception:
        refused = True
    print(refused, flush=True)
"""


def moved(right: Table, by: int) -> Iterator[tuple[str, Table]]:
    """The table with each of its offsets moved, one at a time."""
    for part in dataclasses.fields(right):
        if part.name == "version":
            continue
        offsets = getattr(right, part.name)
        for own in dataclasses.fields(offsets):
            value = getattr(offsets, own.name)
            if (part.name, own.name) in HARMLESS:
                continue
            for place in range(len(value) if isinstance(value, tuple) else 1):
                if isinstance(value, tuple):
                    other = tuple(v + by * (n == place) for n, v in enumerate(value))
                else:
                    other = value + by
                changed = dataclasses.replace(offsets, **{own.name: other})
                yield f"{part.name}.{own.name}", dataclasses.replace(right, **{part.name: changed})


@needs_table
def test_the_table_in_use_proves_itself_here_and_in_a_child() -> None:
    right = choose_table()
    assert right is not None
    assert prove(right) is None
    assert prove_in_child(right) is None
    assert usable_table("auto") == usable_table("on") == right
    assert usable_table("off") is None


@pytest.mark.slow
@needs_table
def test_an_offset_that_is_off_is_refused_and_the_program_lives() -> None:
    """Of every single one; where reading by it ends a process, that is the child's."""
    right = choose_table()
    assert right is not None
    wrong = list(moved(right, 8))
    assert len(wrong) >= 40
    refused: list[bool] = []
    while len(refused) < len(wrong):  # one child tries them in turn; where it ends, the next goes on behind
        tables = [dataclasses.asdict(other) for _, other in wrong[len(refused) :]]
        said = json.dumps({"path": sys.path, "tables": tables})
        child = subprocess.run([sys.executable, "-c", TRIES], input=said, capture_output=True, text=True, timeout=120)
        answers = [line == "True" for line in child.stdout.split()]
        refused += answers if len(answers) == len(tables) else [*answers, True]
    assert [name for (name, _), no in zip(wrong, refused, strict=True) if not no] == []
    assert prove_in_child(wrong[0][1]) is not None


@pytest.mark.slow
@needs_table
@pytest.mark.parametrize("seed", range(8))
def test_a_table_of_another_version_is_refused(seed: int) -> None:
    """Structures that grew in places shift all that lies behind."""
    right = choose_table()
    assert right is not None
    random = np.random.default_rng(seed)

    def shifted(offsets: object) -> object:
        names = [own.name for own in dataclasses.fields(offsets)]  # type: ignore[arg-type]
        behind = random.integers(64, 4096)
        by = 8 * int(random.integers(1, 8))

        def shift(value: int) -> int:
            return value + by if value >= behind else value

        old = {name: getattr(offsets, name) for name in names}
        new = {n: tuple(map(shift, v)) if isinstance(v, tuple) else shift(v) for n, v in old.items()}
        return dataclasses.replace(offsets, **new)  # type: ignore[type-var]

    other = dataclasses.replace(right, hevc=shifted(right.hevc), h264=shifted(right.h264))  # type: ignore[arg-type]
    assert other == right or prove_in_child(other) is not None


@needs_table
def test_a_table_passes_through_json() -> None:
    right = choose_table()
    assert right is not None
    assert table_from_json(json.loads(json.dumps(dataclasses.asdict(right)))) == right


@pytest.mark.parametrize(
    ("where", "name", "value", "reason"),
    [
        (sys, "platform", "darwin", "known is Linux"),
        (sys, "platform", "win32", "known is Linux"),
        (platform, "machine", lambda: "i686", "known are x86_64 and aarch64"),
        (table, "POINTER_BYTES", 4, "known are x86_64 and aarch64 with 64 bits"),
        (sysconfig, "get_config_var", lambda name: 1, "CPython with its lock"),
        (sys, "version_info", (3, 15, 0), "known are 3.11 to 3.14"),
        (av, "library_versions", {"libavcodec": (63, 0, 100)}, "libavcodec is 63.0.100, known is 62.28.102"),
    ],
)
def test_where_no_table_fits_it_is_said_why(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, value: object, reason: str
) -> None:
    monkeypatch.setattr(where, name, value)
    assert reason in (why_not() or "")
    assert choose_table() is None


def test_on_is_refused_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "proven_table", lambda: "libavcodec is 1.2.3")
    assert usable_table("auto") is None
    with pytest.raises(ConfigError, match=r"decoder_fields \('on'\) cannot be: libavcodec is 1\.2\.3"):
        usable_table("on")
    with pytest.raises(ValueError, match=r"decoder_fields \('maybe'\) must be one of auto, on, off"):
        usable_table("maybe")


@needs_table
def test_memory_that_is_not_there_is_an_error_and_no_crash() -> None:
    numbers = np.arange(1000, dtype=np.int32)
    with Memory() as memory:
        address = numbers.ctypes.data
        np.testing.assert_array_equal(memory.view(address, (1000,), np.int32), numbers)
        assert memory.integers(address + 40, 2).tolist() == [10, 11]
        assert not memory.view(address, (10,), np.int32).flags.writeable
        for wrong in (0, 8, -8, 1 << 63, (1 << 64) - 8):
            with pytest.raises(FieldsError):
                memory.read(wrong, 8)
        with pytest.raises(FieldsError, match="null pointer"):
            memory.pointer(np.zeros(1, np.int64).ctypes.data)
        for shape in ((0,), (-1,), (1 << 40,)):
            with pytest.raises(FieldsError, match="no array"):
                memory.view(address, shape, np.int32)
    with pytest.raises(FieldsError):
        memory.read(address, 4)


@needs_table
@pytest.mark.parametrize(("codec", "name"), [(codec, name) for codec, name, _ in KNOWN])
def test_what_is_known_of_the_streams_is_right(codec: str, name: str) -> None:
    """What is read of them leaves no residual where they say that nothing was coded."""
    right = choose_table()
    assert right is not None
    decoder = av.CodecContext.create(codec, "r")
    decoder.thread_count = 1
    decoder.open(strict=False)
    bare = pictures = index = 0
    with FieldReader(decoder, right) as reader:
        for number, packet in enumerate(decoder.parse((STREAMS / name).read_bytes()) + decoder.parse(None)):
            packet.pts = number
            decoder.decode(packet)
            index = index if number and reader.holds(index) else number
            coded = reader.read(index)
            for part in coded.predictions if coded else ():
                left = uncoded_residual(coded, reader.blocks(index), part)
                bare, pictures = bare + left.size, pictures + 1
                assert not left.any()
    assert pictures >= 5
    assert bare > 4000


def test_the_streams_are_small() -> None:
    """They are in every installation."""
    assert sum(path.stat().st_size for path in STREAMS.iterdir()) < 40_000
