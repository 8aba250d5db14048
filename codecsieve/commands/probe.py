"""The command `probe`: an accuracy out of a cache and an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from codecsieve.commands.group import OneLineError
from codecsieve.commands.options import SpacedNumbers, Words, options_of, take
from codecsieve.commands.published import (
    DATA_ROOT,
    FAMILIES,
    family_of,
    foreign_options,
    selection_of_family,
    take_foreign,
)
from codecsieve.errors import ConfigError, EncoderError
from codecsieve.pipelines.config import DEFAULT_PRESET, PRESETS, SieveConfig
from codecsieve.pipelines.probe.config import ProbeConfig, ProbeRun
from codecsieve.text import quoted, shortened

_NOTES = """
DATA_ROOT/NAME, or DATA_ROOT/NAME_hevc, which a codec family looks for first, holds train.csv and, as far as there are,
val.csv and test.csv: manifests of path,label[,start,end] and any further columns. NAME_train_new.csv and
train_new.csv go before train.csv. A label is a class index or a class name. Known by name, with their class counts:
ssv2 174, diving48 48, perception_test 63, epic_verb 97, epic_noun 300, hmdb51 51, ucf101 101, k400 400, k600 600, k700
700, k710 710, mit 339, rareact 149, COIN 150, jester 27, Drone_Action 13, charadesego 157; any other name is a set of
as many classes as its train.csv has, or --num-classes. A clip of charadesego may have several classes, as 3;17;40 or in
several rows: probes are then trained with a binary cross-entropy, and judged by mean average precision.

Learning rate and epoch are chosen on val.csv, by the mean over seeds; test.csv is looked at once, with that choice.
Without val.csv a tenth of each class is taken out of train.csv, by clip: where several clips are of one video, write a
val.csv. Without test.csv there is only the best accuracy on validation, as the published protocol reports it, which is
too high.

Sampling takes a frame of each of --num-frames segments: the middle one to judge by, one drawn by a seed to train on.
Tokens are made once and kept beside the cache. A run that was cut off is finished by the same command. Several
processes share the work under torchrun: torchrun --nproc-per-node 8 -m codecsieve probe ...

A baseline is a vision model of transformers or timm, over a cache of whole frames: --model-family sampling, or its
family's name; --model-weight is a folder, a hub id, timm's name, or a family's name, which stands for its large model.
--compare probes several of them, and ours, and writes a table and a picture of it.

The options of attentive_probe.py and attentive_probe_codec.py of OneVision-Encoder are understood as they are; a line
tells those that have no effect here.

\b
Example:
  codecsieve probe --dataset hmdb51 --data-root sets --cache-dir cache \\
    --model-weight lmms-lab-encoder/onevision-encoder-large --default-lr-list 1e-4,3e-4
  codecsieve probe --dataset hmdb51 --data-root sets --model-family sampling --seeds 0 1 2 \\
    --compare lmms-lab-encoder/onevision-encoder-large clip siglip2 facebook/dinov2-base
