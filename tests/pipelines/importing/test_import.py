"""Imports: what others chose of real videos, and our own exports, become caches with the same indices and pixels."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_cases import CONFIG, fill, make_placed_clip, names
from click.testing import CliRunner, Result
from PIL import Image

import codecsieve as cs
from codecsieve.cache import ClipArrays, Layout, SparseCache, open_cache
from codecsieve.cli import main
from codecsieve.errors import CacheError, ConfigError
from codecsieve.pipelines.exchange.export import export_cache
from codecsieve.pipelines.importing.run import import_cache

T, GRID, K = 8, 16, 200
OPTIONS: dict[str, Any] = {"num_frames": T, "workers": 0}
KEY = f"K{K}_mvcompsimilarity"


@pytest.fixture(scope="module")
def sieved(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> SparseCache:
    """A cache of three real videos, whose selections stand for those of others."""
    folder = tmp_path_factory.mktemp("sieved")
    (folder / "videos").mkdir()
    for seed, codec in enumerate(("libx264", "mpeg4", "libx264")):
        make_video(folder / "videos" / f"v{seed}.mp4", codec, frames=30, size=(320, 240), seed=seed)
    cs.precompute(folder / "videos", folder / "cache", num_frames=T, k_keep=K, workers=0)
    return open_cache(folder / "cache")


@pytest.fixture
def videos(sieved: SparseCache) -> Path:
    return Path(sieved.uris[0]).parent


def indices_of(clip: Any) -> np.ndarray:
    return np.ravel_multi_index(tuple(clip.positions.astype(int).T), (T, GRID, GRID)).astype(np.int32)


def write_published(folder: Path, sieved: SparseCache, root: str, key: str = KEY) -> None:
    """A folder of indices as OneVision-Encoder's evaluation leaves one."""
    folder.mkdir()
    for clip in sieved:
        path = f"{root}/{Path(clip.uri).name}"
        digest = hashlib.md5((f"{path}|{key}" if key else path).encode()).hexdigest()
        (folder / f"visible_indices_{digest}.pkl").write_bytes(pickle.dumps(indices_of(clip)))


def assert_same(imported: SparseCache, original: SparseCache, pixels: bool = True) -> None:
    assert set(imported.clip_ids) == set(original.clip_ids)
    for clip in original:
        made = imported[clip.clip_id]
        np.testing.assert_array_equal(made.positions, clip.positions)
        np.testing.assert_array_equal(made.frame_ids, clip.frame_ids)
        if pixels:
            np.testing.assert_array_equal(made.patches, clip.patches)


@pytest.mark.parametrize("store", ["indices", "patches"])
def test_published_indices_become_a_cache_of_the_same_patches(
    sieved: SparseCache, videos: Path, tmp_path: Path, store: Any
) -> None:
    write_published(tmp_path / "published", sieved, "/data/set")
    told: list[tuple[int, int, int]] = []
    imported = import_cache(
        tmp_path / "published", tmp_path / "cache", videos, store=store, videos_were="/data/set", cache_key=KEY,
        progress=lambda *at: told.append(at), **OPTIONS,
    )  # fmt: skip
    assert (imported.clips, imported.made, imported.failures) == (3, 3, {})
    assert (told[0], told[-1]) == ((0, 3, 0), (3, 3, 0))
    cache = open_cache(tmp_path / "cache")
    assert_same(cache, sieved, pixels=store == "patches")
    cache.verify()
    assert cache.config["imported"] == {"source": "visible_indices", "cache_key": KEY}
    assert (cache.config["policy"], cache.config["input_size"], cache.layout.store) == ("given", 224, store)
    rows = cache.table.to_pylist()
    assert [(row["codec"], row["frames"], row["signals"]) for row in rows] == [
        ("h264", 30, "given"), ("mpeg4", 30, "given"), ("h264", 30, "given")
    ]  # fmt: skip
    if store == "patches":
        assert (rows[0]["width"], rows[0]["height"]) == (320, 240)
        assert next(iter(cs.make_loader(cache, batch_size=3))).patches.shape == (3, K, 3, 14, 14)


