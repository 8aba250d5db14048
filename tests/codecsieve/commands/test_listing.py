"""`list` and `label`, and labels that a second `precompute` corrects: nothing is sieved again for them."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from codecsieve.cache import open_cache
from codecsieve.cli import main
from codecsieve.errors import ManifestError
from codecsieve.pipelines.precompute.label import label_clips

SMALL = ("--num-frames", "3", "--input-size", "28", "--k-keep", "6", "--workers", "0")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def videos(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number, name in enumerate(("run/a.mp4", "walk/a.mp4", "walk/b.mp4")):
        (folder / name).parent.mkdir(exist_ok=True)
        make_video(folder / name, seed=number)
    return folder


@pytest.fixture(scope="module")
def made(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "cache"
    assert run("precompute", videos, "--out", path, "--labels-from-folders", *SMALL).exit_code == 0
    return path


@pytest.fixture
def cache(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "cache"))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_list_has_a_line_a_clip_under_its_columns_names(cache: Path) -> None:
    head, *lines = run("list", cache).stdout.splitlines()
    assert head.split() == ["id", "file", "label", "status", "frames", "kept"]
    assert [line.split()[1:] for line in lines] == [
        ["a.mp4", "run", "ok", "24", "6"], ["a.mp4", "walk", "ok", "24", "6"], ["b.mp4", "walk", "ok", "24", "6"]
    ]  # fmt: skip
    assert [line.split()[0] for line in lines] == open_cache(cache).clip_ids


def test_a_list_as_json_has_all_that_is_known(cache: Path, videos: Path) -> None:
    (row,) = json.loads(run("list", cache, "--json", "--where", "uri like '%b.mp4'").stdout)
    assert row["uri"] == str(videos / "walk/b.mp4")
    assert row["codec"] == "h264"
    assert run("list", cache, "--where", "colour = 1").exit_code == 2


def test_a_list_as_json_is_json_whatever_was_said(cache: Path, tmp_path: Path) -> None:
    label_clips(cache, write(tmp_path / "t.csv", "path,loss\nb.mp4,inf\nrun/a.mp4,0.5\n"))
    assert run("list", cache, "--where", "loss > 1", "--csv").stdout.endswith(",inf\n")
    (row,) = json.loads(run("list", cache, "--where", "loss > 1", "--json").stdout, parse_constant=pytest.fail)
    assert row["loss"] is None
    assert run("list", cache, "--json", "--csv").exit_code == 2


def test_a_list_of_nothing_is_its_head(cache: Path) -> None:
    assert run("list", cache, "--where", "label = 'swim'").stdout.split() == [
        "id", "file", "label", "status", "frames", "kept"
    ]  # fmt: skip


def test_a_list_as_csv_comes_back_as_a_table(cache: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(run("list", cache, "--csv").stdout.splitlines()))
    for number, row in enumerate(rows):
        row |= {"label": row["label"].upper(), "take": str(number)}
    with (tmp_path / "back.csv").open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    shown = run("label", cache, tmp_path / "back.csv").stdout
    assert re.search(r"clips named +3\b", shown)
    assert re.search(r"with another label +3\b", shown)
    opened = open_cache(cache)
    assert opened.labels == ["RUN", "WALK", "WALK"]
    assert [clip.metadata for clip in opened] == [{"take": 0}, {"take": 1}, {"take": 2}]
    assert run("list", cache).stdout.splitlines()[0].split()[-1] == "take"


def test_a_list_as_csv_is_a_manifest_of_the_same_clips(cache: Path, tmp_path: Path) -> None:
    write(tmp_path / "back.csv", run("list", cache, "--csv").stdout)
    before = open_cache(cache).table
    assert run("precompute", tmp_path / "back.csv", "--out", cache, *SMALL).exit_code == 0
    assert open_cache(cache).table.equals(before)
    assert run("list", cache, "--csv").stdout == (tmp_path / "back.csv").read_text()


def test_info_says_that_it_has_checked(cache: Path) -> None:
    assert "every clip's bytes are right" in run("info", cache, "--verify").stdout
    assert "bytes are right" not in run("info", cache).stdout


def test_info_counts_what_meets_a_condition(cache: Path) -> None:
    facts = json.loads(run("info", cache, "--where", "label = 'walk'", "--json").stdout)
    assert (facts["clips"], facts["labels"], facts["frames"]) == (2, 1, 48)


def test_a_path_stands_for_the_file_that_ends_like_it(cache: Path, tmp_path: Path) -> None:
    write(tmp_path / "labels.csv", "path,label\nelsewhere/run/a.mp4,sprint\nb.mp4,stroll\nc.mp4,none\n")
    result = run("label", cache, tmp_path / "labels.csv")
    assert result.exit_code == 0
    assert open_cache(cache).labels == ["sprint", "walk", "stroll"]
    assert result.stderr == f"no clip: {tmp_path / 'labels.csv'} line 4\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("path,label\na.mp4,x\n", "line 2: .*a.mp4 may be .*run/a.mp4 or .*walk/a.mp4; give the whole path"),
        ("path,label\nc.mp4,x\n", "none of its 1 rows names a clip of cache .*; see `codecsieve list"),
        ("path,label\nb.mp4,x\nwalk/b.mp4,y\n", "line 3: clip .* is also named in .* line 2; name it once"),
        ("label\nx\n", "line 1: no column 'path' among label"),
    ],
)
def test_a_table_that_cannot_be_meant_changes_nothing(cache: Path, tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(ManifestError, match=error):
        label_clips(cache, write(tmp_path / "labels.csv", text))
    assert open_cache(cache).labels == ["run", "walk", "walk"]


def test_a_blank_label_stays_unless_it_is_to_be_taken_away(cache: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "labels.csv", "path,label\nb.mp4,\n")
    assert label_clips(cache, table).relabelled == 0
    assert label_clips(cache, table, blank_clears=True).relabelled == 1
    assert open_cache(cache).labels == ["run", "walk", None]


def test_of_paths_that_may_mean_one_file_the_longest_counts(cache: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "labels.csv", "path,label\nfly/b.mp4,fly\nfly/a.mp4,fly\nold/walk/b.mp4,stroll\n")
    found = label_clips(cache, table)  # of the whole data set, of which the cache has a part
    assert open_cache(cache).labels == ["run", "walk", "stroll"]
    assert (found.clips, found.guessed, [one[-1] for one in found.unknown]) == (1, 0, ["2", "3"])


def test_what_is_named_by_its_file_alone_is_counted(cache: Path, tmp_path: Path) -> None:
    shown = run("label", cache, write(tmp_path / "labels.csv", "path,label\nmoved/b.mp4,stroll\n")).stdout
    assert re.search(r"by the file's name alone +1\b", shown)
    shown = run("label", cache, write(tmp_path / "labels.csv", "path,label\nb.mp4,walk\n")).stdout
    assert "alone" not in shown


def test_a_table_without_labels_takes_none_away(cache: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "takes.csv", "path,take\nb.mp4,1\n")
    assert label_clips(cache, table, blank_clears=True).relabelled == 0
    assert open_cache(cache).labels == ["run", "walk", "walk"]


def test_a_blank_column_stays_unless_it_is_to_be_taken_away(cache: Path, tmp_path: Path) -> None:
    label_clips(cache, write(tmp_path / "takes.csv", "path,take,split\nb.mp4,1,val\nrun/a.mp4,2,train\n"))
    table = write(tmp_path / "less.csv", "path,take,split\nb.mp4,,\nrun/a.mp4,,test\n")
    label_clips(cache, table)
    assert open_cache(cache).table["take"].to_pylist() == [2, None, 1]
    assert open_cache(cache).table["split"].to_pylist() == ["test", None, "val"]
    label_clips(cache, table, blank_clears=True)
    assert open_cache(cache).table["take"].to_pylist() == [None, None, None]
    assert open_cache(cache).table["split"].to_pylist() == ["test", None, None]


def test_a_column_named_uri_says_nothing_of_where_the_video_is(cache: Path, videos: Path, tmp_path: Path) -> None:
    before = open_cache(cache).uris
    label_clips(cache, write(tmp_path / "t.csv", "path,uri\nb.mp4,https://host/b\n"))
    manifest = write(tmp_path / "list.csv", f"path,uri\n{videos}/run/a.mp4,7\n")
    assert run("precompute", manifest, "--out", cache, *SMALL).exit_code == 0
    opened = open_cache(cache)
    assert opened.uris == before
    assert opened.table["given_uri"].to_pylist() == ["7", None, "https://host/b"]


def test_a_table_whose_ids_are_others_says_how_it_may_go(cache: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "labels.csv", "id,path,label\n1,b.mp4,x\n")
    with pytest.raises(ManifestError, match="1 say; without its column id it names clips by path"):
        label_clips(cache, table)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("lables.csv", "no such file or folder; did you mean .*labels.csv?"),
        ("https://host/labels.csv", "URLs are read of object stores only"),
        ("labels.json", "is JSON: .* save one object a line as .jsonl"),
    ],
)
def test_a_table_that_is_not_there_says_what_was_meant(cache: Path, tmp_path: Path, given: str, error: str) -> None:
    for name in ("labels.csv", "labels.json"):
        write(tmp_path / name, "{}")
    with pytest.raises(ManifestError, match=error):
        label_clips(cache, given if "://" in given else tmp_path / given)


def test_columns_of_the_table_may_have_other_names(cache: Path, tmp_path: Path) -> None:
    table = write(tmp_path / "verbs.jsonl", '{"file": "b.mp4", "verb": "hop", "hands": 2}\n')
    assert run("label", cache, table, "--columns", "path=file,label=verb").exit_code == 0
    clip = open_cache(cache)["b.mp4"]
    assert (clip.label, clip.metadata) == ("hop", {"hands": 2})


def test_a_corrected_manifest_updates_labels_and_columns_and_makes_nothing_again(
    cache: Path, videos: Path, tmp_path: Path
) -> None:
    manifest = write(
        tmp_path / "list.csv", f"path,label,split\n{videos}/walk/a.mp4,hike,train\n{videos}/walk/b.mp4,,val\n"
    )
    shown = run("precompute", manifest, "--out", cache, *SMALL).stdout
    assert "2, 0 of them new" in shown
    assert re.search(r"with another label than before +1\b", shown)
    opened = open_cache(cache)
    assert opened.labels == ["run", "hike", "walk"]
    assert opened.where("split = 'train'") == [opened.clip_ids[1]]
    assert "another label" not in run("precompute", manifest, "--out", cache, *SMALL).stdout


def test_inputs_without_labels_take_none_away(cache: Path, videos: Path) -> None:
    assert run("precompute", videos, "--out", cache, *SMALL).exit_code == 0
    assert open_cache(cache).labels == ["run", "walk", "walk"]
    assert not (cache / "table.parquet").exists()


@pytest.mark.slow
def test_a_video_that_moved_is_found_where_it_is_and_one_that_was_copied_where_it_was(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    video = make_video(tmp_path / "old.mp4")
    cache, copy = tmp_path / "cache", shutil.copy(video, tmp_path / "copy.mp4")
    run("precompute", video, "--out", cache, *SMALL)
    assert "has moved" not in run("precompute", copy, "--out", cache, *SMALL).stdout
    video.rename(tmp_path / "new.mp4")
    shown = run("precompute", tmp_path / "new.mp4", "--out", cache, *SMALL).stdout
    assert re.search(r"whose video has moved +1\b", shown)
    assert open_cache(cache)["new.mp4"].uri == str(tmp_path / "new.mp4")
    assert run("inspect", cache, "new.mp4", "--out", tmp_path / "a.png").exit_code == 0


def test_nothing_is_made_for_an_input_that_is_not_there(tmp_path: Path) -> None:
    result = run("precompute", tmp_path / "gone.mp4", "--out", tmp_path / "cache", *SMALL)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "cache").exists()
