"""Roots: what a name leads to, and that what is outside is as what is not there; and forms of answers."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codecsieve.errors import ConfigError
from codecsieve.pipelines.serve.encodings import ARROW, NPZ, SAFETENSORS, choose
from codecsieve.pipelines.serve.refusal import RefusedError
from codecsieve.pipelines.serve.roots import Roots
from codecsieve.pipelines.serve.service import Settings


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two roots, with links in them to each other and to what lies outside."""
    for name in ("videos/sub", "caches/one", "outside"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("videos/a.mp4", "videos/sub/b.mp4", "outside/c.mp4", "caches/one/zarr.json", "outside/zarr.json"):
        (tmp_path / name).write_text("x")
    links = {"out.mp4": "outside/c.mp4", "out": "outside", "in.mp4": "videos/a.mp4", "loop": "videos/loop",
             "gone": "outside/gone", "over": "caches/one/zarr.json", "up": ""}  # fmt: skip
    for name, target in links.items():
        (tmp_path / "videos" / name).symlink_to(tmp_path / target)
    (tmp_path / "caches" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "caches" / "two").symlink_to("one")
    return tmp_path


@pytest.fixture
def roots(place: Path) -> Roots:
    return Roots({"videos": place / "videos", "caches": place / "caches"})


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [("videos/a.mp4", "videos/a.mp4"), ("videos/sub/b.mp4", "videos/sub/b.mp4"), ("videos", "videos"),
     ("videos/", "videos"), ("videos//a.mp4", "videos/a.mp4"), ("videos/sub/../a.mp4", "videos/a.mp4"),
     ("videos/./a.mp4", "videos/a.mp4"), ("videos/in.mp4", "videos/a.mp4"), ("videos/over", "caches/one/zarr.json"),
     ("videos/out/../videos/a.mp4", "videos/a.mp4")],
)  # fmt: skip
def test_a_name_leads_to_a_file_below_a_root(roots: Roots, place: Path, path: str, leads_to: str) -> None:
    assert roots.find(path) == place / leads_to