@pytest.mark.slow
def test_workers_make_the_same_cache(sieved: SparseCache, videos: Path, tmp_path: Path, cache_content: Any) -> None:
    write_published(tmp_path / "published", sieved, str(videos), key="")
    for workers in (0, 2):
        options = {**OPTIONS, "workers": workers, "store": "patches"}
        import_cache(tmp_path / "published", tmp_path / str(workers), videos, **options)
    assert cache_content(tmp_path / "0") == cache_content(tmp_path / "2")


def test_an_import_goes_on_and_tries_again_what_failed(sieved: SparseCache, videos: Path, tmp_path: Path) -> None:
    write_published(tmp_path / "published", sieved, str(videos), key="")
    one = sorted((tmp_path / "published").iterdir())[0]
    one.rename(tmp_path / "aside")
    first = import_cache(tmp_path / "published", tmp_path / "cache", videos, **OPTIONS)
    assert (first.clips, first.made) == (2, 2)
    (reason,) = first.failures.values()
    assert f"no {one.name} (of the path " in reason
    assert "say --videos-were and --cache-key, or name it in a column `indices`" in reason
    (tmp_path / "aside").rename(one)
    again = import_cache(tmp_path / "published", tmp_path / "cache", videos, **OPTIONS)
    assert (again.clips, again.made, again.failures) == (3, 1, {})
    assert_same(open_cache(tmp_path / "cache"), sieved, pixels=False)
    assert import_cache(tmp_path / "published", tmp_path / "cache", videos, **OPTIONS).made == 0
    with pytest.raises(CacheError, match="use another --out or delete it"):
        import_cache(tmp_path / "published", tmp_path / "cache", videos, **OPTIONS, store="patches")


@pytest.mark.slow
@pytest.mark.parametrize("clips", [0, 1, 2])
def test_an_import_that_was_interrupted_goes_on_to_the_same_cache(
    sieved: SparseCache, videos: Path, tmp_path: Path, cache_content: Any, clips: int
) -> None:
    write_published(tmp_path / "published", sieved, str(videos), key="")

    def interrupt(done: int, *_: int) -> None:
        if done == clips:
            raise KeyboardInterrupt

    import_cache(tmp_path / "published", tmp_path / "whole", videos, **OPTIONS, store="patches")
    with pytest.raises(KeyboardInterrupt):
        import_cache(tmp_path / "published", tmp_path / "cache", videos, **OPTIONS, store="patches", progress=interrupt)
    again = import_cache(tmp_path / "published", tmp_path / "cache", videos, **OPTIONS, store="patches")
    assert again.made == 3 - clips
    assert cache_content(tmp_path / "cache") == cache_content(tmp_path / "whole")


def test_a_manifest_names_files_labels_and_whatever_else(sieved: SparseCache, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "published" / "train").mkdir(parents=True)
    lines = ["path,label,indices,shots"]
    for number, clip in enumerate(sieved):
        np.save(tmp_path / "published" / "train" / f"{number}.npy", indices_of(clip))
        lines.append(f"{clip.uri},run,train/{number}.npy,{number}")
    lines[-1] = lines[-1].replace("train/2.npy", "../../outside.npy")
    (tmp_path / "train.csv").write_text("\n".join(lines))
    imported = import_cache(tmp_path / "published", tmp_path / "cache", tmp_path / "train.csv", **OPTIONS)
    (reason,) = imported.failures.values()
    assert "'../../outside.npy' leads out of the folder; nothing outside is read" in reason
    clip = open_cache(tmp_path / "cache")["v1.mp4"]
    assert (clip.label, clip.metadata["shots"]) == ("run", 1)


