"""The options of a clustering. How they act is said in `pooled`, `start`, `kmeans` and `make`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from codecsieve.errors import ConfigError
from codecsieve.options import check_options, option

METRICS = ("cosine", "l2")
STARTS = ("auto", "random", "spread")
POOLS = ("mean", "pooler")
FEATURES = ("clip", "frames")
_MOST_CENTRES = 2**31 - 1  # labels are int32


@dataclass(frozen=True)
class ConceptsOptions:
    """How concepts are made. Raises ConfigError for values that cannot work."""

    centres: int = option(400_000, "Clusters, at most as many as there are clips.", above=0, at_most=_MOST_CENTRES)
    labels: int = option(10, "Nearest centres of a clip, by cosine, that are its labels.", above=0)
    metric: str = option("cosine", "What k-means goes by: cosine (spherical) or l2, as published.", choices=METRICS)
    iterations: int = option(20, "Passes of k-means over all clips.", above=0)
    seed: int = option(0, "Of all that is drawn.", at_least=0)
    start: str = option(
        "auto",
        "First centres: clips at random, or spread far apart (k-means++); auto: spread up to 2,048.",
        choices=STARTS,
    )
    feature: str = option(
        "clip", "What is clustered: one vector a clip, or one a frame, put end to end, as published.", choices=FEATURES
    )
    pool: str = option("mean", "That vector: the mean of the tokens, or the model's own pooling.", choices=POOLS)
    dims: int | None = option(None, "Only the first so many numbers of it.", new="all", above=0)
    pictures: int = option(12, "Clusters that are drawn for the page.", at_least=0)
    batch_size: int = option(8, "Clips that are encoded at once.", above=0)
    max_memory: int = option(8 * 10**9, "That clustering may take.", size=True, at_least=10**8)

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        check_options(self)
        if self.labels > self.centres:
            raise ConfigError(f"labels ({self.labels}) must be <= {self.centres}, the centres")

    @property
    def identity(self) -> dict[str, Any]:
        """Those that other concepts come of, if they are others."""
        names = ("centres", "labels", "metric", "iterations", "seed", "start", "feature", "pool", "dims")
        return {name: getattr(self, name) for name in names}


class ConceptsKeywords(TypedDict, total=False):
    """The fields of `ConceptsOptions`, as `make_concepts` takes them; a test holds one against the other."""

    centres: int
    labels: int
    metric: str
    iterations: int
    seed: int
    start: str
    feature: str
    pool: str
    dims: int | None
    pictures: int
    batch_size: int
    max_memory: int | str
