"""The options of an export, and the formats there are. How they act is said in `export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from codecsieve.options import check_options, option

Format = Literal["webdataset", "hf", "npz", "lance"]
FORMATS: tuple[str, ...] = get_args(Format)
SHARD_SIZE = 500 * 10**6


@dataclass(frozen=True)
class ExportOptions:
    """How to export. Raises ConfigError for values that cannot work."""

    shard_size: int = option(SHARD_SIZE, "Of a shard: as many clips as fit, at least one.", size=True, at_least=1)

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        check_options(self)
