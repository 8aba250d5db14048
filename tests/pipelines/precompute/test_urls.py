"""Videos and caches by URL, against moto's S3 server: read by ranges, the clips of a folder, no secret kept."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from buckets import bucket

from benchmarks.faults.s3_line import KEYS, Line
from codecsieve import objects
from codecsieve.cache import open_cache, verify_cache
from codecsieve.codec.video_file import BLOCK, _object, open_bytes
from codecsieve.errors import CodecsieveError, ManifestError
from codecsieve.objects import Objects
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import read_inputs
from codecsieve.pipelines.inputs.row import ColumnNames
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.serve.job_process import _check_inputs
from codecsieve.pipelines.serve.roots import Roots

pytest.importorskip("obstore", reason="object stores need obstore")
pytest.importorskip("moto", reason="the S3 server is moto's")

CONFIG = SieveConfig(num_frames=4, k_keep=8, input_size=56)


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    with bucket("videos") as line:
        yield line


@pytest.fixture(scope="module")
def folder(line: Line, tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """Some videos, which are in the bucket `videos`, too."""
    folder = tmp_path_factory.mktemp("videos")
    for name, options in (("walk/a.mp4", {}), ("walk/b.mkv", {}), ("run/c ü.mp4", {"movflags": "faststart"})):
        (folder / name).parent.mkdir(exist_ok=True)
        make_video(folder / name, moving="pan", seed=len(name), options=options)
        (folder / name).read_bytes()
    (folder / "run" / "broken.mp4").write_bytes(b"no video")
    for path in folder.rglob("*.m*"):
        Objects("s3://videos").overwrite(str(path.relative_to(folder)), [path.read_bytes()])
    return folder


def test_a_file_by_ranges_is_the_file(line: Line) -> None:
    data = random.Random(1).randbytes(5 * BLOCK + 12345)
    Objects("s3://videos/other").overwrite("data.bin", [data])
    file, chance = open_bytes("s3://videos/other/data.bin"), random.Random(2)
    for _ in range(60):
        at, length = chance.randrange(len(data) + 10), chance.choice([1, 1000, BLOCK, 2 * BLOCK])
        assert file.seek(at) == at
        assert file.read(length) == data[at : at + length]
    assert file.seek(0, 2) == len(data)


@pytest.mark.slow
def test_a_long_video_is_not_fetched_whole(line: Line, tmp_path: Path, make_video: Callable[..., Path]) -> None:
    noise = {"g": "6", "crf": "1", "preset": "ultrafast"}
    path = make_video(tmp_path / "long.mp4", frames=300, size=(320, 240), moving="noise", options=noise)
    size = path.stat().st_size
    assert size > 40 * BLOCK
    url = "s3://videos/other/long.mp4"
    Objects("s3://videos/other").overwrite("long.mp4", [path.read_bytes()])
    requests = read_inputs([url])
    (same,) = read_inputs([path])
    assert [(one.id, one.fingerprint) for one in requests] == [(same.id, same.fingerprint)]
    _object.cache_clear()
    from codecsieve.pipelines.sieve.clip import sieve_clip

    far, near = (sieve_clip(place, CONFIG, 2.0, 3.0) for place in (url, str(path)))
    assert (far.scores == near.scores).all()
    assert (far.positions == near.positions).all()
    assert (far.patches == near.patches).all()
    assert 0 < _object(url).fetched < size / 2


@pytest.mark.slow
def test_a_run_from_and_to_a_store_is_that_of_folders(line: Line, folder: Path, tmp_path: Path) -> None:
    far, near = "s3://videos/caches/run", tmp_path / "cache"
    for inputs, out in (("s3://videos/walk", far), (folder / "walk", near)):
        summary = precompute(read_inputs([inputs], labels_from_folders=True), out, CONFIG, workers=2)
        assert summary.made == 2
    for number in (1, 2):
        precompute(read_inputs(["s3://videos/run", "s3://videos/walk"]), far, CONFIG, workers=1, part=f"{number}/2")
    precompute(read_inputs([folder / "run", folder / "walk"]), near, CONFIG, workers=1)
    one, other = open_cache(far), open_cache(near)
    assert one.clip_ids == other.clip_ids
    assert len(one) == 3
    for clip in one:
        assert (clip.patches == other[clip.clip_id].patches).all()
        assert clip.uri.startswith("s3://videos/")
    (failed,) = [row for row in one.table.to_pylist() if row["status"] == "failed"]
    assert failed["uri"] == "s3://videos/run/broken.mp4"
    assert failed["error"].startswith("s3://videos/run/broken.mp4: not a readable video")
    assert verify_cache(far).complete
    # Whose video is gone is looked for in the store.
    Objects("s3://videos").remove(["walk/b.mkv"])
    summary = precompute(read_inputs(["s3://videos/run"]), far, CONFIG, workers=0, prune=("missing",))
    assert summary.pruned == 1
    Objects("s3://videos").overwrite("walk/b.mkv", [(folder / "walk/b.mkv").read_bytes()])


def test_a_video_that_is_not_there_fails_alone(line: Line, tmp_path: Path, folder: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text("path,label\ns3://videos/walk/a.mp4,walk\ns3://videos/none.mp4,none\n")
    summary = precompute(read_inputs([manifest]), tmp_path / "cache", CONFIG, workers=0)
    assert summary.made == 1
    assert [failure.error for failure in summary.failures] == ["s3://videos/none.mp4: no such file; check the path"]


def test_a_url_s_name_is_taken_as_it_is(line: Line, tmp_path: Path, folder: Path) -> None:
    names = ["100% \u00e9/a b.mp4", "odd/what? #1 %20.mp4", "odd/#2&x=1+.mp4"]
    videos = Objects("s3://videos/named as one likes")
    for name in names:
        videos.overwrite(name, [(folder / "walk/a.mp4").read_bytes()])
    (local,) = read_inputs([folder / "walk/a.mp4"])
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("\n".join(json.dumps({"path": f"{videos.url}/{name}", "id": name}) for name in names))
    listed = read_inputs([videos.url])
    assert {request.path for request in listed} == {f"{videos.url}/{name}" for name in names}
    requests = read_inputs([manifest])
    assert {request.fingerprint for request in requests} == {local.fingerprint}
    summary = precompute(requests, tmp_path / "cache", CONFIG, workers=0)
    assert (summary.made, list(summary.failures)) == (3, [])
    assert set(open_cache(tmp_path / "cache").uris) == {f"{videos.url}/{name}" for name in names}


def test_a_store_out_of_reach_ends_the_run_before_clips_get_other_ids(
    line: Line, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_RETRIES", {**objects._RETRIES, "max_retries": 0})
    monkeypatch.setattr(objects, "_PAUSE", 0.0)
    objects.objects_beside.cache_clear()
    line.fault = lambda method, path: "500"
    try:
        with pytest.raises(ManifestError, match=r"^s3://videos/walk/a.mp4: the store answered 500 .*; check the URL"):
            read_inputs(["s3://videos/walk/a.mp4"])
    finally:
        line.fault = lambda method, path: ""
        objects.objects_beside.cache_clear()


def test_what_is_wrong_with_a_url_is_one_line(line: Line, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ManifestError, match=r"^s3://videos/nothing: no video below this URL"):
        read_inputs(["s3://videos/nothing"])
    with pytest.raises(ManifestError, match=r"^s3://no-such/videos: there is no such bucket; check the URL"):
        read_inputs(["s3://no-such/videos"])
    manifest = tmp_path / "list.csv"
    manifest.write_text("path\ns3://key:word@videos/a.mp4\n")
    with pytest.raises(
        ManifestError, match=r"list.csv line 2: s3://videos/a.mp4: a URL must not hold a user"
    ) as caught:
        read_inputs([manifest])
    assert "word@" not in str(caught.value)


def test_the_service_takes_no_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = tmp_path / "list.csv"
    manifest.write_text("path\ns3://videos/a.mp4\n")
    for given in (str(manifest), "s3://videos/a.mp4"):
        with pytest.raises(CodecsieveError, match="leave it out"):
            _check_inputs([given], ColumnNames(), Roots({"here": tmp_path}))


@pytest.mark.slow
def test_the_command_line_keeps_no_secret(line: Line, folder: Path, tmp_path: Path) -> None:
    out = "s3://videos/caches/command"
    command = [sys.executable, "-m", "codecsieve"]
    told = ""
    for arguments in (
        ["precompute", "s3://videos/run", "--out", out, "--num-frames", "4", "--k-keep", "64"],
        ["info", out], ["list", out], ["verify", out], ["compact", out],
        ["drop", out, "--failed"], ["export", out, str(tmp_path / "npz"), "--to", "npz"],
    ):  # fmt: skip
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
        told += done.stdout + done.stderr
    with urllib.request.urlopen(f"http://{line.behind}/videos?list-type=2&prefix=caches/command") as answer:
        assert b"pack-0000.parquet" in answer.read()
    objects = Objects(out)
    kept = b"".join(bytes(objects.read(name)[0]) for name, _ in objects.walk())
    for secret in (KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]):
        assert secret.encode() not in kept
        assert secret not in told
