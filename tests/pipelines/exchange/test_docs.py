"""The commands of docs/exchange.md, run as they stand, one after the other, on small videos made on the spot."""

from __future__ import annotations

import hashlib
import pickle
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import codecsieve as cs
from codecsieve.cli import main

ROOT = Path(__file__).resolve().parents[3]
FENCED = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    blocks = FENCED.findall((ROOT / "docs" / "exchange.md").read_text())
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("codecsieve ")]


@pytest.mark.slow
def test_the_commands_run_and_what_is_imported_is_what_was_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_video: Callable[..., Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "v.mp4", frames=12, size=(160, 120))
    (tmp_path / "train.csv").write_text("path,label\nvideos/v.mp4,run\n")
    chosen = cs.sieve(tmp_path / "videos" / "v.mp4")
    key = next(words[words.index("--cache-key") + 1] for words in commands() if "--cache-key" in words)
    digest = hashlib.md5(f"/data/hmdb51/videos/v.mp4|{key}".encode()).hexdigest()
    (tmp_path / "cache_residuals").mkdir()
    published = tmp_path / "cache_residuals" / f"visible_indices_{digest}.pkl"
    published.write_bytes(pickle.dumps(chosen.indices))
    assert len(commands()) == 6
    for words in commands():
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, f"{words}: {result.output}"
    np.testing.assert_array_equal(cs.open_cache("imported")["v.mp4"].patches, chosen.patches)