@pytest.mark.parametrize("kind", ["rows.npy", "names.npz", "paths.pkl"])
def test_one_file_may_have_the_indices_of_all(sieved: SparseCache, videos: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "rows.npy":
        np.save(path, np.stack([indices_of(clip) for clip in sieved]))
    elif kind == "names.npz":
        np.savez(path, **{Path(clip.uri).stem: indices_of(clip) for clip in sieved})  # type: ignore[arg-type]
    else:
        path.write_bytes(pickle.dumps({f"/old/{Path(clip.uri).name}": indices_of(clip).tolist() for clip in sieved}))
    ordered = [clip.uri for clip in sieved]
    imported = import_cache(path, tmp_path / "cache", ordered, **OPTIONS, videos_were="/old")
    assert imported.failures == {}
    assert_same(open_cache(tmp_path / "cache"), sieved, pixels=False)


def test_what_is_wrong_with_one_clip_is_its_own_row(sieved: SparseCache, videos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    copies = tmp_path / "videos"
    copies.mkdir()
    right = indices_of(sieved[0])
    wrong = {
        "zeros": (right * 0, "is all zeros, which is what others write of a video that they could not read"),
        "few": (right[:-1], f"keeps {K - 1} patches, the first clip {K}"),
        "far": (right + T * GRID**2, "of 2048 patches a clip; say --num-frames, --input-size and --patch-size"),
        "floats": (right.astype(np.float32), "holds values of type 'f4', not integers"),
        "broken": (right, "No such file|damaged|Invalid data|not a video|is empty"),
    }
    for number, (name, (values, _)) in enumerate(wrong.items()):
        shutil.copy(sieved.uris[0], copies / f"{name}.mp4")
        with (copies / f"{name}.mp4").open("ab") as file:
            file.write(bytes([number]))  # another file, with another id
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(values))
    (copies / "broken.mp4").write_bytes(b"no video at all")
    shutil.copy(sieved.uris[0], copies / "a.mp4")
    (folder / "a.pkl").write_bytes(pickle.dumps(right))
    imported = import_cache(folder, tmp_path / "cache", copies, **OPTIONS, store="patches")
    assert (imported.clips, imported.made, len(imported.failures)) == (1, 1, len(wrong))
    for name, (_, says) in wrong.items():
        (reason,) = [reason for reason in imported.failures.values() if f"/{name}." in reason]
        assert any(part in reason for part in says.split("|")), reason
    assert_same_clip(open_cache(tmp_path / "cache")[0], sieved[0])


def assert_same_clip(made: Any, clip: Any) -> None:
    np.testing.assert_array_equal(made.patches, clip.patches)
    np.testing.assert_array_equal(made.positions, clip.positions)


@pytest.mark.slow
def test_the_sieve_does_not_go_on_with_what_others_chose(sieved: SparseCache, videos: Path, tmp_path: Path) -> None:
    write_published(tmp_path / "published", sieved, str(videos), key="")
    import_cache(tmp_path / "published", tmp_path / "cache", videos, **OPTIONS)
    says = "were chosen elsewhere and imported; no options of the sieve make them, so use another cache"
    with pytest.raises(ConfigError, match=says):
        cs.precompute(videos, tmp_path / "cache", workers=0)
    shown = CliRunner().invoke(main, ["inspect", str(tmp_path / "cache"), "v0.mp4", "--out", str(tmp_path / "a.png")])
    assert shown.exit_code == 2
    assert says in shown.stderr
    export_cache(sieved, tmp_path / "out", "assets")  # which says where a video is, and not what is in it
    import_cache(tmp_path / "out", tmp_path / "back", store="patches", workers=0)
    shown = CliRunner().invoke(main, ["inspect", str(tmp_path / "back"), "v0.mp4", "--out", str(tmp_path / "a.png")])
    assert shown.exit_code == 2
    assert says in shown.stderr


# --- our own exports, and others' folders


def exported(tmp_path: Path, to: Any, **options: Any) -> SparseCache:
    """A cache of three clips, exported to `out`."""
    patch = 16 if options else 14

    def make(clip_id: str, layout: Layout) -> ClipArrays:
        return make_placed_clip(clip_id, layout, 6)

    fill(
        tmp_path / "given", names(3), layout=Layout(T, 40, patch), config={**CONFIG, "input_size": 6 * patch}, make=make
    )
    export_cache(tmp_path / "given", tmp_path / "out", to, **options)
    return open_cache(tmp_path / "given")


@pytest.mark.slow
@pytest.mark.parametrize("to", ["llava", "assets"])
def test_an_export_that_is_imported_is_the_cache_that_it_was(tmp_path: Path, to: str) -> None:
    cache = exported(tmp_path, to)
    imported = import_cache(tmp_path / "out", tmp_path / "back", store="patches", workers=0)
    assert (imported.clips, imported.failures) == (3, {})
    back = open_cache(tmp_path / "back")
    assert_same(back, cache)
    assert (back.labels, back.uris, back.grid) == (cache.labels, cache.uris, cache.grid)
    assert back.config["imported"] == {"source": "folders", "of": cache.config}
    import_cache(tmp_path / "out", tmp_path / "indices", workers=0)
    assert_same(open_cache(tmp_path / "indices"), cache, pixels=False)


OWN = {"fit": "native", "input_size": 168, "max_pixels": 112 * 112}
LAID: tuple[dict[str, Any], ...] = (
    {"merge": 2},
    {"merge": 4, "token_order": "zigzag"},
    {"merge": 2, "groups": 2, "anchors": 1, "fit": "letterbox"},
    {"merge": 2, "token_order": "zigzag", "anchors": 1, **OWN},
)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["llava", "assets", "ov2"])
@pytest.mark.parametrize("laid", LAID, ids=["blocks", "zigzag", "groups", "native"])
def test_tokens_of_an_export_that_is_imported_stand_as_they_stood(
    sieved: SparseCache, videos: Path, tmp_path: Path, to: Any, laid: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"num_frames": T, "input_size": 112, "k_keep": 160, "workers": 0, **laid}
    cs.precompute(videos, tmp_path / "cache", **options)
    cache = open_cache(tmp_path / "cache")
    export_cache(cache, tmp_path / "out", to)
    for meta in (json.loads(path.read_text())["codecsieve"] for path in (tmp_path / "out").rglob("meta.json")):
        assert meta.get("first_frame_whole", True) or "anchors" not in laid  # also at a size of its own
    assert import_cache(tmp_path / "out", tmp_path / "back", store="patches", workers=0).failures == {}
    back = open_cache(tmp_path / "back")
    assert_same(back, cache)
    said = {name: value for name, value in laid.items() if name != "anchors"}
    assert {name: back.config[name] for name in said} == said
    seen = ["id", "grid_rows", "grid_columns"]
    assert sorted(back.table.select(seen).to_pylist(), key=str) == sorted(cache.table.select(seen).to_pylist(), key=str)


