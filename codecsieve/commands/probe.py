"""The command `probe`: an accuracy out of a cache and an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codecsieve.commands.group import OneLineError
from codecsieve.commands.options import options_of, take
from codecsieve.errors import EncoderError
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun

if TYPE_CHECKING:
    from codecsieve.commands.console import Meter

_NOTES = """
DATA_ROOT/NAME holds train.csv and, as far as there are, val.csv and test.csv: manifests of path,label[,start,end]. A
label is a class index or a class name. Known by name, with their class counts: ssv2 174, diving48 48, perception_test
63, epic_verb 97, epic_noun 300, hmdb51 51, k400 400, charadesego 157; any other name is a set of as many classes as its
train.csv has.

Learning rate and epoch are chosen on val.csv, by the mean over seeds; test.csv is looked at once, with that choice.
Without val.csv a tenth of each class is taken out of train.csv, by clip: where several clips are of one video, write a
val.csv. Without test.csv there is only the best accuracy on validation, as the published protocol reports it, which is
too high.

Tokens are made once and kept beside the cache. A run that was cut off is finished by the same command. Several
processes share the work under torchrun: torchrun --nproc-per-node 8 -m codecsieve probe ...

\b
Example:
  codecsieve probe --dataset hmdb51 --data-root sets --cache-dir cache \\
    --model-weight lmms-lab-encoder/onevision-encoder-large --default-lr-list 1e-4,3e-4
"""


_POLICIES = {"codec": "saliency", "sampling": "sampling"}


@click.command(epilog=_NOTES)
@click.option("--dataset", required=True, metavar="NAME", help="Which data set: a folder of --data-root.")
@click.option("--data-root", required=True, metavar="FOLDER", help="Folder of the data sets' manifests.")
@click.option("--cache-dir", required=True, metavar="CACHE", help="The sparse cache; made where it is not there.")
@click.option("--model-weight", required=True, metavar="DIR|ID", help="The encoder: a folder or a hub id.")
@click.option("--model-name", help="What the report calls it.  [default: the end of --model-weight]")
@click.option("--out", metavar="FOLDER", help="For report and checkpoints.  [default: probe_NAME]")
@click.option("--embedding-size", type=int, help="Channels that a token must have, as a check.")
@click.option("--frames-token-num", type=int, help="Patches that a whole frame must have, as a check.")
@options_of(
    SieveConfig,
    ("num_frames", "k_keep", "mv_compensate"),
    said="Of the cache: {lower}  [default: as it is; new: {default}]",
)
@click.option(
    "--model-family",
    type=click.Choice(["codec", "sampling"]),
    help="Of the cache: what is kept, the patches that the codec tells of, or whole frames, uniformly spaced (8 of 64 "
    "at --k-keep 2048).  [default: as it is; new: codec]",
)
@options_of(ProbeConfig, learning_rates="RATE,...", seeds="SEED,...")
@click.option(
    "--dali-py-num-workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processes that read the cache for the encoder.",
)
@click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="For models and cache."
)
@click.option(
    "--features-dir",
    metavar="FOLDER",
    help="For the tokens: clips x tokens x channels x 2 bytes.  [default: one in CACHE.features]",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def probe(
    dataset: str,
    data_root: str,
    cache_dir: str,
    model_weight: str,
    model_family: str | None,
    out: str | None,
    device: str,
    features_dir: str | None,
    dali_py_num_workers: int,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a small classifier on a frozen encoder's tokens of a cache, and report its accuracy."""
    try:
        from codecsieve.pipelines.learn.ranks import joined
        from codecsieve.pipelines.probe.run import run_probe
    except ModuleNotFoundError as error:
        raise OneLineError(f"{error.name} is not installed; pip install 'codecsieve[probe]'", 1) from error
    selection = take(options, SieveConfig)
    if model_family is not None:
        selection["policy"] = _POLICIES[model_family]
    config = ProbeConfig(**take(options, ProbeConfig))
    folder = Path(out or f"probe_{dataset}").absolute()
    run = ProbeRun(
        Path(data_root),
        dataset,
        Path(cache_dir).absolute(),
        model_weight,
        folder,
        selection=selection,
        features_dir=None if features_dir is None else Path(features_dir).absolute(),
        workers=dali_py_num_workers,
        device=device,
        **options,
    )
    with joined(device) as ranks, _Meters(quiet or not ranks.first) as meters:
        try:
            report = run_probe(run, config, ranks, meters.update)
        except EncoderError as error:
            raise OneLineError(str(error), 1) from error
        first = ranks.first
    if first:
        _print_report(report, folder)


class _Meters:
    """A progress bar for each kind of thing that is done, one after the other."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._what = ""
        self._meter: Meter | None = None

    def update(self, what: str, done: int, total: int) -> None:
        from codecsieve.commands.console import Meter

        if not total:
            return
        if self._meter is None or what != self._what:
            self.__exit__()
            self._what, self._meter = what, Meter(what, self._quiet)
            self._meter.__enter__()
        self._meter.update(done, total, 0)

    def __enter__(self) -> _Meters:
        return self

    def __exit__(self, *error: object) -> None:
        if self._meter is not None:
            self._meter.__exit__(None, None, None)
            self._meter = None


def _print_report(report: dict[str, Any], out: Path) -> None:
    from codecsieve.commands.console import print_facts

    chosen, best, test = report["selected_on_validation"], report["best_on_validation"], report["test"]
    clips = {name: _clips(split) for name, split in report["splits"].items()}
    facts: list[tuple[str, object]] = [
        ("model", report["model"]),
        ("cache", report["cache"]),
        ("tokens", "{} of {} channels a clip".format(*report["tokens"])),
        ("classes", report["classes"]),
        *((f"{name} clips", said) for name, said in clips.items()),
        ("validation", report["validation"]),
        ("chosen on validation", f"learning rate {chosen['learning_rate']:g}, epoch {chosen['epoch']}"),
        ("  top-1, top-5 there", f"{chosen['top1']:.2%}, {chosen['top5']:.2%}"),
    ]
    if test is None:
        facts.append(("test", "none: there is no test.csv"))
    else:
        spread = "" if test["top1_deviation"] is None else f" ± {test['top1_deviation']:.2%} over seeds"
        facts.append(("test top-1", f"{test['top1']:.2%}{spread}"))
        facts.append(("test top-5", f"{test['top5']:.2%}"))
    facts += [
        ("best on validation", f"{best['top1']:.2%}, as the published protocol reports; too high"),
        ("time", f"{report['seconds']} s"),
        ("report", out / "report.json"),
    ]
    print_facts(f"Attentive probe, {report['dataset']}", facts)


def _clips(split: dict[str, int]) -> str:
    return f"{split['clips']}" + (f", {split['failed']} more failed" if split["failed"] else "")
