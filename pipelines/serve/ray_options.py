"""What a service under Ray is told besides: how many replicas, what share of a GPU, which cluster."""

from __future__ import annotations

from dataclasses import dataclass

from codecsieve.options import check_options, option


@dataclass(frozen=True)
class RayOptions:
    """Raises ConfigError."""

    ray_sieve_replicas: int = option(1, "With --engine ray: replicas that decode, with --decodes workers each.",
                                     at_least=1)  # fmt: skip
    ray_embed_replicas: int = option(1, "With --engine ray: replicas of the model.", at_least=1)
    ray_gpu_fraction: float | None = option(None, "With --engine ray: what a replica of the model takes of a GPU.",
                                            new="an even share of those there are", at_least=0, at_most=1)  # fmt: skip
    ray_address: str = option("local", "With --engine ray: a cluster that runs, or auto; local starts one.",
                              flag="--ray-address --address")  # fmt: skip
    ray_store: int = option(10**9, "With --engine ray: memory of results on their way, in a cluster that it starts.",
                            size=True, at_least=10**8)  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)
