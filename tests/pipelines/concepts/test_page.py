"""The page: which clusters it shows, that it holds whatever labels say, and how a browser shows it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from cache_cases import CONFIG, LAYOUT, fill, make_clip, make_record, names
from PIL import Image

from codecsieve.cache import CacheWriter, Layout, SparseCache, open_cache
from codecsieve.cache.concepts import Concepts, write_concepts
from codecsieve.pipelines.concepts.page import facts_of, page_of, write_page
from codecsieve.pipelines.concepts.sheets import SHOWN, choose_clusters, look_at

HOSTILE = "<img src=x onerror=window.hacked=1>\"'&</script><script>window.hacked=1</script>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZES = (12, 0, 5, 1, 3)
CLIPS = sum(SIZES)


@pytest.fixture
def cache(tmp_path: Path) -> SparseCache:
    fill(tmp_path / "cache", names(CLIPS))
    return open_cache(tmp_path / "cache")


def bank(folder: Path, ids: list[str], **described: object) -> Concepts:
    """Clusters of these sizes; a clip's cosine falls with its number."""
    first = np.repeat(np.arange(len(SIZES)), SIZES)
    labels = np.stack([first, (first + 1) % len(SIZES)], axis=1)
    cosines = np.stack([1 - np.arange(CLIPS) / 100, np.zeros(CLIPS)], axis=1)
    centres = np.eye(len(SIZES), dtype=np.float32)
    return write_concepts(folder, centres, ids, labels, {"encoder": "small", **described}, cosines)


def test_clusters_of_all_sizes_are_shown_and_their_nearest_clips(cache: SparseCache, tmp_path: Path) -> None:
    concepts = bank(tmp_path / "bank", cache.clip_ids)
    assert choose_clusters(concepts, 9) == [0, 2, 4, 3]
    assert choose_clusters(concepts, 2) == [0, 3]
    assert choose_clusters(concepts, 0) == []
    (largest,) = look_at(concepts, cache, [0])
    assert largest.size == 12
    assert [member.id for member in largest.members] == cache.clip_ids[:SHOWN]
    assert largest.cosine == pytest.approx(1 - 5.5 / 100)
    assert largest.labels[0] == ("0", 2)  # clip-0 and clip-10


def test_the_page_is_one_file_and_a_picture_a_cluster(cache: SparseCache, tmp_path: Path) -> None:
    concepts = bank(tmp_path / "bank", cache.clip_ids, counts={"clips": CLIPS, "centres": 5, "empty": 1})
    told: list[int] = []
    page = write_page(concepts, cache, 3, lambda done, total: told.append(done))
    text = page.read_text()
    assert told == [0, 1, 2, 3]
    named = re.findall(r'src="([^"]+)"', text)
    assert sorted(named) == sorted(f"clusters/{path.name}" for path in (tmp_path / "bank/clusters").iterdir())
    with Image.open(page.parent / named[0]) as sheet:
        assert sheet.format == "PNG"
        assert sheet.height > SHOWN * 96
    assert "centres that are nearest to no clip</th><td>1 (20.0%)" in text
    assert "://" not in text
    assert "<script" not in text
    write_page(concepts, cache, 1)
    assert len(list((tmp_path / "bank/clusters").iterdir())) == 1


def test_clips_without_pixels_and_clips_that_have_gone_are_shown_as_far_as_may_be(tmp_path: Path) -> None:
    layout = Layout(LAYOUT.num_frames, LAYOUT.k_keep, LAYOUT.patch, "indices")
    fill(tmp_path / "cache", names(CLIPS), layout=layout)
    cache = open_cache(tmp_path / "cache")
    concepts = bank(tmp_path / "bank", [*cache.clip_ids[:-4], *"abcd"])
    (gone,) = look_at(concepts, cache, [4])
    assert (gone.size, gone.members) == (3, [])
    text = write_page(concepts, cache, 9).read_text()
    assert text.count("<article") == 4
    assert text.count("<img") == 2  # the others have no clip to be drawn


def hostile(tmp_path: Path) -> Path:
    """The page of clips whose labels and names would like to be markup."""
    with CacheWriter.open(tmp_path / "cache", LAYOUT, CONFIG) as writer:
        for work in writer.plan(names(CLIPS)):
            records = [replace(make_record(i), label=f"{i[-1]}{HOSTILE}", uri=f"/x/{HOSTILE}") for i in work.ids]
            writer.write_shard(work.shard, {i: make_clip(i) for i in work.ids}, records)
    cache = open_cache(tmp_path / "cache")
    concepts = bank(tmp_path / "bank", cache.clip_ids, encoder=HOSTILE, metric=HOSTILE)
    return write_page(concepts, cache, 5)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def test_what_labels_and_names_say_is_text(tmp_path: Path) -> None:
    text = hostile(tmp_path).read_text()
    tags = Tags()
    tags.feed(text)
    assert "onerror" in text
    assert not [tag for tag, _ in tags.found if tag == "script"]
    assert not [given for _, given in tags.found if any(name.startswith("on") for name in given)]
    assert {given["src"] for tag, given in tags.found if tag == "img"} == {
        f"clusters/cluster-{number:06}.png" for number in (0, 2, 3, 4)
    }


def test_what_no_screen_shows_is_written_out(cache: SparseCache, tmp_path: Path) -> None:
    text = page_of(bank(tmp_path / "bank", cache.clip_ids, encoder="\u202e\x1b[31m"), [])
    assert "\\u202e\\x1b[31m" in text
    assert "\x1b" not in text


def test_facts_are_told_with_shares() -> None:
    facts = dict(facts_of({"clips": 2000, "centres": 40, "duplicate_clips": 30, "mean_cosine": 0.5}))
    assert facts["clips"] == "2,000"
    assert facts["clips with the same feature as one before"] == "30 (1.5%)"
    assert facts["mean cosine with the nearest centre"] == "0.500"


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (380, "dark")])
def test_a_browser_shows_it_from_the_disk(width: int, scheme: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("needs Chromium, or Chrome, on PATH")
    page = hostile(tmp_path)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        complaints: list[str] = []
        tab.on("console", lambda said: complaints.append(said.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(page.as_uri())
        tab.evaluate("[...document.images].forEach(image => image.loading = 'eager')")
        tab.evaluate("Promise.all([...document.images].map(image => image.decode()))")
        assert tab.evaluate("document.images.length") == 4
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate("window.hacked === undefined")
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 30)"
        assert dark == (scheme == "dark")
        browser.close()
    assert complaints == []
