"""What a run on Ray is told besides: which cluster, how many actors, and what each takes."""

from __future__ import annotations

from dataclasses import dataclass

from codecsieve.options import check_options, option


@dataclass(frozen=True)
class RayOptions:
    """Raises ConfigError."""

    ray_address: str = option("local", "With --engine ray: a cluster that runs, or auto; local starts one.",
                              flag="--ray-address --address")  # fmt: skip
    ray_actors: int | None = option(None, "With --engine ray: actors, each of which makes shards.",
                                    new="as many as the cluster has room for", at_least=1)  # fmt: skip
    ray_cpus: int = option(1, "With --engine ray: cores of an actor, on each of which it makes a clip at a time.",
                           at_least=1)  # fmt: skip
    ray_gpus: float = option(0.0, "With --engine ray: what an actor takes of a GPU, on which it then makes its clips.",
                             at_least=0, at_most=1)  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)
