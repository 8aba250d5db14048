"""What a service under Ray may be told, and what it makes of it; no cluster is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from served import START_SECONDS, running

from codecsieve.errors import ConfigError
from codecsieve.pipelines.serve.ray_options import RayOptions
from codecsieve.pipelines.serve.ray_server import gpu_share

pytest.importorskip("ray", reason="ray is not installed: pip install 'codecsieve[ray]'")


@pytest.mark.slow
def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    for arguments, status, line in (
        (["--ray-sieve-replicas=2"], 2, "--ray-sieve-replicas is for --engine ray"),
        (["--engine=ray", "--host=0.0.0.0"], 2, "must be loopback where there are no keys"),
        (["--engine=ray", "--ray-gpu-fraction=2"], 2, "ray_gpu_fraction (2.0) must be in 0..1"),
    ):
        with running(tmp_path, *arguments, ready=False) as service:
            assert service.process.wait(START_SECONDS) == status
            assert line in service.log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("replicas", "gpus", "share"), [(1, 0, 0.0), (1, 1, 1.0), (2, 1, 0.5), (3, 2, 0.5), (2, 4, 1.0)]
)
def test_replicas_of_the_model_share_gpus_evenly(replicas: int, gpus: int, share: float) -> None:
    assert gpu_share(RayOptions(ray_embed_replicas=replicas), gpus) == share


def test_a_fraction_that_leaves_no_room_is_refused() -> None:
    assert gpu_share(RayOptions(ray_embed_replicas=2, ray_gpu_fraction=0.5), 1) == 0.5
    with pytest.raises(ConfigError, match=r"ray_gpu_fraction \(0.6\) must leave room for 2 on 1 GPUs"):
        gpu_share(RayOptions(ray_embed_replicas=2, ray_gpu_fraction=0.6), 1)