"""

_SELECTION = (
    "num_frames",
    "k_keep",
    "mv_compensate",
    "input_size",
    "patch_size",
    "center_prior",
    "center_sigma",
    "mv_incon_ksize",
    "res_use_grad",
    "static_abs_thresh",
    "static_rel_thresh",
    "static_uniform_frames",
)


@click.command(cls=SpacedNumbers, epilog=_NOTES)
@click.option("--dataset", required=True, metavar="NAME", help="Which data set: a folder of --data-root.")
@click.option(
    "--data-root",
    metavar="FOLDER",
    help=f"Folder of the data sets' folders.  [default: {DATA_ROOT} if it is there, else this one]",
)
@click.option(
    "--train-data-csv-path", "train_csv", metavar="FILE", help="Manifest of the training clips.  [default: see below]"
)
@click.option("--val-data-csv-path", "val_csv", metavar="FILE", help="Manifest of the validation clips.")
@click.option(
    "--cache-dir",
    metavar="CACHE",
    help="The sparse cache; made where it is not there.  [default: one in DATA_ROOT/NAME.caches, or the user's cache "
    "folder]",
)
@click.option("--model-weight", metavar="DIR|ID", help="The encoder: a folder or a hub id; or a baseline's name.")
@click.option(
    "--compare",
    cls=Words,
    multiple=True,
    metavar="DIR|ID ...",
    help="Several of these in place of one: a table and a picture.",
)
@click.option("--model-name", help="What the report calls it.  [default: the end of --model-weight]")
@click.option("--out", metavar="FOLDER", help="For report and checkpoints.  [default: probe_NAME]")
@click.option("--save-report", metavar="FOLDER", help="For a report in the published form.  [default: --out]")
@click.option("--checkpoint-dir", metavar="FOLDER", help="For checkpoints.  [default: --out]")
@click.option("--resume-checkpoint", metavar="FILE", hidden=True)
@click.option("--embedding-size", type=int, help="Channels that a token must have, as a check.")
@click.option("--frames-token-num", type=int, help="Patches that a whole frame must have, as a check.")
@click.option("--num-classes", type=int, help="Classes of a set that is not known by name; else a check.")
@click.option(
    "--model-family",
    metavar="|".join(FAMILIES),
    help="Of the cache: what is kept, the patches that the codec tells of, or whole frames (8, one a segment), for a "
    "baseline by its name.  [default: as it is; new: codec]",
)
@options_of(
    SieveConfig,
    _SELECTION,
    said="Of the cache: {lower}  [default: as it is; new: {default}]",
    defaults=PRESETS[DEFAULT_PRESET],
)
@click.option(
    "--static-fallback",
    type=click.Choice(["0", "1"]),
    help="Of the cache: keep whole slots of clips in which little happens.  [default: as it is; new: 0, published 1]",
)
@click.option(
    "--mv-use-inconsistency",
    is_flag=True,
    default=None,
    help="Of the cache: score motion by the variance of its length around each cell: mv_inconsistency variance.  "
    "[default: as it is; new: none]",
)
@click.option(
    "--target-frames",
    type=click.IntRange(min=1),
    help="Of the cache: places in a clip that sampled frames are counted in.  [default: as it is; new: 64]",
)
@options_of(ProbeConfig, learning_rates="RATE,...", seeds="SEED,...")
@click.option("--seed", type=int, help="The same as --seeds with one.")
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
@foreign_options
def probe(device: str, quiet: bool, **options: Any) -> None:
    """Train a small classifier on a frozen encoder's tokens of a cache, and report its accuracy."""
    try:
        from codecsieve.commands.console import tell
        from codecsieve.commands.probe_shown import Looks, Meters, print_comparison, print_report
        from codecsieve.pipelines.learn.ranks import joined
        from codecsieve.pipelines.probe.compare import compare
        from codecsieve.pipelines.probe.run import run_probe
    except ModuleNotFoundError as error:
        raise OneLineError(f"{error.name} is not installed; pip install 'codecsieve[probe]'", 1) from error
    without_effect = take_foreign(options)
    config = _config(options)
    compared = _compared(options)
    run, notes = _run(options, device)
    if without_effect:
        notes.append(f"no effect here: {', '.join(f'--{name}' for name in without_effect)}")
    with joined(device) as ranks, Meters(quiet or not ranks.first) as meters:
        if ranks.first and not quiet:
            for note in notes:
                tell(f"codecsieve: {note}")
        looks = Looks(config, quiet or not ranks.first)
        try:
            if compared:
                report = compare(compared, run, config, ranks, meters.update, looks.show, looks.begin)
            else:
                report = run_probe(run, config, ranks, meters.update, looks.show)
        except EncoderError as error:
            raise OneLineError(str(error), 1) from error
        first = ranks.first
    if first:
        (print_comparison if compared else print_report)(report, run.out)
    if first and compared and report["failed"]:  # torchrun would end the first while it speaks
        click.get_current_context().exit(1)