@pytest.mark.slow
def test_places_in_time_of_an_export_come_back_as_such(sieved: SparseCache, videos: Path, tmp_path: Path) -> None:
    """What stands for slots with target_frames; what slots had the same place is not told apart."""
    for places in (64, 4):
        folder = tmp_path / str(places)
        options: dict[str, Any] = {"num_frames": T, "k_keep": K, "target_frames": places, "workers": 0}
        cs.precompute(videos, folder / "cache", **options)
        cache = open_cache(folder / "cache")
        export_cache(cache, folder / "out", "assets")
        assert import_cache(folder / "out", folder / "back", store="patches", workers=0).failures == {}
        back = open_cache(folder / "back")
        assert (back.config["target_frames"], back.layout.num_frames) == (places, T)
        for clip in cache:
            made, order = back[clip.clip_id], np.lexsort(clip.positions.T[::-1])
            np.testing.assert_array_equal(made.positions, clip.positions[order])
            np.testing.assert_array_equal(made.patches, clip.patches[order])
            np.testing.assert_array_equal(made.frame_ids, clip.frame_ids)


@pytest.mark.slow
def test_patches_are_read_off_jpeg_pictures_too(tmp_path: Path) -> None:
    cache = exported(tmp_path, "assets", canvas="jpeg")
    import_cache(tmp_path / "out", tmp_path / "back", store="patches", workers=0)
    made, clip = open_cache(tmp_path / "back")[0], cache[0]
    error = np.abs(made.patches.astype(int) - clip.patches).mean(axis=(1, 2, 3))
    others = np.abs(made.patches.astype(int) - np.roll(clip.patches, 1, axis=0)).mean(axis=(1, 2, 3))
    assert (error < others).all()