OUTSIDE = [
    "videos/out.mp4", "videos/out", "videos/out/c.mp4", "videos/gone", "videos/up", "videos/up/outside/c.mp4",
    "videos/../outside/c.mp4", "videos/..", "videos/sub/../../outside/c.mp4", "videos/out/../outside/c.mp4",
    "../outside/c.mp4", "outside/c.mp4", "/etc/passwd", "videos//etc/passwd", "videos/a.mp4/x", "Videos/a.mp4",
    "videos/%2e%2e/outside/c.mp4", "videos/..%2foutside", "videos%2fa.mp4", "videos\\a.mp4",
    "videos/..\\outside\\c.mp4", "videos/a.mp4\0", "videos\0/a.mp4",
    "videos/\ud800", "", "/", ".", "..", "~/a.mp4", "videos/" + "x" * 5000,
    "videos/" + "x/" * 5000, "videos/" + "../" * 50 + "etc/passwd", "file:videos/a.mp4", "caches/out/c.mp4",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_is_outside_is_told_as_what_is_not_there(roots: Roots, place: Path, path: str) -> None:
    messages = []
    for name in (path, "videos/none.mp4"):
        with pytest.raises(RefusedError) as refusal:
            roots.find(name)
        assert refusal.value.status == 404
        messages.append(str(refusal.value).rpartition("): nothing there")[2])
        assert "\n" not in str(refusal.value)
        assert str(place) not in str(refusal.value)
    assert messages[0] == messages[1]


@given(st.lists(st.sampled_from(["..", ".", "", "a.mp4", "sub", "out", "up", "outside", "etc", "%2e%2e", "\\", "\0"])))
def test_no_path_leads_out(parts: list[str]) -> None:
    roots = Roots({"here": os.path.dirname(__file__)})
    with contextlib.suppress(RefusedError):
        assert roots.holds(os.path.realpath(roots.find("/".join(["here", *parts]))))


def test_a_folder_that_begins_like_a_root_is_not_in_it(place: Path) -> None:
    (place / "videos-more").mkdir()
    (place / "videos-more" / "a.mp4").write_text("x")
    roots = Roots({"videos": place / "videos"})
    assert not roots.holds(place / "videos-more" / "a.mp4")
    with pytest.raises(RefusedError):
        roots.find("videos/../videos-more/a.mp4")


def test_a_root_that_is_a_link_is_what_it_leads_to(place: Path) -> None:
    (place / "link").symlink_to(place / "videos")
    roots = Roots({"link": place / "link"})
    assert roots.find("link/a.mp4") == place / "videos" / "a.mp4"
    with pytest.raises(RefusedError):
        roots.find("link/over")


# --- caches


@pytest.mark.parametrize(("name", "folder"), [("caches:one", "caches/one"), ("caches:new", "caches/new"),
                                              ("caches", "caches"), ("caches:_a.b-c", "caches/_a.b-c")])  # fmt: skip
def test_a_cache_is_a_folder_right_below_a_root(roots: Roots, place: Path, name: str, folder: str) -> None:
    assert roots.cache_folder(name) == place / folder


@pytest.mark.parametrize(
    "name",
    ["caches:", "caches:..", "caches:.", "caches:.hidden", "caches:a/b", "caches:/etc", "caches:a\0", "caches:a\n",
     "caches:out", "caches:two", "caches:one/../../outside", "caches:é", "caches:one:two", "..:one", "", ":", "other:x",
     "caches:" + "x" * 129, "caches:%2e%2e", "caches: one", "/caches:one", "caches:\ud800"],
)  # fmt: skip
def test_names_that_no_cache_can_have(roots: Roots, place: Path, name: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        roots.cache_folder(name)
    assert refusal.value.status == 404
    assert "\n" not in str(refusal.value)
    assert str(place) not in str(refusal.value)


def test_caches_that_are_links_are_not_listed_and_a_root_that_has_gone_has_none(roots: Roots, place: Path) -> None:
    assert roots.caches() == ["caches:one"]
    os.rename(place / "videos", place / "gone")
    assert roots.caches() == ["caches:one"]


# --- what a service is started with


@pytest.mark.parametrize("name", ["", "a b", "../x", "a:b", "a/b", "-a", "é", "a\n", "x" * 65])
def test_names_that_no_root_can_have(place: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="root name"):
        Roots({name: place})


@pytest.mark.parametrize("given_", [["a=/none"], ["a={}/videos/a.mp4"], ["a={}/videos", "a={}/caches"]])
def test_roots_that_cannot_be_are_refused_in_one_line(place: Path, given_: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"\Aroot [^\n]*\Z"):
        Roots.parse(text.format(place) for text in given_)


@pytest.mark.parametrize("data", ["videos", "videos/data", "videos/up/videos/data", "", "link"])
def test_the_services_own_folder_lies_in_no_root_nor_a_root_in_it(roots: Roots, place: Path, data: str) -> None:
    """Whoever may read a root could read what others have sent, else."""
    (place / "link").symlink_to(place / "videos" / "sub")
    with pytest.raises(ConfigError, match=r"\Adata \([^\n]*must lie apart from root (videos|caches)[^\n]*\Z"):
        Settings(roots, place / data)
    Settings(roots, place / "data")
    Settings(roots, place / "videos-data")


def test_messages_name_files_as_users_do(roots: Roots, place: Path) -> None:
    assert roots.shown(f"{place}/videos/a.mp4: is a link to {place}/caches/x") == "videos/a.mp4: is a link to caches/x"
    nested = Roots({"all": place, "videos": place / "videos"})
    assert nested.shown(f"{place}/videos/a.mp4, {place}/outside") == "videos/a.mp4, all/outside"


# --- forms of answers


@pytest.mark.parametrize(
    ("accept", "kind"),
    [(None, ARROW), ("", ARROW), ("*/*", ARROW), ("application/*", ARROW), (NPZ, NPZ), (NPZ.upper(), NPZ),
     ("application/octet-stream", NPZ), (f"{NPZ};q=0.5, {SAFETENSORS}", SAFETENSORS), (f"text/html, {NPZ};q=0.1", NPZ),
     (f"{ARROW};q=0, {NPZ}", NPZ), (f"{NPZ};q=x, {SAFETENSORS};q=0.1", SAFETENSORS),
     (f"{NPZ};q=nan, {SAFETENSORS};q=0.1", SAFETENSORS)],
)  # fmt: skip
def test_the_form_that_accept_asks_for(accept: str | None, kind: str) -> None:
    assert choose(accept) == kind
    assert choose("text/html", "npz") == NPZ


@pytest.mark.parametrize(
    "accept", ["text/html", "image/*", f"{ARROW};q=0", ";", ",", "x" * 60_000, "\x00", "a,b;q=", "*/*;q=-1"]
)
def test_forms_that_there_are_not(accept: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        choose(accept)
    assert refusal.value.status == 406
    assert len(str(refusal.value)) < 1000


@given(st.text(st.characters(max_codepoint=255)), st.none() | st.text())
def test_whatever_is_accepted_there_is_a_form_or_a_refusal(accept: str, name: str | None) -> None:
    with contextlib.suppress(RefusedError):
        assert choose(accept, name) in (ARROW, NPZ, SAFETENSORS)