def _compared(options: dict[str, Any]) -> tuple[str, ...]:
    """The encoders to compare, the first of which stands for the run's; none where there is one to be probed."""
    compared: tuple[str, ...] = options.pop("compare")
    if bool(compared) == (options["model_weight"] is not None):
        raise click.UsageError("Give one of --model-weight and --compare.")
    if compared and options["model_name"] is not None:
        raise ConfigError(f"model_name ({quoted(options['model_name'])}) names one encoder, and --compare has several")
    if compared:
        options["model_weight"] = compared[0]
    return compared


def _config(options: dict[str, Any]) -> ProbeConfig:
    seed = options.pop("seed")
    if seed is not None and options["seeds"] is not None:
        raise ConfigError(f"seed ({seed}) and seeds say the same; give one of them")
    if seed is not None:
        options["seeds"] = (seed,)
    return ProbeConfig(**take(options, ProbeConfig))


def _run(options: dict[str, Any], device: str) -> tuple[ProbeRun, list[str]]:
    """What is probed, and lines that say what was decided for the user."""
    from codecsieve.pipelines.probe.datasets import find_folder
    from codecsieve.pipelines.probe.views import default_cache

    notes = []
    dataset, fallback = options.pop("dataset"), options.pop("static_fallback")
    family = family_of(options.pop("model_family"))
    data_root, cache_dir, target_frames = (options.pop(name) for name in ("data_root", "cache_dir", "target_frames"))
    variance = options.pop("mv_use_inconsistency")
    given = take(options, SieveConfig)
    if fallback is not None:
        given["static_fallback"] = fallback == "1"
    if variance:
        given["mv_inconsistency"] = "variance"
    elif given.pop("mv_incon_ksize", None) is not None:
        notes.append("--mv_incon_ksize has no effect here: it is of --mv_use_inconsistency")
    selection, fresh = selection_of_family(family, given, target_frames)
    if target_frames is not None and "target_frames" not in selection:
        notes.append("--target_frames has no effect here: it is of sampling")
    hevc = family is not None and family.policy == "saliency"
    if data_root is None:
        data_root = DATA_ROOT if DATA_ROOT.is_dir() else Path.cwd()
        notes.append(f"data sets of {data_root}")
    if cache_dir is None:
        cache_dir = default_cache(find_folder(data_root, dataset, hevc), fresh | selection)
        notes.append(f"cache {cache_dir}")
    elif "://" in cache_dir:
        raise ConfigError(
            f"cache_dir ({quoted(cache_dir)}) must be a folder: clips that it lacks are made into it; "
            f"`codecsieve merge FOLDER {shortened(cache_dir)}` copies it"
        )
    options["num_classes"] = options["num_classes"] or None  # 0 is the published way to say none
    out = _folder(options.pop("out")) or Path(f"probe_{dataset}").absolute()
    checkpoints = _folder(options.pop("checkpoint_dir"))
    resumed = options.pop("resume_checkpoint")
    last = (checkpoints or out) / "last.safetensors"
    if resumed is not None and Path(resumed).absolute() != last:
        raise ConfigError(
            f"resume_checkpoint ({quoted(resumed)}) must be {last}: a run goes on from its own --checkpoint-dir"
        )
    manifests = {"train": options.pop("train_csv"), "val": options.pop("val_csv")}
    run = ProbeRun(
        Path(data_root),
        dataset,
        Path(cache_dir).absolute(),
        out=out,
        selection=selection,
        fresh=fresh,
        baseline=None if family is None else family.baseline,
        hevc=hevc,
        manifests={split: path for split, path in manifests.items() if path is not None},
        features_dir=_folder(options.pop("features_dir")),
        checkpoint_dir=checkpoints,
        report_dir=_folder(options.pop("save_report")),
        workers=options.pop("dali_py_num_workers"),
        device=device,
        **options,
    )
    return run, notes


def _folder(given: str | None) -> Path | None:
    return None if given is None else Path(given).absolute()
