"""What inputs stand for: which clips a folder or a manifest gives, their ids, and what is refused."""

from __future__ import annotations

import datetime
import json
import math
import os
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.errors import ConfigError, ManifestError
from codecsieve.pipelines.inputs.clips import distinct, read_inputs
from codecsieve.pipelines.inputs.columns import further_columns
from codecsieve.pipelines.inputs.fingerprint import fingerprint
from codecsieve.pipelines.inputs.manifest import read_rows
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.inputs.row import ColumnNames


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def listed(manifest: Path) -> list[tuple[str, str | None, float | None, float | None]]:
    """Path relative to the manifest's folder, label, start, end of every clip; its files are made."""
    for row in read_rows(str(manifest)):
        write(Path(row.path), Path(row.path).name)
    clips = read_inputs([manifest])
    return [(os.path.relpath(clip.path, manifest.parent), clip.label, clip.start, clip.end) for clip in clips]


# --- folders


def test_a_folder_gives_its_videos_sorted_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.mp4", "a/z.MKV", "a/notes.txt", ".hidden.mp4", ".cache/c.mp4", "list.csv"):
        write(tmp_path / name, name)
    assert [os.path.relpath(clip.path, tmp_path) for clip in read_inputs([tmp_path])] == ["b.mp4", "a/z.MKV"]


def test_a_folder_that_links_to_itself_gives_each_video_once(tmp_path: Path) -> None:
    write(tmp_path / "in/a/one.mp4", "one")
    (tmp_path / "in/a/loop").symlink_to(tmp_path / "in")
    write(tmp_path / "elsewhere/two.mp4", "two")
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    assert [Path(clip.path).name for clip in read_inputs([tmp_path / "in"])] == ["one.mp4", "two.mp4"]


def test_a_link_that_leads_nowhere_is_a_clip_that_will_fail(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (clip,) = read_inputs([tmp_path])
    assert clip.fingerprint == ""


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no video in this folder"):
        read_inputs([tmp_path])


# --- manifests


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "path,label\na.mp4,3\nsub/b c.mp4,cat\n"),
        ("list.csv", "a.mp4,3\nsub/b c.mp4,cat\n"),
        ("list.csv", "\ufeffLabel,PATH\r\n3,a.mp4\r\n\r\ncat,sub/b c.mp4\r\n"),
        ("list.csv", '"a.mp4",3\n"sub/b c.mp4", "cat"\n'),
        ("list.txt", "a.mp4 3\nsub/b c.mp4 cat\n"),
        ("list.csv", "path label\na.mp4 3\nsub/b c.mp4 cat"),
        ("list.tsv", "a.mp4\t3\nsub/b c.mp4\tcat\n"),
        ("list.csv", "path;label\na.mp4;3\nsub/b c.mp4;cat\n"),
        ("list.csv", '"label";"path";"in metres"\n"3";"a.mp4";"1,5"\n"cat";"sub/b c.mp4";""\n'),
        ("list.csv", "a.mp4;3\nsub/b c.mp4;cat\n"),
        ("list.csv", "path,label,,\na.mp4,3,,\nsub/b c.mp4,cat,,\n"),
        ("list.jsonl", '{"Path": "a.mp4", "LABEL": 3.0}\n{"Path": "sub/b c.mp4", "LABEL": "cat"}\n'),
    ],
)
def test_manifests_may_be_written_in_many_ways(tmp_path: Path, name: str, text: str) -> None:
    manifest = write(tmp_path / name, text)
    assert listed(manifest) == [("a.mp4", "3", None, None), ("sub/b c.mp4", "cat", None, None)]


def test_a_semicolon_may_be_in_a_name(tmp_path: Path) -> None:
    assert listed(write(tmp_path / "list.csv", "a;b.mp4\n")) == [("a;b.mp4", None, None, None)]
    assert listed(write(tmp_path / "list.csv", "path,label\na;b.mp4,x;y\n")) == [("a;b.mp4", "x;y", None, None)]
    assert listed(write(tmp_path / "list.csv", "a.mp4 c1;c2;c3\n")) == [("a.mp4", "c1;c2;c3", None, None)]


def test_times_may_be_blank_and_commas_quoted(tmp_path: Path) -> None:
    manifest = write(tmp_path / "list.csv", 'path,label,start,end,id\n"a, b.mp4",x,1.5,,one\nc.mp4,, ,7,two\n')
    assert listed(manifest) == [("a, b.mp4", "x", 1.5, None), ("c.mp4", None, None, 7.0)]
    assert [clip.id for clip in read_inputs([manifest])] == ["one", "two"]