def test_folders_that_others_made_are_read(tmp_path: Path) -> None:
    """Without what we add: the grid is that of the pictures, and whatever fills them stays."""
    random = np.random.default_rng(0)
    for key in ("a_1", "b_2"):
        folder = tmp_path / "root" / "assets" / key
        folder.mkdir(parents=True)
        indices = np.sort(random.permutation(64 * 1296)[:10368]).astype(np.int64)
        np.save(folder / "visible_indices.npy", indices)
        np.save(folder / "positions_thw.npy", np.stack(np.unravel_index(indices, (64, 36, 36)), 1).astype(np.int32))
        np.save(folder / "frame_ids.npy", np.arange(64, dtype=np.int32))
        cfg = {"seq_len_frames": 64, "num_images": 8, "square_size": 576, "patch_size": 16, "mv_compensate": "median"}
        meta = {"video": f"/videos/{key}.mp4", "key": key, "cfg": cfg}
        (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "positions_thw.npy").unlink()
    import_cache(tmp_path / "root", tmp_path / "cache", workers=0)
    cache = open_cache(tmp_path / "cache")
    assert (cache.clip_ids, cache.uris) == (["a_1", "b_2"], ["/videos/a_1.mp4", "/videos/b_2.mp4"])
    assert (cache.layout.k_keep, cache.layout.patch, cache.grid) == (10368, 16, 36)
    assert cache.config["imported"]["of"]["mv_compensate"] == "median"
    placed = np.ravel_multi_index(tuple(cache[1].positions.astype(int).T), (64, 36, 36))
    np.testing.assert_array_equal(placed, indices)


