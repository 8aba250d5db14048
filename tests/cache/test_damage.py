"""Whatever happens to a file of a cache: the right pixels or one line, and never "complete" over what is missing."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cache_cases import CONFIG, LAYOUT, array_files, fill, make_clip, names
from damage import DAMAGES, ODD_VALUES, Damage, folder, odd_field, within

from codecsieve.cache import CacheError, CacheWriter, Verified, open_cache, repair_cache, verify_cache
from codecsieve.cache.layout import ATTRIBUTE, config_hash

CLIPS = names(66)
SECONDS = 20  # a hang lasts for ever; a busy machine does not


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("whole") / "cache"
    fill(path, CLIPS, failing={"clip-3"})
    return path


FILES = [
    "zarr.json", "plan.parquet", ".lock", "index/part-000000.parquet", "index/part-000001.parquet",
    *(f"{array.name}/zarr.json" for array in LAYOUT.arrays()),
    *(array.shard_key(shard) for array in LAYOUT.arrays()[::3] for shard in (0, 1)),
]  # fmt: skip


def one_line(act: Callable[[], Any]) -> Any:
    """What `act` gives, within its time; None where it raises one line that is a CacheError."""
    said = ""
    with within(SECONDS):
        try:
            return act()
        except CacheError as error:
            said = str(error)
    assert len(said.splitlines()) == 1
    assert len(said) < 1500
    return None


def read_what_there_is(path: Path, form: Any) -> int:
    """How many clips of a cache can be read; all that can are right."""
    cache = one_line(lambda: open_cache(path, form=form))
    read = 0
    for number in range(len(cache) if cache else 0):
        clip = one_line(lambda number=number: cache[number])
        if clip is not None:
            read += 1
            truth = make_clip(clip.clip_id)
            for name in ("patches", "positions", "scores", "frame_ids"):
                np.testing.assert_array_equal(getattr(clip, name), getattr(truth, name))
    return read


def damage_and_attack(whole: Path, path: Path, name: str, damage: Damage, draw: random.Random) -> None:
    """Damage a file, read, verify, run again, repair, run again: in the end all is there, but for a lost config."""
    shutil.copytree(whole, path)
    damage(path / name, draw)
    counts = [read_what_there_is(path, form) for form in ("auto", "zarr")]
    found: Verified | None = one_line(lambda: verify_cache(path))
    if found is not None and found.complete:
        assert counts == [65, 65]
        assert (found.whole, found.failed, found.planned) == (65, 1, 66)
    rerun = shutil.copytree(path, path.with_name("rerun"), symlinks=True) if not special(path) else None
    if rerun is not None and one_line(lambda: fill(rerun, CLIPS, {"clip-3"})) is not None:
        assert all((rerun / name).exists() for name in FILES)
        after: Verified = verify_cache(rerun)
        assert not after.missing
        assert after.whole + sum(len(one.lost) for one in after.damages) == 65
    if one_line(lambda: repair_cache(path)) is not None:
        fill(path, CLIPS, {"clip-3"})
        assert verify_cache(path).complete
        assert read_what_there_is(path, "auto") == 65
    else:
        assert name in ("zarr.json", ".lock") or damage.__name__ == "swap"


def special(path: Path) -> list[Path]:
    """Files that cannot be copied."""
    return [file for file in path.rglob("*") if not (file.is_file() or file.is_dir() or file.is_symlink())]


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_of_any_kind_to_every_other_file_gives_right_pixels_or_one_line(
    whole: Path, tmp_path: Path, damage: Damage
) -> None:
    for number, name in enumerate(FILES[DAMAGES.index(damage) % 2 :: 2]):
        (tmp_path / str(number)).mkdir()
        damage_and_attack(whole, tmp_path / str(number) / "cache", name, damage, random.Random(number))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".json")])
def test_metadata_with_fields_of_other_types_gives_right_pixels_or_one_line(
    whole: Path, tmp_path: Path, name: str
) -> None:
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        damage_and_attack(whole, tmp_path / str(number) / "cache", name, odd_field, random.Random(number))


@pytest.mark.parametrize("field", ["num_frames", "k_keep", "patch", "store"])
@pytest.mark.parametrize("value", [*ODD_VALUES, "absent"])
def test_a_config_that_cannot_be_is_refused_though_its_hash_is_right(
    whole: Path, tmp_path: Path, field: str, value: Any
) -> None:
    path = shutil.copytree(whole, tmp_path / "cache")
    document = json.loads((path / "zarr.json").read_bytes())
    ours = document["attributes"][ATTRIBUTE]
    ours["config"][field] = value
    if value == "absent":
        del ours["config"][field]
    ours["config_sha256"] = config_hash(ours["config"])
    (path / "zarr.json").write_text(json.dumps(document))
    for act in (lambda: open_cache(path), lambda: verify_cache(path), lambda: fill(path, CLIPS)):
        with pytest.raises(CacheError, match=f"{field}|k_keep|does not match its hash"), within(SECONDS):
            act()


@pytest.mark.parametrize("config", [[], "text", None, {}, 7])
def test_a_config_that_is_no_table_is_refused(whole: Path, tmp_path: Path, config: Any) -> None:
    path = shutil.copytree(whole, tmp_path / "cache")
    document = json.loads((path / "zarr.json").read_bytes())
    document["attributes"][ATTRIBUTE].update(config=config, config_sha256=config_hash(config))
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(CacheError, match=r"the config in its zarr.json"):
        open_cache(path)


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change the rows of a Parquet file."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


@pytest.mark.slow
@pytest.mark.parametrize("change", [
    {"row": None}, {"crc32c": None}, {"status": None}, {"status": "fine"}, {"status": "failed"}, {"error": "but ok"},
    {"id": None}, {"id": ""}, {"id": "clip-1"}, {"uri": None}, {"row": 64}, {"row": -1}, {"row": 1}, {"row": 2**62},
])  # fmt: skip
def test_a_row_of_the_index_that_cannot_be_is_one_line_that_names_the_part(
    whole: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    path = shutil.copytree(whole, tmp_path / "cache")
    rewrite(path / "index" / "part-000000.parquet", lambda rows: rows[0].update(change))
    with pytest.raises(CacheError, match=r"part-000000.parquet is damaged \(.*\); remove it and run precompute again"):
        open_cache(path)
    found = repair_cache(path)
    assert len(found.missing) == 64
    fill(path, CLIPS, failing={"clip-3"})
    assert array_files(path) == array_files(whole)


def test_what_the_plan_has_and_the_index_has_not_is_missing(whole: Path, tmp_path: Path) -> None:
    path = shutil.copytree(whole, tmp_path / "cache")
    (path / "index" / "part-000001.parquet").unlink()
    found = verify_cache(path)
    assert (found.planned, found.whole, found.failed, found.missing) == (66, 63, 1, ("clip-64", "clip-65"))
    assert not found.complete
    assert not found.damages
    assert open_cache(path).planned == 66
    (path / "patches" / LAYOUT.arrays()[0].shard_key(0).rpartition("/")[2]).unlink()
    found = verify_cache(path)
    assert (found.planned, found.whole, found.damaged, found.failed, len(found.missing)) == (66, 0, 63, 1, 2)


def test_a_shard_with_a_block_twice_is_lost_though_its_index_is_right(whole: Path, tmp_path: Path) -> None:
    path = shutil.copytree(whole, tmp_path / "cache")
    shard = path / "scores" / "c.0.0"
    data = shard.read_bytes()
    shard.write_bytes(data[:40] + data)
    assert len(fill(path, CLIPS, failing={"clip-3"})) == 63
    assert array_files(path) == array_files(whole)


def test_a_run_that_was_killed_when_it_had_planned_damaged_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(writer: CacheWriter) -> None:
        raise KeyboardInterrupt

    fill(tmp_path, names(3))
    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "_fit_arrays", die)
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path, names(70))
    found = verify_cache(tmp_path)
    assert found.damages == ()
    assert set(found.missing) == set(names(70)) - set(names(3))
    fill(tmp_path, names(70))
    assert verify_cache(tmp_path).complete


def test_a_lost_plan_is_made_again_and_new_clips_take_the_rows_it_does_not_tell(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "cache"
    fill(path, [*CLIPS, "clip-66"], failing={"clip-3"})
    (path / "index" / "part-000001.parquet").unlink()
    fill(path, ["clip-65"])  # 64 and 66 were planned, and nothing tells
    (path / "plan.parquet").unlink()
    assert any("plan.parquet is not there" in damage.what for damage in repair_cache(path).damages)
    fill(path, [*CLIPS[:64], "clip-65", "clip-90", "clip-91"], failing={"clip-3"})
    cache = open_cache(path)
    assert verify_cache(path).complete
    assert dict(zip(cache.index["id"].to_pylist(), cache.index["row"].to_pylist(), strict=True))["clip-90"] == 64


def test_a_clip_in_two_parts_stays_in_one(whole: Path, tmp_path: Path) -> None:
    path = shutil.copytree(whole, tmp_path / "cache")
    rewrite(path / "index" / "part-000001.parquet", lambda rows: rows[0].update(id="clip-0"))
    with pytest.raises(CacheError, match=r"part-000001.parquet lists clip clip-0 in row 64, plan.parquet in 0"):
        fill(path, CLIPS)
    assert not repair_cache(path).complete
    fill(path, CLIPS, failing={"clip-3"})
    assert verify_cache(path).complete


def test_a_folder_in_the_way_is_put_aside_and_not_removed(whole: Path, tmp_path: Path) -> None:
    path = shutil.copytree(whole, tmp_path / "cache")
    folder(path / "scores" / "c.1.0", random.Random(0))
    with pytest.raises(CacheError, match=r"cannot write .*c.1.0: Is a directory; move away what is in its place"):
        fill(path, CLIPS)
    repair_cache(path)
    fill(path, CLIPS, failing={"clip-3"})
    assert verify_cache(path).complete
    assert (path / "scores" / "c.1.0.aside" / "something").exists()


def test_a_writer_at_work_is_not_repaired_under(whole: Path, tmp_path: Path) -> None:
    from codecsieve.cache import CacheWriter

    path = shutil.copytree(whole, tmp_path / "cache")
    with CacheWriter.open(path, LAYOUT, CONFIG), pytest.raises(CacheError, match="is being written by process"):
        repair_cache(path)


def test_flipped_bytes_are_named_by_clip(whole: Path, tmp_path: Path) -> None:
    path = shutil.copytree(whole, tmp_path / "cache")
    shard = path / "scores" / "c.0.0"
    data = bytearray(shard.read_bytes())
    data[0] ^= 1
    data[20] ^= 1
    shard.write_bytes(data)
    found = verify_cache(path)
    assert (found.whole, found.damaged, found.failed) == (63, 2, 1)
    (damage,) = found.damages
    assert (damage.what, damage.lost) == ("clips clip-0, clip-1: does not match its checksum", ("clip-0", "clip-1"))