def test_a_list_of_paths_alone_needs_no_label(tmp_path: Path) -> None:
    manifest = write(tmp_path / "list.txt", "a.mp4\nwith space.mkv\n")
    assert listed(manifest) == [("a.mp4", None, None, None), ("with space.mkv", None, None, None)]


def test_a_parquet_manifest_keeps_labels_as_text(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "a")
    columns = {
        "path": ["a.mp4", "/b.mp4"],
        "label": [3, None],
        "start": [None, 2.5],
        "__index_level_0__": [0, 1],
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    first, second = read_inputs([tmp_path / "list.parquet"])
    assert (first.path, first.label, first.start) == (str(tmp_path / "a.mp4"), "3", None)
    assert (second.path, second.label, second.start) == ("/b.mp4", None, 2.5)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_further_columns_are_kept_with_the_clip(tmp_path: Path, suffix: str) -> None:
    columns = {"video_id": ["v1", "v2"], "path": ["a.mp4", "b.mp4"], "label_id": [3, 4], "label": ["cat", "dog"]}
    manifest = tmp_path / f"list{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(columns), manifest)
    elif suffix == ".jsonl":
        write(manifest, "\n".join(json.dumps(row) for row in pa.table(columns).to_pylist()))
    else:
        between = "\t" if suffix == ".tsv" else ","
        lines = zip(*([name, *map(str, values)] for name, values in columns.items()), strict=True)
        write(manifest, "\n".join(between.join(line) for line in lines))
    assert listed(manifest) == [("a.mp4", "cat", None, None), ("b.mp4", "dog", None, None)]
    assert [clip.metadata for clip in read_inputs([manifest])] == [
        {"video_id": "v1", "label_id": 3},
        {"video_id": "v2", "label_id": 4},
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("path,label\n", "names its columns but no clip"),
        ("name,codec\na.mp4,h264\n", "line 1: no column 'path' among name, codec"),
        ("path,lable\na.mp4,1\n", "line 1: unknown column 'lable'; did you mean label"),
        ("path,label,split,split\na.mp4,1,x,y\n", "line 1: column 'split' comes twice"),
        ("path,path\na.mp4,1\n", "line 1: column 'path' comes twice"),
        ("path,Take,take\na.mp4,1,2\n", "line 1: columns 'Take' and 'take' differ by case only"),
        ("a.mp4,1\nb.mp4,1,2\n", "line 2: 3 columns, the first line has 2"),
        ("a.mp4,1,0,1,x,more\n", "line 1: 6 columns"),
        ("a.mp4,cat,train\n", r"line 1: start \('train'\) must be a number"),
        ("path,start,end\na.mp4,5,2\n", r"line 2: end \(2.0\) must be > start \(5.0\), both in seconds"),
        ("path,end\na.mp4,0\n", r"line 2: end \(0.0\) must be > start \(0.0\)"),
        ("path,start\na.mp4,-1\n", r"line 2: start \(-1.0\) must be >= 0"),
        ("path,start\na.mp4,1\n\nb.mp4,nan\n", r"line 4: start \('nan'\) must be a number"),
        ("path,id\na.mp4,x\nb.mp4,x\n", r"line 3: id x is also that of .*line 2"),
        ('path,label\n"a.mp4,1\n', "line 2: unexpected end of data"),
        ("path,label\n,1\n", r"line 2: path \(''\) must name a file"),
        (b"a.mp4,\xff\n", "is not UTF-8"),
        ("a.mp4,x\nhttps://host/b.mp4,y\n", "line 2: https://host/b.mp4: URLs are read of object stores only"),
        ('path,"two\nlines"\na.mp4,1\n', r"column 'two\\nlines' must have a printable name"),
        (f"path,{','.join(map(str, range(1000)))}\n", "line 1: 1001 columns, of which at most 1000 are kept"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_told_with_its_line(tmp_path: Path, text: str | bytes, error: str) -> None:
    manifest = write(tmp_path / "list.csv", text)
    write(tmp_path / "a.mp4", "a")
    with pytest.raises(ManifestError, match=error) as caught:
        read_inputs([manifest])
    assert str(manifest) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_that_is_none_or_lacks_the_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"text\.parquet: cannot be read as Parquet"):
        read_inputs([write(tmp_path / "text.parquet", "path,label")])
    pq.write_table(pa.table({"file": ["a.mp4"]}), tmp_path / "other.parquet")
    with pytest.raises(ManifestError, match=r"other\.parquet: no column 'path' among file"):
        read_inputs([tmp_path / "other.parquet"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "is empty"),
        ("{", r"line 1: is not JSON \("),
        ("[" * 100_000, r"line 1: is not JSON \("),
        ('"a.mp4"', "line 1: 'a.mp4' must be an object"),
        ('{"path": "a.mp4"}\n{"label": "x"}', "line 2: no 'path' among label"),
        ('{"path": "a.mp4", "label": ["x"]}', r"label \(\['x'\]\) must be text or a number"),
        (f'{{"path": "a.mp4", "note": "{"x" * 200_000}"}}', "line 1: note has 200000 characters, at most 131072"),
        ('{"path": 3}', r"path \(3\) must name a file"),
    ],
)
def test_json_lines_that_break_a_rule_are_told(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(ManifestError, match=rf"\A[^\n]*{error}[^\n]*\Z"):
        read_inputs([write(tmp_path / "list.jsonl", text)])


def test_rows_that_spell_a_column_in_another_case_mean_one(tmp_path: Path) -> None:
    text = '{"path": "a.mp4", "Take": 1}\n{"path": "b.mp4", "take": 2}\n{"path": "c.mp4"}\n'
    for name in "abc":
        write(tmp_path / f"{name}.mp4", name.encode())
    columns = further_columns(read_inputs([write(tmp_path / "list.jsonl", text)]))
    assert {name: values.to_pylist() for name, values in columns.items()} == {"Take": [1, 2, None]}


def test_text_in_further_columns_is_a_number_where_all_of_it_is(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "a")
    text = "path,n,x,code,yes,mixed\na.mp4,1,1.5,007,True,1\na.mp4,-2,3e5,1,false,b\na.mp4,,,,,\n"
    manifest = write(tmp_path / "list.csv", text)
    assert [clip.metadata for clip in read_inputs([manifest])] == [
        {"n": 1, "x": 1.5, "code": "007", "yes": True, "mixed": "1"},
        {"n": -2, "x": 3e5, "code": "1", "yes": False, "mixed": "b"},
        {},
    ]


def test_text_among_numbers_may_say_that_one_is_missing_or_endless(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "a")
    manifest = write(tmp_path / "list.csv", "path,x,name\na.mp4,1.5,nan\na.mp4,NaN,inf\na.mp4,-inf,nan\n")
    assert [clip.metadata for clip in read_inputs([manifest])] == [
        {"x": 1.5, "name": "nan"}, {"name": "inf"}, {"x": -math.inf, "name": "nan"}
    ]  # fmt: skip


def test_typed_columns_keep_what_they_say(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "a")
    columns = {
        "path": ["a.mp4", "a.mp4"],
        "label": [1.0, None],  # whole numbers, as pandas has them where one is missing
        "price": [Decimal("1.50"), None],
        "most": [math.inf, 1e30],
        "day": [datetime.date(2024, 1, 2), None],
        "tags": [["a", "b"], []],
        "box": [{"x": 1, "day": datetime.date(2024, 1, 2)}, None],
    }
    pq.write_table(pa.table(columns), tmp_path / "list.parquet")
    first, second = read_inputs([tmp_path / "list.parquet"])
    assert (first.label, second.label) == ("1", None)
    assert first.metadata == {
        "price": 1.5,
        "most": math.inf,
        "day": "2024-01-02",
        "tags": '["a", "b"]',
        "box": '{"x": 1, "day": "2024-01-02"}',
    }
    assert second.metadata == {"most": 1e30, "tags": "[]"}


@pytest.mark.parametrize("column", [pa.array([b"jpeg"]), pa.array([{"bytes": b"jpeg"}])])
def test_columns_of_bytes_are_refused(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"path": ["a.mp4"], "thumb": column}), tmp_path / "list.parquet")
    with pytest.raises(ManifestError, match=r"row 1: thumb \(.*\) must (be text or|not have bytes)"):
        read_inputs([tmp_path / "list.parquet"])


