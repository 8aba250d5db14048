"""What the service is deployed with: the image's command, what a container may do, what is scraped and drawn."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from codecsieve.cli import main
from codecsieve.pipelines.serve.measures import Measures
from codecsieve.pipelines.serve.server import DRAIN_SECONDS

ROOT = Path(__file__).resolve().parents[1]
yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def dockerfile() -> str:
    return re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())


def listed(instruction: str) -> list[str]:
    """The words of the last such instruction."""
    words: list[str] = json.loads(re.findall(rf"^{instruction} (\[.*\])$", dockerfile(), re.MULTILINE)[-1])
    return words


def test_the_images_command_is_one_that_the_command_line_takes() -> None:
    assert listed("ENTRYPOINT") == ["codecsieve"]
    name, *arguments = listed("CMD")
    with main.commands[name].make_context(name, list(arguments)) as context:
        assert context.params["host"] == "0.0.0.0"
        assert context.params["data"] == "/data"
        assert context.params["roots"] == ("videos=/videos", "caches=/caches")


def test_the_image_is_nobodys_root_and_looks_after_its_health() -> None:
    text = dockerfile()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "1000:1000"
    assert "/healthz" in text[text.index("HEALTHCHECK") :]
    assert "VOLUME /data" in text


def of_extras(names: Iterable[str]) -> Iterator[str]:
    """The packages that the project needs with some extras, those of extras that these name among them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in [
        *project["dependencies"],
        *(line for name in names for line in project["optional-dependencies"][name]),
    ]:
        package, _, extras = re.split(r"[>=;]", line)[0].strip().partition("[")
        yield from of_extras(extras.rstrip("]").split(",")) if package == "codecsieve" else [package]


@pytest.mark.parametrize(
    ("variant", "extras"), [("cpu", ["transcode", "service"]), ("cuda", ["gpu", "transcode", "service", "encoder"])]
)
def test_an_images_packages_are_those_of_its_extras_each_with_its_hashes(variant: str, extras: list[str]) -> None:
    """At the versions that the tests run with."""
    text = (ROOT / "deploy" / f"image-{variant}.txt").read_text()
    locked = re.findall(r"^([\w.-]+)==(\S+)[^\\]*((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", text, re.MULTILINE)
    assert len(locked) == len(re.findall("==", re.sub(r";.*", "", text)))
    versions = {plain(name): version for name, version, _ in locked}
    assert {plain(name) for name in of_extras(extras)} <= set(versions)
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    tested = {plain(name): version for name, version in tested.items()}
    assert {name: version for name, version in versions.items() if tested.get(name, version) != version} == {}
    assert "--require-hashes -r image-${VARIANT}.txt" in dockerfile()


def plain(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(("status", "ends"), [(200, 0), (503, 1), (None, 1)])
def test_the_health_check_tells_an_answer_from_none(status: int | None, ends: int) -> None:
    """Its lines are run as they are, but for the port; proxies of the environment are not asked."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" and status else 404)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    *_, code = json.loads(re.findall(r"^HEALTHCHECK .*?CMD (\[.*\])$", dockerfile(), re.MULTILINE)[-1])
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9"}
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        if status is None:
            server.socket.close()
        else:
            threading.Thread(target=server.handle_request, daemon=True).start()
        code = code.replace("8000", str(server.server_port))
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=30)
    assert done.returncode == ends


def test_what_is_written_lies_in_the_volume_of_data() -> None:
    text = dockerfile()
    for name in ("HOME", "NUMBA_CACHE_DIR"):
        assert re.search(rf"\b{name}=/data\b", text), name
    # As whoever runs it, or a new volume's kernels could not be replaced; and before VOLUME, after which it is lost.
    steps = [text.index(step) for step in ("USER 1000:1000", "warm_up()", "VOLUME /data")]
    assert steps == sorted(steps)


def test_it_may_take_its_time_to_end() -> None:
    service = read("compose.yaml")["services"]["codecsieve"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= DRAIN_SECONDS + 30


def test_nothing_beside_it_gets_more_privileges_than_it_has() -> None:
    for service in read("compose.yaml")["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_container_may_do_little() -> None:
    service = read("compose.yaml")["services"]["codecsieve"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert next(volume for volume in service["volumes"] if ":/videos" in volume).endswith(":ro")


def test_every_file_that_compose_names_is_there() -> None:
    for service in read("compose.yaml")["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("./deploy") and not source.endswith(".key"):
                assert (ROOT / source).is_file(), source


def test_what_is_scraped_and_drawn_is_measured() -> None:
    (job,) = read("deploy/prometheus.yml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["codecsieve:8000"]}]
    assert read("deploy/grafana/datasource.yml")["datasources"][0]["uid"] == "prometheus"
    measures = Measures()
    families = {family.name: family.type for family in measures.registry.collect()}
    board = json.loads((ROOT / "deploy" / "grafana" / "codecsieve.json").read_text())
    drawn = set(re.findall(r"codecsieve_\w+", json.dumps(board)))
    for name in drawn:
        family = re.sub(r"_(total|bucket|sum|count)$", "", name)
        assert name in families or family in families, name
    assert {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in drawn} == families.keys()


def test_docker_understands_it() -> None:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    found = subprocess.run(["docker", "compose", "version"], capture_output=True)
    if found.returncode:
        pytest.skip("docker has no compose here")
    checked = subprocess.run(["docker", "compose", "config", "-q"], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
