"""The query fields of requests: the options of the sieve, as the command line has them, and what each request adds.

Made of the dataclass that declares the options, so that name, help and rule are said once; whether values are within
their rules is for the dataclass itself to say.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, create_model

from codecsieve.options import declared, kind_of
from codecsieve.pipelines.config import DEFAULT_PRESET, PRESETS, Preset, SieveConfig
from codecsieve.pipelines.stream.config import StreamOptions

_TYPES = {"int": int, "float": float, "str": str, "bool": bool}


class Fields(BaseModel):
    """No other fields."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Given(Fields):
    """Fields among which are the sieve's options, None where they are not given."""

    def given(self) -> dict[str, Any]:
        """The options of the sieve that are given."""
        values = {option.name: getattr(self, option.name) for option in declared(SieveConfig)}
        return {name: value for name, value in values.items() if value is not None}


def _options() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for option in declared(SieveConfig):
        kind = _TYPES[kind_of(option)]
        fields[option.name] = (
            kind | None,
            Field(None, description=f"{option.metadata['help']} Default: {option.default}"),
        )
    return fields


Options: Any = create_model("Options", __base__=Given, **_options())


class SieveFields(Options):
    """What of a clip is sieved, and how."""

    preset: Preset = Field(DEFAULT_PRESET, description=f"Options by one name: {', '.join(PRESETS)}.")
    start: float | None = Field(None, description="Seconds from the first frame.")
    end: float | None = Field(None, description="Seconds, exclusive.")

    def config(self) -> SieveConfig:
        """The configuration. Raises ConfigError."""
        return SieveConfig.preset(self.preset, **self.given())


class SieveQuery(SieveFields):
    """Of `POST /v1/sieve`."""

    format: str | None = Field(None, description="arrow, npz or safetensors, before Accept.")
    pixels: bool = Field(True, description="Whether patches are sent.")


class EmbedQuery(SieveFields):
    """Of `POST /v1/embed`."""

    format: str | None = Field(None, description="arrow, npz, safetensors; json where neither it nor Accept says.")
    tokens: bool = Field(False, description="Whether token states are sent, too.")


class StreamQuery(Options):
    """Of `/v1/stream`."""

    preset: Preset = Field(DEFAULT_PRESET, description=f"Options by one name: {', '.join(PRESETS)}.")
    path: str | None = Field(None, description="ROOT/sub/clip.ts; without one the video comes as messages.")
    window: int = Field(StreamOptions.window, description="Frames of a selection.")
    stride: int | None = Field(None, description="Frames from one window's first to the next one's.")
    every: int = Field(StreamOptions.every, description="Of the frames shown one in so many is taken.")
    fps: float | None = Field(None, description="Or so many a second, by their times.")
    follow: bool = Field(False, description="The file is still written to.")
    format: str = Field("npz", description="arrow, npz or safetensors.")
    pixels: bool = Field(True, description="Whether patches are sent.")

    def given(self) -> dict[str, Any]:
        """As of any, but for `fps`, which is the stream's own."""
        return {name: value for name, value in super().given().items() if name != "fps"}


class InspectQuery(SieveFields):
    """Of `POST /v1/inspect`."""

    format: Literal["png", "gif", "mp4"] = "png"
    slots: int = Field(8, ge=1, le=64, description="Slots that a still shows.")


class DescribeQuery(Fields):
    """Of `POST /v1/describe`."""

    num_frames: int = Field(SieveConfig.num_frames, ge=1, le=4096, description="Slots of the clip.")


class SelectionQuery(Fields):
    """Of a study's selection."""

    preset: str | None = None
    mv_compensate: str = SieveConfig.mv_compensate
    k_keep: int = SieveConfig.k_keep
    anchors: int = SieveConfig.anchors


class PageQuery(Fields):
    """A page of a long list."""

    where: str | None = Field(None, max_length=10_000, description="A condition in SQL, such as label = 'run'.")
    offset: int = Field(0, ge=0, le=2**31)
    limit: int = Field(100, ge=0, le=10_000)


class ListingQuery(Fields):
    """Which entries of a folder are listed."""

    folder: str = Field("", max_length=4096, description="Below the root: sub/folder.")
    begins: str = Field("", max_length=255, description="Only names that begin so; capitals count as small letters.")
    offset: int = Field(0, ge=0, le=2**31)
    limit: int = Field(100, ge=1, le=1000)


class JobsQuery(Fields):
    """Which jobs are listed."""

    state: Literal["queued", "running", "done", "failed", "cancelled"] | None = None
    offset: int = Field(0, ge=0, le=2**31)
    limit: int = Field(100, ge=1, le=100)


class JobBody(BaseModel):
    """What a job is to make."""

    model_config = ConfigDict(extra="forbid")

    cache: str = Field(description="ROOT:FOLDER, made or gone on with.")
    inputs: list[str] = Field(default=[], description="Videos, folders and manifests below a root: ROOT/sub/...")
    manifest: list[dict[str, str | int | float | bool | None]] = Field(
        default=[], description="Or rows: path (ROOT/...), and any of label, start, end, id and further columns."
    )
    manifest_text: str = Field(
        default="", description="Or those as a file has them, in CSV, TSV or JSON lines; paths are ROOT/..., here too."
    )
    columns: dict[str, str] = Field(default={}, description='What manifests call our columns: {"label": "action"}.')
    labels_from_folders: bool = False
    preset: Preset | None = Field(
        None,
        description="Options by one name. Default: those of the cache that is gone on with; of a new one, "
        f"{DEFAULT_PRESET}.",
    )
    options: dict[str, Any] = Field(default={}, description="Options of the sieve, by their names.")
    store: Literal["patches", "indices"] = "patches"
    device: str = "auto"
    retry_failed: bool = False
    prune: list[Literal["missing", "failed"]] = []


Sieving = Annotated[SieveQuery, Query()]
Embedding = Annotated[EmbedQuery, Query()]
Inspecting = Annotated[InspectQuery, Query()]
Describing = Annotated[DescribeQuery, Query()]
Studying = Annotated[SieveFields, Query()]
Selecting = Annotated[SelectionQuery, Query()]
Paging = Annotated[PageQuery, Query()]
Listing = Annotated[ListingQuery, Query()]
ListingJobs = Annotated[JobsQuery, Query()]