def test_a_column_that_differs_from_ours_by_case_is_ours_unless_ours_is_there(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "a")
    (clip,) = read_inputs(
        [write(tmp_path / "list.jsonl", '{"path": "a.mp4", "Start": 0.5, "Label": "x", "label": "y"}')]
    )
    assert (clip.start, clip.label, clip.metadata) == (0.5, "y", {"Label": "x"})
    (clip,) = read_inputs([write(tmp_path / "list.csv", "path,Label\na.mp4,x\n")], {"label": "Label"})
    assert clip.label == "x"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_columns_may_have_other_names(tmp_path: Path, suffix: str) -> None:
    rows = {"filename": ["a.mp4", "b.mp4"], "action": ["run", None], "Label": ["x", "y"]}
    manifest = tmp_path / f"list{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(rows), manifest)
    elif suffix == ".csv":
        write(manifest, "filename,action,Label\na.mp4,run,x\nb.mp4,,y\n")
    else:
        write(manifest, '{"filename": "a.mp4", "action": "run"}\n{"filename": "b.mp4"}\n')
    write(tmp_path / "a.mp4", "a")
    clips = read_inputs([manifest], {"path": "filename", "label": "action"})
    assert [(Path(clip.path).name, clip.label) for clip in clips] == [("a.mp4", "run"), ("b.mp4", None)]


