"""The options of an import. How they act is said in `run`."""

from __future__ import annotations

from dataclasses import dataclass

from codecsieve.errors import ConfigError
from codecsieve.options import check_options, option

STORES = ("indices", "patches")


@dataclass(frozen=True)
class ImportOptions:
    """What is imported, and how. Raises ConfigError for values that cannot work."""

    num_frames: int = option(64, "Slots that the indices count, spread from the first frame to the last.",
                             at_least=1, at_most=65535)  # fmt: skip
    input_size: int = option(224, "Side of the square that they divide into patches, px.", above=0)
    patch_size: int = option(14, "Side of a patch, px.", above=0)
    store: str = option(
        "indices", "Only which patches they are, or their pixels, too: cut out of the videos, or off the pictures.",
        choices=STORES,
    )  # fmt: skip
    videos_were: str = option(
        "", "Folder that the videos lay in when the indices were made: file names are made of their paths.",
        new="where they are",
    )  # fmt: skip
    cache_key: str = option("", "What the program that made the indices added to paths, such as K2048_mvcomp...",
                            new="nothing")  # fmt: skip
    workers: int | None = option(None, "Clips at a time; 0: no process but this one.", new="one a core", at_least=0)
    clip_timeout: float = option(600.0, "Seconds that one clip may take.", above=0)

    def __post_init__(self) -> None:
        """Check every value against its rule, and against the others."""
        check_options(self)
        if self.input_size % self.patch_size:
            raise ConfigError(f"input_size ({self.input_size}) must be a multiple of patch_size ({self.patch_size})")

    @property
    def grid(self) -> int:
        """Patches on each side of the square."""
        return self.input_size // self.patch_size
