"""The device and the place of a process among those that share a run."""

from __future__ import annotations

import pytest

from codecsieve.errors import ConfigError
from codecsieve.pipelines.learn.ranks import choose_device


def test_a_device_that_is_not_there_is_refused() -> None:
    assert choose_device("cpu").type == "cpu"
    for name in ("gpu", "cuda:77"):
        with pytest.raises(ConfigError, match=rf"device \('{name}'\) must be one"):
            choose_device(name)