def test_a_column_that_is_not_there_says_what_was_meant(tmp_path: Path) -> None:
    manifest = write(tmp_path / "list.csv", "filename,action\na.mp4,run\n")
    with pytest.raises(ManifestError, match=r"line 1: no column 'filenam'; did you mean filename\?"):
        read_inputs([manifest], {"path": "filenam"})
    with pytest.raises(ManifestError, match=r"no column 'path' among .*, or say --columns path=NAME"):
        read_inputs([manifest])
    with pytest.raises(ConfigError, match=r"columns \('file'\) must be among path, label"):
        read_inputs([manifest], {"file": "filename"})


@pytest.mark.parametrize("text", ["path", "path=", "=a", "path=a,label"])
def test_names_of_columns_that_are_no_pairs_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be pairs of our name and the manifest's"):
        ColumnNames.parse(text)


# --- what cannot be meant


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("list.csv", "no such file or folder; did you mean .*lists.csv?"),
        ("gone.mp4", "no such file or folder; check the path"),
        ("nowhere/a.mp4", "nor is the folder .*nowhere.* there"),
        ("*.m?v", "1 files match this pattern, which the shell did not expand: leave out the quotes"),
        ("*.avi", "nothing matches this pattern"),
        ("https://host/a.mp4", "URLs are read of object stores only"),
        ("files", "is a text, not a video; a manifest must be CSV, TSV, JSONL or Parquet, with the suffix of its kind"),
        ("/dev/null", "is a device; copy what it gives into a file"),
        ("s3://bucket/list.csv", "manifests are not read by URL"),
        ("s3://key:word@bucket/a.mp4", "a URL must not hold a user or password"),
        ("labels.json", "is JSON: a manifest must be CSV, TSV, JSONL or Parquet"),
        ("labels.xlsx", "is a spreadsheet"),
        ("videos.zip", "is an archive; unpack it"),
    ],
)
def test_an_input_that_cannot_be_meant_says_what_was(tmp_path: Path, given: str, error: str) -> None:
    for name in ("lists.csv", "a.mkv", "labels.json", "labels.xlsx", "videos.zip"):
        write(tmp_path / name, name)
    write(tmp_path / "files", "a.mkv\r\nä.mkv\r\n")
    with pytest.raises(ManifestError, match=rf"\A[^\n]*{error}[^\n]*\Z"):
        read_inputs([given if "://" in given else tmp_path / given])


def test_a_path_that_the_shell_did_not_expand_says_so() -> None:
    with pytest.raises(ManifestError, match="~/videos: no such file or folder; the shell did not expand the ~"):
        read_inputs(["~/videos"])


def test_an_option_that_is_of_use_for_no_input_is_refused(tmp_path: Path) -> None:
    video, manifest = write(tmp_path / "run/a.mp4", "a"), write(tmp_path / "list.csv", "file\nrun/a.mp4\n")
    with pytest.raises(ManifestError, match="columns are a manifest's, and none of the inputs is one"):
        read_inputs([video.parent], {"path": "file"})
    with pytest.raises(ManifestError, match="name the folder above them, not each video"):
        read_inputs([video], labels_from_folders=True)
    assert len(read_inputs([manifest, tmp_path], {"path": "file"}, labels_from_folders=True)) == 2


