"""`codecsieve serve` where one of an extra's packages is not installed; what it serves is in tests/pipelines/serve."""

from __future__ import annotations

import importlib.util

import pytest
from click.testing import CliRunner

from codecsieve.cli import main


@pytest.mark.parametrize(
    ("missing", "words", "said"),
    [
        ("fastapi", [], "serve needs fastapi, which is not installed; pip install 'codecsieve[service]'"),
        ("websockets", [], "serve needs websockets, which is not installed; pip install 'codecsieve[service]'"),
        ("python_multipart", [], "serve needs python_multipart, which is not installed; pip install"),
        ("torch", ["--model", "folder"], "serve --model needs torch, which is not installed; pip install 'codecs"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    missing: str, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    shown = CliRunner().invoke(main, ["serve", *words], catch_exceptions=False)
    assert shown.exit_code == 2
    assert shown.output.splitlines()[-1].startswith(f"codecsieve: {said}")