def spoil(folder: Path, what: str, outside: Path) -> str:
    """Spoil a clip's folder, and return what is to be said of it."""
    meta = json.loads((folder / "meta.json").read_text())
    positions = np.load(folder / "positions_thw.npy")
    match what:
        case "no meta":
            (folder / "meta.json").unlink()
            return "cannot read "
        case "other sizes":
            meta["cfg"]["seq_len_frames"] = T + 1
            (folder / "meta.json").write_text(json.dumps(meta))
            return "has 9 slots of 6x6 patches of 14 px, the first 8 of 6x6 of 14 px"
        case "no sizes":
            (folder / "meta.json").write_text('{"cfg": {"patch_size": 0}}')
            return "does not say how many slots, and how large patches are"
        case "numbers that are none":
            meta["codecsieve"]["config"]["center_prior"] = float("nan")
            (folder / "meta.json").write_text(json.dumps(meta))
            return "does not say how many slots, and how large patches are"
        case "a path for an id":
            meta["codecsieve"]["id"] = "../\n"
            (folder / "meta.json").write_text(json.dumps(meta))
            return "gives an id that is not printable, or too long"
        case "outside":
            np.save(folder / "positions_thw.npy", positions + np.array([0, 6, 0], np.int32))
            return "has places outside of 8 slots of 6x6"
        case "frames":
            np.save(folder / "frame_ids.npy", np.full(T, -1, np.int32))
            return "must be the frame of each of 8 slots"
        case "a picture":
            (folder / "mosaic_000.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
            return "mosaic_000.png is damaged"
        case "the first picture missing":
            (folder / "mosaic_000.png").unlink()
            return "has no PNG or JPEG pictures"
        case "a picture missing":
            (folder / "mosaic_003.png").unlink()
            return "mosaic_003.png: No such file"
        case "a picture cut short":
            with Image.open(folder / "mosaic_000.png") as picture:
                picture.crop((0, 0, 14, 504)).save(folder / "mosaic_000.png")
            return "is (14, 504), not 36x36 patches of 14 px"
        case "no picture":
            (folder / "mosaic_000.png").write_bytes(b"of something else")
            return "mosaic_000.png is damaged, or no PNG"
        case "less than none kept":
            meta["codecsieve"]["kept"] = -5
            (folder / "meta.json").write_text(json.dumps(meta))
            return "meta.json: k_keep (-5) must be > 0"
        case "blocks that there are none of":
            meta["codecsieve"]["config"]["merge"] = 4
            (folder / "meta.json").write_text(json.dumps(meta))
            return "meta.json: merge (4) must divide 6"
        case "another fit":
            meta["codecsieve"]["config"]["fit"] = "letterbox"
            (folder / "meta.json").write_text(json.dumps(meta))
            return "was made with fit=letterbox, the first (nothing)"
        case "a large picture":
            (folder / "mosaic_000.png").write_bytes(_claims_to_be(60_000))
            return "mosaic_000.png is damaged|not 36x36 patches of 14 px"
        case "a link":
            shutil.copytree(folder, outside)
            shutil.rmtree(folder)
            folder.symlink_to(outside)
            return "leads out of the folder; nothing outside is read"
        case "a picture elsewhere":
            shutil.copy(folder / "mosaic_000.png", outside)
            (folder / "mosaic_000.png").unlink()
            (folder / "mosaic_000.png").symlink_to(outside)
            return "leads out of the folder; nothing outside is read"
    raise ValueError(what)


def _claims_to_be(side: int) -> bytes:
    """The beginning of a PNG of so many pixels a side."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


SPOILT = (
    "no meta",
    "other sizes",
    "no sizes",
    "numbers that are none",
    "a path for an id",
    "outside",
    "frames",
    "a picture",
    "the first picture missing",
    "a picture missing",
    "a picture cut short",
    "no picture",
    "less than none kept",
    "blocks that there are none of",
    "another fit",
    "a large picture",
    "a link",
    "a picture elsewhere",
)


@pytest.mark.slow
@pytest.mark.parametrize("what", SPOILT)
def test_a_folder_that_is_spoilt_or_leads_elsewhere_fails_alone(tmp_path: Path, what: str) -> None:
    exported(tmp_path, "assets")
    says = spoil(tmp_path / "out" / "assets" / "clip-1", what, tmp_path / "outside")
    imported = import_cache(tmp_path / "out", tmp_path / "back", store="patches", workers=0)
    assert imported.clips == 2
    ((clip_id, reason),) = imported.failures.items()
    assert clip_id == "clip-1"
    assert any(part in reason for part in says.split("|")), reason


def test_what_makes_no_sense_is_refused_and_nothing_is_made(sieved: SparseCache, videos: Path, tmp_path: Path) -> None:
    exported(tmp_path, "assets")
    write_published(tmp_path / "published", sieved, "/data/set")
    (tmp_path / "indices.txt").touch()
    np.save(tmp_path / "two.npy", np.zeros((2, 5), np.int32))
    twice = tmp_path / "twice" / "assets"
    shutil.copytree(tmp_path / "out" / "assets" / "clip-0", twice / "a")
    shutil.copytree(tmp_path / "out" / "assets" / "clip-0", twice / "b")
    for source, given, options, error, says in (
        ("nowhere", [], {}, ConfigError, "is not there"),
        ("out", videos, {}, ConfigError, "has folders that say what they are of"),
        ("twice", [], {}, ConfigError, "b and a are both of clip clip-0; import one"),
        ("published", [], {}, ConfigError, "has no folders of clips; say of which --videos its indices are"),
        ("published", videos, {}, ConfigError, "has no indices of these videos: .*v0.mp4: no visible_indices_"),
        ("published", videos, {"input_size": 100}, ConfigError, "must be a multiple of patch_size"),
        ("indices.txt", videos, {}, ConfigError, r"must be a folder, or one of \.pkl, \.pickle, \.npy, \.npz"),
        ("two.npy", videos, {}, CacheError, r"\(\[2, 5\]\) must be a row of indices for each of the 3 videos"),
    ):
        with pytest.raises(error, match=says):
            import_cache(tmp_path / source, tmp_path / "cache", given, **{**OPTIONS, **options})
        assert not (tmp_path / "cache").exists()


# --- the command


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)], prog_name="codecsieve")


def test_the_command_says_what_there_is_and_what_is_not(sieved: SparseCache, videos: Path, tmp_path: Path) -> None:
    write_published(tmp_path / "published", sieved, "/data/set")
    arguments = [tmp_path / "published", tmp_path / "cache", "--videos", videos, "--videos-were", "/data/set"]
    options = ["--cache-key", KEY, "--num-frames", T, "--workers", 0]
    result = run(*arguments, *options)
    assert result.exit_code == 0, result.stderr
    assert "3 of 3 clips" in result.stderr
    assert "3, 3 of them new" in result.stdout
    sorted((tmp_path / "published").iterdir())[0].unlink()
    result = run(tmp_path / "published", tmp_path / "other", *arguments[2:], *options, "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no visible_indices_" in result.stderr
    assert run(tmp_path / "published", tmp_path / "third", *options).exit_code == 2
