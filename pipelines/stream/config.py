"""How windows slide along a source, and how long it is waited for: a validated dataclass, of which options are made.

What of a window is scored and kept is `SieveConfig`'s; `window_config` says which of its options cannot be meant here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codecsieve.errors import ConfigError
from codecsieve.machine import MAX_MEMORY
from codecsieve.options import check_options, option
from codecsieve.pipelines.config import DEFAULT_PRESET, LEAST_MEMORY, Preset, SieveConfig
from codecsieve.text import quoted

MOST_WINDOW = 1024


@dataclass(frozen=True)
class StreamOptions:
    """Raises ConfigError for values that cannot work."""

    window: int = option(64, "Frames of a selection: its slots.", at_least=1, at_most=MOST_WINDOW)
    stride: int | None = option(
        None, "Frames from one window's first to the next one's.", new="a quarter of the window", at_least=1
    )
    every: int = option(1, "Of the frames shown take one in so many.", at_least=1, at_most=10**6)
    fps: float | None = option(
        None, "Frames a second, by their times, in place of one in so many: the first at or after each k/fps.",
        new="all there are", above=0, at_most=1000,
    )  # fmt: skip
    follow: bool = option(False, "The file is still written to: wait at its end for more.")
    patience: float = option(10.0, "Seconds that nothing may come before the source is given up.", above=0, at_most=1e6)
    max_memory: int = option(
        MAX_MEMORY,
        "Memory that the stream may take, such as 500 MB; one that may take more is refused.",
        size=True,
        at_least=LEAST_MEMORY,
    )

    def __post_init__(self) -> None:
        """Check every value against its rule, and against the others."""
        check_options(self)
        if self.step > self.window:
            raise ConfigError(f"stride ({self.stride}) must be <= window ({self.window}): no frame is passed over; "
                              "take fewer of them with every or fps")  # fmt: skip
        if self.fps is not None and self.every != 1:
            raise ConfigError(f"fps ({self.fps:g}) and every ({self.every}) both say which frames are taken; give one")

    @property
    def step(self) -> int:
        """Frames from one window's first to the next one's."""
        return max(1, self.window // 4) if self.stride is None else self.stride


REFUSED = ("num_frames", "spread", "spread_seed", "fps")
"""Options of the sieve that say which frames of a clip its slots show: here they are consecutive."""


def window_config(options: StreamOptions, preset: Preset | None, given: Mapping[str, Any]) -> SieveConfig:
    """What is scored and kept of a window: of options of the sieve, and the preset's, `DEFAULT_PRESET`'s where None.

    Raises ConfigError for one of `REFUSED`, and for options that cannot work.
    """
    for name in REFUSED:
        if name in given:
            raise ConfigError(f"{name} ({quoted(str(given[name]))}) is not for streams: a window's frames follow each "
                              "other, as window, every and fps say")  # fmt: skip
    return SieveConfig.preset(preset or DEFAULT_PRESET, **{**given, "num_frames": options.window})
