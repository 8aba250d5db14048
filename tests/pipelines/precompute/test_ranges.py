"""Inputs that are planned and made range by range: the cache of a run that has them all in mind."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codecsieve.cache import open_cache
from codecsieve.errors import ManifestError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.inputs.clips import RequestRanges, read_inputs, read_ranges
from codecsieve.pipelines.inputs.request import ClipRequest
from codecsieve.pipelines.precompute.run import precompute
from codecsieve.pipelines.precompute.summary import Progress

pytestmark = pytest.mark.slow

CacheContent = Callable[[Path], dict[str, object]]
SMALL = SieveConfig(num_frames=2, input_size=28, k_keep=2)


@pytest.fixture(scope="module")
def requests(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[ClipRequest]:
    """Clips of 150 ids, some of them listed again, and one whose video is not there."""
    clip = make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=30, size=(32, 32))
    listed = [ClipRequest(str(clip), f"clip-{row}", f"label {row % 3}", row / 200) for row in range(150)]
    listed[77] = replace(listed[77], path=str(clip.with_name("gone.mp4")))
    return [*listed, *random.Random(0).choices(listed, k=30)]


def in_ranges(requests: list[ClipRequest], size: int) -> RequestRanges:
    ranges: Iterator[list[ClipRequest]] = iter(
        [requests[first : first + size] for first in range(0, len(requests), size)]
    )
    return RequestRanges(ranges, len(requests))


@pytest.mark.parametrize("size", [7, 64, 100, 1000])
def test_ranges_come_to_the_same_as_one(
    requests: list[ClipRequest], tmp_path: Path, cache_content: CacheContent, size: int
) -> None:
    whole = precompute(requests, tmp_path / "whole", SMALL, workers=0)
    told: list[Progress] = []
    parts = precompute(in_ranges(requests, size), tmp_path / "parts", SMALL, workers=0, progress=told.append)
    assert cache_content(tmp_path / "parts") == cache_content(tmp_path / "whole")
    assert replace(parts, seconds=0) == replace(whole, seconds=0)
    assert (parts.made, parts.duplicates, len(parts.failures)) == (149, 30, 1)
    assert (told[-1].done, told[-1].failed) == (150, 1)
    assert told[-1].total <= told[0].total
    again = precompute(in_ranges(requests, size), tmp_path / "parts", SMALL, workers=0)
    assert (again.made, again.skipped, again.duplicates, len(again.failures)) == (0, 149, 30, 1)
    assert cache_content(tmp_path / "parts") == cache_content(tmp_path / "whole")


def test_a_run_cut_off_between_ranges_is_gone_on_with(
    requests: list[ClipRequest], tmp_path: Path, cache_content: CacheContent
) -> None:
    def broken() -> Iterator[list[ClipRequest]]:
        yield requests[:70]
        yield requests[70:80]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        precompute(RequestRanges(broken(), None), tmp_path / "cache", SMALL, workers=0)
    assert len(open_cache(tmp_path / "cache").index) == 80
    precompute(requests, tmp_path / "cache", SMALL, workers=0)
    precompute(requests, tmp_path / "whole", SMALL, workers=0)
    assert cache_content(tmp_path / "cache") == cache_content(tmp_path / "whole")


def test_parts_of_ranges_are_those_of_one(requests: list[ClipRequest], tmp_path: Path) -> None:
    for part in ("2/2", "1/2"):
        precompute(in_ranges(requests, 50), tmp_path / "cache", SMALL, workers=0, part=part)
    precompute(requests, tmp_path / "whole", SMALL, workers=0)
    cache, whole = open_cache(tmp_path / "cache"), open_cache(tmp_path / "whole")
    columns = ["id", "row", "crc32c", "status"]
    assert cache.index.select(columns).equals(whole.index.select(columns))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": "another"}, "with label 'another', start 0.015 and end None, and further up for a clip with others"),
        ({"start": 0.5}, "with label 'label 0', start 0.5 and end None, and further up for a clip with others"),
        ({"fingerprint": "00"}, "and further up for a clip with others; give each clip an id of its own"),
    ],
)
def test_one_id_for_two_clips_of_different_ranges_is_refused(
    requests: list[ClipRequest], tmp_path: Path, change: dict[str, object], said: str
) -> None:
    twice = [*requests[:10], replace(requests[3], **change)]  # type: ignore[arg-type]
    with pytest.raises(ManifestError, match=said):
        precompute(in_ranges(twice, 10), tmp_path / "cache", SMALL, workers=0)
    assert open_cache(tmp_path / "cache")["clip-3"].label == "label 0"


def test_clips_of_no_range_are_pruned_where_their_videos_are_gone(
    requests: list[ClipRequest], tmp_path: Path, make_video: Callable[..., Path]
) -> None:
    gone = make_video(tmp_path / "gone.mp4", frames=4, size=(32, 32))
    precompute([*requests[:20], ClipRequest(str(gone), "gone")], tmp_path / "cache", SMALL, workers=0)
    gone.unlink()
    summary = precompute(in_ranges(requests[:20], 5), tmp_path / "cache", SMALL, workers=0, prune=["missing"])
    assert summary.pruned == 1
    assert "gone" not in open_cache(tmp_path / "cache")


def test_a_folder_of_parquet_files_is_one_manifest(requests: list[ClipRequest], tmp_path: Path) -> None:
    (tmp_path / "list").mkdir()
    for number in (10, 2, 1):  # in the order of their names
        some = requests[number * 5 : number * 5 + 5]
        columns = {
            "path": [one.path for one in some],
            "id": [one.id for one in some],
            "start": [one.start for one in some],
        }
        pq.write_table(pa.table(columns), tmp_path / "list" / f"part-{number:02}.parquet")
    (tmp_path / "list" / "_SUCCESS").touch()
    ranges = read_ranges([tmp_path / "list"], size=4)
    assert ranges.rows == 15
    found = [request.id for some in ranges.ranges for request in some]
    assert found == [f"clip-{row}" for first in (5, 10, 50) for row in range(first, first + 5)]
    assert [request.id for request in read_inputs([tmp_path / "list"])] == found


@pytest.mark.parametrize("labels", [["cat", "dog", "cat"], ["cat", "fox", "cat", "dog"]])
def test_content_whose_labels_are_split_over_ranges_is_refused(
    tmp_path: Path, make_video: Callable[..., Path], labels: list[str]
) -> None:
    clip, other = (make_video(tmp_path / f"{n}.mp4", frames=4 + n, size=(32, 32)) for n in range(2))
    rows = "\n".join(f"{other if label == 'fox' else clip},{label}" for label in labels)
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}\n")
    with pytest.raises(ManifestError, match="is listed with several labels, far from each other"):
        precompute(read_ranges([tmp_path / "list.csv"], size=2), tmp_path / "cache", SMALL, workers=0)


def test_a_run_that_fails_fast_stops_at_its_own_failures_and_prunes_nothing_that_it_has_not_read(
    requests: list[ClipRequest], tmp_path: Path
) -> None:
    gone = replace(requests[77], id="gone")
    listed = [gone, *requests[:6]]
    precompute(listed, tmp_path / "cache", SMALL, workers=0)
    again = precompute(in_ranges(listed, 2), tmp_path / "cache", SMALL, workers=0, fail_fast=True)
    assert (again.skipped, len(again.failures), again.not_tried) == (6, 1, 0)
    failing = [replace(gone, id="also gone"), *requests[:6]]
    stopped = precompute(in_ranges(failing, 2), tmp_path / "cache", SMALL, workers=0, fail_fast=True, prune=["missing"])
    assert (stopped.pruned, stopped.not_tried) == (0, 5)
    assert len(open_cache(tmp_path / "cache")) == 6
