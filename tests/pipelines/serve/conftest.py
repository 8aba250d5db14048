"""Fixtures of the service's tests: small videos below a root, a service that has them, and a small encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from served import Running, running

from codecsieve.encoder import EncoderConfig, OneVisionEncoder


@pytest.fixture(scope="module")
def site(make_video: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the roots `videos` (a.mp4, b.mp4, notes.mp4, which is none) and `caches`."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "videos").mkdir()
    (folder / "caches").mkdir()
    make_video(folder / "videos" / "a.mp4", seed=1)
    make_video(folder / "videos" / "b.mp4", seed=2)
    (folder / "videos" / "notes.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def service(site: Path) -> Iterator[Running]:
    """A service of that folder, without keys, on loopback."""
    with running(site) as found:
        yield found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small encoder, with weights large enough for its input to matter."""
    torch.manual_seed(0)
    encoder = OneVisionEncoder(EncoderConfig(64, 96, 2, 2, image_size=28)).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(0, 0.2)
    folder = tmp_path_factory.mktemp("model")
    encoder.save_pretrained(folder)
    return folder
