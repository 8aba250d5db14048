"""The commands `train`, an encoder out of a cache and its concepts, and `train export`, a checkpoint for others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from codecsieve.commands.group import OneLineError
from codecsieve.commands.options import options_of, take
from codecsieve.errors import ConfigError
from codecsieve.pipelines.train.config import TrainConfig, TrainRun, read_heads, read_toml

_NOTES = """
CONFIG is a TOML file; every line of it is an option, and options here go before it. The folder --out has checkpoints/,
log.jsonl with a line a step, and at the end encoder/, which `codecsieve.load_encoder` and transformers open. A training
that was cut off, or killed, is gone on with by the same command: with the same weights on as many processes, and on
another number of them with the same up to rounding. Several processes share the work under torchrun:
torchrun --nproc-per-node 8 -m codecsieve train ...

\b
Example:
  codecsieve train train.toml
  codecsieve train --cache cache --concepts concepts --out run --encoder small --steps 20000
  codecsieve train export run encoder --step 10000
"""


class _WithDefault(click.Group):
    """A group whose command `run` need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put it in where no command is named."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_WithDefault, epilog=_NOTES)
def train() -> None:
    """Train an encoder from a cache, or go on: `codecsieve train CONFIG`; `run --help` lists the options."""


@train.command(epilog=_NOTES)
@click.argument("config", required=False, type=click.Path(dir_okay=False))
@click.option("--cache", metavar="CACHE", help="Of codec-selected patches.")
@click.option("--concepts", metavar="FOLDER", help="Its clips' concepts: what `codecsieve concepts` made.")
@click.option("--out", metavar="FOLDER", help="For checkpoints, log and encoder.")
@click.option(
    "--frames-cache", metavar="CACHE", help="Of whole frames of the same clips, where --codec-share is below 1."
)
@click.option(
    "--head", "heads", multiple=True, metavar="NAME:KEY=VALUE,...",
    help="Pictures with a bank of their own, such as photos:cache=photos,concepts=bank; again for more.",
)  # fmt: skip
@click.option("--cache-shards", metavar="FOLDER", help="For copies of the shards of a cache in an object store.")
@click.option("--cache-size", metavar="SIZE", help="That they take at most, such as 200GB.  [default: 50 GB]")
@click.option("--init", metavar="FOLDER_OR_HUB_ID", help="Weights to begin with.  [default: untrained ones]")
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="Of this process.")
@click.option("--dry-run", is_flag=True, help="Only say what it will take: parameters, memory by part, operations.")
@click.option("--gpus", type=click.IntRange(min=1), help="Of a dry run: so many processes.  [default: those there are]")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@options_of(TrainConfig)
def run(
    config: str | None,
    heads: tuple[str, ...],
    device: str,
    dry_run: bool,
    gpus: int | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Train, or go on."""
    try:
        from codecsieve.pipelines.learn.ranks import choose_device, joined
        from codecsieve.pipelines.train.run import train as do
    except ModuleNotFoundError as error:
        raise OneLineError(f"{error.name} is not installed; pip install 'codecsieve[train]'", 1) from error
    from codecsieve.commands.console import Meter, tell

    values = read_toml(Path(config)) if config is not None else {}
    values |= {name: value for name, value in options.items() if value is not None}
    if heads:
        values["heads"] = read_heads(heads)
    wanted = TrainConfig(**take(values, TrainConfig))
    if not values.get("out"):
        raise ConfigError("out must be given, here or in the TOML file")
    cache, frames = (_place(values.get(name)) for name in ("cache", "frames_cache"))
    concepts, copies = (Path(values[name]) if values.get(name) else None for name in ("concepts", "cache_shards"))
    of_run = TrainRun(
        cache, concepts, Path(values["out"]), frames, values.get("heads", ()), values.get("init"),
        copies, values.get("cache_size", TrainRun.cache_size),
    )  # fmt: skip
    if dry_run:
        with joined("cpu") as ranks:
            if ranks.first:
                on_gpus = gpus is not None or choose_device(device).type == "cuda"
                _print_budget(of_run, wanted, gpus or ranks.size, on_gpus)
        return
    with joined(device) as ranks, Meter("steps", quiet or not ranks.first) as meter:
        trained = do(
            of_run,
            wanted,
            ranks,
            progress=lambda told: meter.update(told.step + 1, told.steps, 0),
            looked=lambda step, found: (
                None
                if quiet
                else tell(f"after {step} steps: {found.recall:.1%} of {found.clips} held-out clips find their concept")
            ),
        )
        first = ranks.first
    if first and not quiet:
        _print(trained)


def _place(given: str | None) -> Path | str | None:
    """A cache as it is named: a URL as it is."""
    return given if given is None or "://" in given else Path(given)


def _print_budget(run: TrainRun, config: TrainConfig, ranks: int, on_gpus: bool) -> None:
    from codecsieve.commands.console import print_facts
    from codecsieve.options import in_units
    from codecsieve.pipelines.train.budget import budget
    from codecsieve.pipelines.train.run import head_sizes

    bfloat16 = config.precision == "bfloat16" or (config.precision == "auto" and on_gpus)
    made = budget(config, head_sizes(run, config), ranks, bfloat16)
    facts: list[tuple[str, object]] = [
        ("parameters of the encoder", f"{made.parameters:,}"),
        ("numbers of the banks, here", f"{made.centres:,}"),
        *((f"  {name}", in_units(nbytes)) for name, nbytes in made.parts.items() if nbytes),
        ("memory of a process", in_units(made.nbytes)),
        ("operations of a step", f"{made.operations:.3g}"),
        ("tokens of a step", f"{made.tokens:,}"),
        ("tokens/s at 1e15 operations/s, 40 % of them used", f"{made.tokens_per_second(1e15):,.0f}"),
    ]
    print_facts(f"A training on {ranks} process{'es' if ranks > 1 else ''}", facts)


def _print(trained: Any) -> None:
    from codecsieve.commands.console import print_facts

    facts: list[tuple[str, object]] = [("steps", trained.steps), ("encoder", trained.encoder)]
    if trained.loss is not None:
        facts.insert(1, ("loss of the last", f"{trained.loss:.4g}"))
    if trained.validated is not None:
        facts.append(("held-out clips that find their concept", f"{trained.validated.recall:.1%}"))
    print_facts("Trained", facts)


@train.command()
@click.argument("out")
@click.argument("folder")
@click.option("--step", type=int, help="Of the checkpoint.  [default: the last]")
@click.option(
    "--average/--no-average", default=None, help="The weights' moving average.  [default: where there is one]"
)
def export(out: str, folder: str, step: int | None, average: bool | None) -> None:
    """Write the encoder of a checkpoint of OUT into FOLDER, as transformers has it."""
    from codecsieve.commands.console import say
    from codecsieve.pipelines.train.run import export_encoder

    say(f"written to {export_encoder(Path(out), Path(folder), step, average)}")
