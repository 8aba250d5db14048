"""What docs/service.md says: its lines run, and its tables are what the service has."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Running, running

import codecsieve as cs
from codecsieve.options import declared, in_units
from codecsieve.pipelines.serve import measures
from codecsieve.pipelines.serve.keys import ROLES
from codecsieve.pipelines.serve.limits import Limits

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "service.md").read_text()
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LOUD = 'set -euo pipefail; curl() { command curl --fail-with-body --silent --show-error --noproxy "*" "$@"; }\n'
"""So that a line that is refused fails, and says why."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, make_video: Callable[..., Path]) -> Path:
    """A user's folder, with clip.mp4, and the service's roots."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "videos").mkdir()
    make_video(folder / "clip.mp4", frames=48)
    make_video(folder / "videos" / "clip.mp4", frames=48)
    make_video(folder / "videos" / "other.mp4", seed=1)
    return folder


@pytest.fixture(scope="module")
def service(desk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with a model."""
    from codecsieve.encoder import EncoderConfig, OneVisionEncoder

    model = tmp_path_factory.mktemp("model")
    config = EncoderConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1)
    OneVisionEncoder(config).save_pretrained(model)
    with running(desk, "--model", str(model)) as found:
        yield found


def here(code: str, service: Running) -> str:
    """Code of the document, of this service."""
    return code.replace("http://localhost:8000", service.url).replace("localhost:8000", service.url)


def test_every_line_runs(service: Running, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the document's order: Python reads what curl has written."""
    for code in SHELL.findall(TEXT):
        done = subprocess.run(["bash", "-c", LOUD + here(code, service)], cwd=desk, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    for name, start in (("kept.png", b"\x89PNG"), ("clip.png", b"\x89PNG"), ("frames.jpg", b"\xff\xd8")):
        assert (desk / name).read_bytes().startswith(start)
    monkeypatch.chdir(desk)
    names: dict[str, Any] = {}
    arrays = []
    for number, code in enumerate(PYTHON.findall(TEXT), 1):
        exec(compile(here(code, service), f"docs/service.md, snippet {number}", "exec"), names)
        arrays.append((names.get("patches"), names.get("arrays"), names["facts"]))
    assert arrays[0][0].shape == (512, 3, 14, 14)
    assert arrays[0][2]["frame_ids"]
    truth = cs.sieve("clip.mp4", num_frames=32, k_keep=512)
    assert (arrays[0][0] == truth.patches).all()
    for read in (arrays[1], arrays[2]):
        assert {"patches", "positions", "scores", "frame_ids"} <= set(read[1])
        assert read[2]["codec"] == "h264"
    assert names["clip"].patches.shape == (1024, 3, 14, 14)
    assert len(names["vectors"]) == 2
    assert (names["vectors"][0].shape, names["vector"].shape) == ((32,), (32,))
    assert (desk / "kept.gif").read_bytes().startswith(b"GIF8")


def test_the_python_of_the_streams_runs(
    service: Running, desk: Path, monkeypatch: pytest.MonkeyPatch, make_video: Callable[..., Path]
) -> None:
    make_video(desk / "clip.ts", frames=48)
    monkeypatch.chdir(desk)
    alone, served = PYTHON.findall((ROOT / "docs" / "streaming.md").read_text())
    names: dict[str, Any] = {}
    exec(compile(alone, "docs/streaming.md, the first snippet", "exec"), names)
    assert names["stream"].windows == 5
    exec(compile(here(served, service), "docs/streaming.md, the second", "exec"), names)
    last = list(cs.stream("clip.ts", window=16, stride=8, k_keep=1024))[-1]
    assert (names["stream"].frames, names["window"].number) == (48, 4)
    assert (names["patches"] == last.selection.patches).all()


def test_every_route_is_asked_for(service: Running) -> None:
    asked = " ".join(SHELL.findall(TEXT)).replace("\\\n", " ")
    lines = [line for line in asked.splitlines() if "curl" in line]
    with service.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        pattern = path.replace("/v1/jobs/{job_id}", r"\$JOB").replace("{study_id}", r"\$STUDY")
        pattern = re.sub(r"\{\w+\}", r"[\\w.:]+", pattern)
        of_path = [line for line in lines if re.search(rf"localhost:8000{pattern}(?=[?'\"\s)]|$)", line)]
        for method in methods:
            if method == "post":
                assert any(word in line for line in of_path for word in ("--json", "-F", "-X POST")), path
            elif method == "delete":
                assert any("-X DELETE" in line for line in of_path), path
            elif method == "get":
                assert any(not re.search("--json|-F|-X", line) for line in of_path), path


def limit_rows() -> list[str]:
    rows = []
    for one in declared(Limits):
        value = one.metadata["new"] if one.default is None else one.default
        shown = in_units(value) if one.metadata["size"] else value if isinstance(value, str) else f"{value:,g}"
        rows.append(f"| `--{one.name.replace('_', '-')}` | {shown} | {one.metadata['help']} |")
    return rows


def test_the_table_of_limits_is_theirs() -> None:
    table = TEXT.partition("## Limits")[2].partition("## ")[0]
    assert re.findall(r"^\| `--.*$", table, re.MULTILINE) == limit_rows()


def test_the_tables_of_roles_and_measures_are_whole() -> None:
    assert (
        tuple(re.findall(r"^\| `(\w+)` \| ", TEXT.partition("## Keys")[2].partition("## ")[0], re.MULTILINE)) == ROLES
    )
    told = set(re.findall(r"^\| `(codecsieve_\w+)`", TEXT, re.MULTILINE))
    kinds = {"counter": "_total"}
    families = measures.Measures().registry.collect()
    assert told == {family.name + kinds.get(family.type, "") for family in families}


def test_every_status_is_told() -> None:
    """Those that the sources name."""
    sources = "".join(path.read_text() for path in (ROOT / "pipelines" / "serve").glob("*.py"))
    named = set(re.findall(r"(?:RefusedError|Refused|_answer)\(\s*(\d{3})|status_code=(\d{3})", sources))
    table = TEXT.partition("## Statuses")[2].partition("## ")[0]
    told = set(re.findall(r"\d{3}", " ".join(re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE))))
    assert {status for pair in named for status in pair if status} <= told
