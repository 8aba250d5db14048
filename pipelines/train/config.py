"""What is trained, and how: options that the command line, a TOML file and the API share.

How they act is said in `inputs`, `pictures`, `schedule`, `trainer` and `run`.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecsieve.errors import ConfigError
from codecsieve.options import check_names, check_options, kind_of, option
from codecsieve.text import quoted

if TYPE_CHECKING:
    from codecsieve.encoder.concept_head import ConceptOptions

PRESETS = ("tiny", "small", "base", "large", "huge")
SCHEDULES = ("linear", "cosine", "published")
PRECISIONS = ("auto", "float32", "bfloat16", "float64")
CO_LABELS = ("negative", "masked")
AUGMENTS = ("crop", "none")
CLIPS = "clips"
"""The head of the clips that `--cache` and `--concepts` name; others have the names they are given."""
_HEAD = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class TrainConfig:
    """How an encoder is trained. Raises ConfigError for values that cannot work."""

    encoder: str = option("tiny", "Size of the encoder.", choices=PRESETS)
    steps: int = option(1000, "Steps of the whole training.", above=0)
    batch_size: int = option(32, "Clips of a step, over all processes.", above=0)
    accumulation: int = option(1, "Parts that a step is taken in, one after the other.", above=0)
    rate: float = option(1e-3, "Learning rate after warming up.", above=0)
    warm_up: float = option(0.1, "Part of all steps in which the rate rises from 0.", at_least=0, at_most=1)
    schedule: str = option("linear", "How the rate falls to 0 after that.", choices=SCHEDULES)
    weight_decay: float = option(0.05, "AdamW's, of weights that are matrices.", at_least=0)
    decay_all: bool = option(False, "Decay norms, biases and centres, too, as published.")
    clip_grad: float = option(5.0, "Norm that the gradient of encoder and centres each is clipped to.", above=0)
    codec_share: float = option(1.0, "Part of a step's clips that are codec-selected patches.", at_least=0, at_most=1)
    frames_share: float = option(0.0, "Part that are whole frames, one at random from each bin; the rest are collages "
                                      "of such frames.", at_least=0, at_most=1)  # fmt: skip
    frames: int = option(8, "Frames of a clip in these.", above=0)
    drawn: int = option(8, "Labels of a clip that count in a step.", above=0)
    concept_rate: float = option(0.1, "Part of all concepts that a label is held against.", above=0, at_most=1)
    margin: float = option(0.3, "Is taken off the cosine with a clip's own concept.", at_least=0)
    filter: float = option(0.75, "Cosines with other concepts above it count as 0.", at_least=0, at_most=1)
    scale: float = option(64.0, "Of cosines.", above=0)
    co_labels: str = option("negative", "A clip's other labels: as any other, or left out.", choices=CO_LABELS)
    weight: float = option(1.0, "Of the clips' loss, beside further heads.", above=0)
    precision: str = option("auto", "Of the encoder: bfloat16 where the GPU has it. float64 is of all, to tell "
                                    "rounding from mistakes.", choices=PRECISIONS)  # fmt: skip
    compile: bool = option(False, "Compile the encoder (torch.compile).")
    recompute: bool = option(False, "Keep activations between blocks only, and compute the rest again.")
    average: float = option(0.0, "Weight of the past in a moving average of the weights; 0: none is kept.",
                            at_least=0, at_most=1)  # fmt: skip
    seed: int = option(0, "Of weights, order and draws.", at_least=0)
    held_out: float = option(0.0, "Part of the clips that are only validated on.", at_least=0, at_most=0.9)
    validate_every: int = option(0, "Steps from validation to validation; 0: at the end only.", at_least=0)
    save_every: int = option(100, "Steps from checkpoint to checkpoint.", above=0)
    keep: int = option(2, "Checkpoints that are kept, the best besides.", above=0)
    tensorboard: bool = option(False, "Write the log for TensorBoard, too, to OUT/tensorboard.")

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        check_options(self)
        if self.codec_share + self.frames_share > 1:
            raise ConfigError(
                f"codec_share ({self.codec_share}) and frames_share ({self.frames_share}) must be at most 1 together"
            )
        if self.batch_size % self.accumulation:
            raise ConfigError(
                f"batch_size ({self.batch_size}) must be a multiple of accumulation ({self.accumulation})"
            )

    @property
    def concepts(self) -> ConceptOptions:
        """What of this the concept head takes."""
        from codecsieve.encoder.concept_head import ConceptOptions  # torch, which the options do without

        return ConceptOptions(self.drawn, self.concept_rate, self.margin, self.filter, self.scale, self.co_labels)

    @property
    def needs_frames(self) -> bool:
        """Whether some of the clips are whole frames, or collages of them."""
        return self.codec_share < 1


@dataclass(frozen=True)
class HeadConfig:
    """A further head: pictures with a bank of their own, over the same encoder. Raises ConfigError.

    One of cache, tars is given. Labels are those of `concepts`, by id; of a file's longer lists the first `labels`
    count, shorter ones are repeated from their beginning (arXiv 2602.08683 does so with words that stand in a picture).
    """

    name: str
    cache: str = option("", "Cache of clips of one slot, whole frames.")
    tars: str = option("", "WebDataset tars, such as shards/{000..063}.tar or shards/*.tar.")
    concepts: str = option("", "Their concepts: a folder, or a Parquet file of id and labels.")
    classes: int = option(0, "Of such a file: how many there are.", at_least=0)
    labels: int = option(100, "Of such a file: how many a picture has.", above=0)
    batch_size: int = option(32, "Pictures of a step, over all processes.", above=0)
    weight: float = option(1.0, "Of its loss.", above=0)
    drawn: int = option(8, "Labels of a picture that count in a step.", above=0)
    size: int = option(224, "Pixels of a picture's side, as the encoder gets it.", above=0)
    augment: str = option("crop", "A crop at random, mirrored or not; or the middle.", choices=AUGMENTS)

    def __post_init__(self) -> None:
        """Check every value against its rule."""
        if not _HEAD.fullmatch(self.name) or self.name == CLIPS:
            raise ConfigError(f"head ({quoted(self.name)}) must be a name of letters, digits and _, and not {CLIPS}")
        try:
            check_options(self)
        except ConfigError as error:
            raise ConfigError(f"head {self.name}: {error}") from None
        if bool(self.cache) == bool(self.tars) or not self.concepts:
            raise ConfigError(f"head {self.name} must have concepts, and one of cache and tars")

    @property
    def is_file(self) -> bool:
        """Whether labels are a Parquet file's."""
        return self.concepts.endswith(".parquet")


