"""What docs/cluster.md says can be run is well-formed, and its arithmetic is what the measured rates come to."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import yaml
from click.testing import CliRunner

from codecsieve.cache import Layout
from codecsieve.commands.precompute import precompute

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "cluster.md").read_text()
CLIPS = 1_000_000


def fenced(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found, kind
    return found[1]


def test_the_job_of_kubernetes_and_the_script_of_slurm_are_well_formed() -> None:
    job = yaml.safe_load(fenced("yaml"))
    assert job["kind"] == "RayJob"
    script = fenced("bash")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    options = {word for text in (script, job["spec"]["entrypoint"]) for word in shlex.split(text, comments=True)}
    known = CliRunner().invoke(precompute, ["--help"]).output
    assert all(word in known for word in options if word.startswith("--") and "=" not in word)


def test_every_option_of_ray_is_on_the_page() -> None:
    known = CliRunner().invoke(precompute, ["--help"]).output
    for option in set(re.findall(r"--ray-[a-z]+", known)):
        assert f"`{option}`" in PAGE


def test_costs_are_those_of_the_measured_rates() -> None:
    videos = json.loads((ROOT / "benchmarks" / "results" / "throughput.json").read_text())["videos"]
    rate = sum(one["precompute clips/s"] for one in videos) / len(videos)
    core_hours = CLIPS / (rate / 2) / 3600
    assert f"{rate:.1f} clips/s on two cores" in PAGE
    assert f"| core-hours | {core_hours:.0f} ({core_hours * 0.04:.0f} USD) |" in PAGE
    gpu_hours = CLIPS / 19.5 / 3600
    assert f"| or GPU-hours | {gpu_hours:.0f} ({gpu_hours * 3.5:.0f} USD) |" in PAGE
    for store, shown in (("patches", "{:.1f} TB ({:.0f} USD)"), ("indices", "{:.0f} GB ({:.1f} USD)")):
        size = Layout(64, 2048, 14, store).clip_bytes * CLIPS / 1e9  # type: ignore[arg-type]
        unit = size / 1000 if "TB" in shown else size
        assert f"| `--store {store}`, a month | {shown.format(unit, size * 0.023)} |" in PAGE
    assert f"| {CLIPS // 64:,} |" in PAGE


def test_the_table_of_planning_is_the_measured_one() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "ranges.json").read_text())
    for run in found["runs"]:
        if run["what"] == "planned":
            assert f"| {run['rows']:,} | {run['seconds']:.1f} | {run['peak_mb']:.0f} MB |" in PAGE
    assert f"that is {found['bytes_a_row']:.0f} bytes a row" in PAGE