def test_a_manifest_none_of_whose_files_is_there_is_a_mistake_and_one_of_them_a_failure(tmp_path: Path) -> None:
    manifest = write(tmp_path / "list.csv", "videos/a.mp4,x\nvideos/b.mp4,y\n")
    with pytest.raises(ManifestError, match=r"none of its 2 files is there, the first would be .*/videos/a.mp4; rel"):
        read_inputs([manifest])
    write(tmp_path / "videos/b.mp4", "b")
    gone, _ = read_inputs([manifest])
    assert gone.id.startswith("path-")


def test_folders_of_classes_give_labels(tmp_path: Path) -> None:
    for name in ("run/a.mp4", "walk/far/b.mp4", "c.mp4"):
        write(tmp_path / name, name)
    clips = read_inputs([tmp_path], labels_from_folders=True)
    assert {Path(clip.path).name: clip.label for clip in clips} == {"a.mp4": "run", "b.mp4": "far", "c.mp4": None}


# --- ids


def test_a_moved_file_keeps_its_id_and_a_range_has_its_own(tmp_path: Path) -> None:
    write(tmp_path / "one/a.mp4", "content")
    write(tmp_path / "two/renamed.mkv", "content")
    manifest = write(tmp_path / "list.csv", "one/a.mp4,,1,2.5\none/a.mp4,,3,\none/a.mp4,,,\ntwo/renamed.mkv,,0,\n")
    requests = read_inputs([manifest])
    ranged, open_ended, whole, moved = (clip.id for clip in requests)
    assert len(distinct(requests)) == 3
    assert whole == moved == fingerprint(tmp_path / "one/a.mp4")[:16]
    assert (ranged, open_ended) == (f"{whole}@1-2.5", f"{whole}@3-")


def test_the_same_content_with_one_label_is_one_clip(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name, "content")
    requests = read_inputs([tmp_path, tmp_path / "a.mp4"])
    assert len(requests) == 3
    assert [Path(clip.path).name for clip in distinct(requests)] == ["a.mp4"]


def test_the_same_content_with_two_labels_is_two_clips_whatever_their_order(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "content")
    one = read_inputs([write(tmp_path / "one.csv", "a.mp4,cat\na.mp4,dog\na.mp4,dog\n")])
    other = read_inputs([write(tmp_path / "two.csv", "a.mp4,dog\na.mp4,cat\n")])
    assert {clip.label: clip.id for clip in distinct(one)} == {clip.label: clip.id for clip in other}
    assert len({clip.id for clip in one}) == 2


def test_a_manifest_with_ids_given_twice_is_a_manifest_with_repeats(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "a")
    manifest = write(tmp_path / "list.csv", "path,label,start,end,id\na.mp4,cat,0,1,x\na.mp4,cat,1,2,y\n")
    requests = read_inputs([manifest, manifest])
    assert [clip.id for clip in requests] == ["x", "y", "x", "y"]
    assert [clip.id for clip in distinct(requests)] == ["x", "y"]
    other = write(tmp_path / "other.csv", "path,label,start,end,id\na.mp4,cat,0,1.5,x\n")
    with pytest.raises(ManifestError, match=r"other.csv line 2: id x is also that of .*list.csv line 2; give each"):
        read_inputs([manifest, other])


def test_one_id_for_two_clips_is_refused_and_both_are_named() -> None:
    one, two = ClipRequest("/a.mp4", "x", label="cat"), ClipRequest("/b.mp4", "x", label="dog")
    with pytest.raises(ManifestError, match=r"x stands for /a\.mp4 with label 'cat' and for /b\.mp4 with 'dog'"):
        distinct([one, two])


@given(st.binary(min_size=1, max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_any_changed_byte_of_a_small_file_changes_its_fingerprint(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, place: int, change: int
) -> None:
    folder = tmp_path_factory.mktemp("content")
    changed = bytearray(content)
    changed[place % len(content)] ^= change
    assert fingerprint(write(folder / "a", content)) != fingerprint(write(folder / "b", bytes(changed)))


def test_of_a_large_file_size_ends_and_middle_count(tmp_path: Path) -> None:
    content = bytes(3 << 20)
    prints = {
        fingerprint(write(tmp_path / "a", content)),
        fingerprint(write(tmp_path / "a", content + b"\0")),
    }
    for place in (0, len(content) - 1, len(content) // 5):
        prints.add(fingerprint(write(tmp_path / "a", content[:place] + b"x" + content[place + 1 :])))
    assert len(prints) == 5


def test_what_has_no_content_has_no_fingerprint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "gone", write(tmp_path / "empty", "")):
        assert fingerprint(path) == ""