@dataclass(frozen=True)
class TrainRun:
    """What is trained on, and where things go.

    cache: of codec-selected patches, a folder or an object store's URL; concepts: the folder that `codecsieve concepts`
    made of its clips; out: for checkpoints and the log; frames_cache: of whole frames of the same clips (`--policy
    sampling`), where the config has shares of them; heads: of pictures, besides or instead; init: weights to begin
    with, a folder or hub id; None: untrained ones; cache_shards, cache_size: a folder for copies of a store's shards,
    and its bytes, see `open_cache`.
    Raises ConfigError where there is nothing to train on.
    """

    cache: Path | str | None
    concepts: Path | None
    out: Path
    frames_cache: Path | str | None = None
    heads: tuple[HeadConfig, ...] = ()
    init: str | None = None
    cache_shards: Path | None = None
    cache_size: int | str = "50 GB"

    def __post_init__(self) -> None:
        """Check that the fields go together."""
        if (self.cache is None) != (self.concepts is None):
            missing = "cache" if self.cache is None else "concepts"
            raise ConfigError(f"{missing} must be given, here or in the TOML file")
        if self.cache is None and not self.heads:
            raise ConfigError("cache and concepts must be given, here or in the TOML file, or a head")
        names = [head.name for head in self.heads]
        if len(set(names)) < len(names):
            raise ConfigError(f"heads ({', '.join(names)}) must have names of their own")


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file: fields of `TrainRun` and `TrainConfig`, heads read. Raises ConfigError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read as TOML ({reason}); check the path and the file") from error
    heads = values.pop("heads", None)
    for name, value in values.items():
        if isinstance(value, dict):
            raise ConfigError(f"{path}: [{name}] must not be; options stand at the top, heads in [heads.NAME]")
    check_names(str(path), values, TrainRun, TrainConfig)
    if heads is None:
        return values
    if not isinstance(heads, dict) or not all(isinstance(head, dict) for head in heads.values()):
        raise ConfigError(f"{path}: heads must be tables, such as [heads.images]")
    return values | {"heads": tuple(head_of(name, options, str(path)) for name, options in heads.items())}


def read_heads(given: Iterable[str]) -> tuple[HeadConfig, ...]:
    """Heads as the command line has them: `images:cache=images,concepts=bank,batch_size=16`. Raises ConfigError."""
    heads = []
    for text in given:
        name, _, rest = text.partition(":")
        pairs = dict(part.partition("=")[::2] for part in re.split(r",(?=[a-z_]+=)", rest) if part)
        heads.append(head_of(name, pairs, "--head"))
    return tuple(heads)


def head_of(name: str, options: Mapping[str, Any], said: str) -> HeadConfig:
    """A head of plain values, or of their text. Raises ConfigError."""
    check_names(f"{said}: head {name}", options, HeadConfig)
    kinds = {field.name: kind_of(field) for field in dataclasses.fields(HeadConfig) if "rule" in field.metadata}
    values: dict[str, Any] = {}
    for option_name, value in options.items():
        kind = {"int": int, "float": float}.get(kinds.get(option_name, "str"))
        try:
            values[option_name] = kind(value) if kind and isinstance(value, str) else value
        except ValueError:
            raise ConfigError(f"head {name}: {option_name} ({quoted(value)}) must be a number") from None
    return HeadConfig(name, **values)
