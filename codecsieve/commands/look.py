"""The commands that look at something: `info` and `inspect` at a cache, `describe` at a video."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codecsieve.commands.group import OneLineError
from codecsieve.commands.listing import WHERE, clips_of
from codecsieve.commands.verify import verify
from codecsieve.errors import CacheError, ConfigError
from codecsieve.text import one_line, shortened

if TYPE_CHECKING:
    import pyarrow as pa

    from codecsieve.cache import SparseCache


_INFO_NOTES = """
With --failed there is one line a clip that is not in the cache: its id, then the error, which names the file.

\b
Example:
  codecsieve info cache --failed
  codecsieve info cache --where "label = 'run'"
"""

_INSPECT_NOTES = """
The picture's rows: the frames; what --policy sampling keeps for the same budget; the energy of every patch, bright
for much; the patches that were kept, in place. Below, a bar a slot: tokens kept by sampling, and of this clip.

\b
Example:
  codecsieve inspect cache 3f2a --out clip.png
"""

_DESCRIBE_NOTES = """
"packets for clip" counts what the decoder is given for the whole file: GOPs without a sample, and droppable
pictures that are not sampled, are never decoded.

\b
Example:
  codecsieve describe video.mp4
"""


@click.command(epilog=_INFO_NOTES)
@click.argument("cache")
@WHERE
@click.option("--failed", is_flag=True, help="List the clips that failed, and why.")
@click.option("--verify", "check", is_flag=True, help="Check every clip's bytes first, as `codecsieve verify` does.")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, for programs.")
def info(cache: str, where: str | None, failed: bool, check: bool, as_json: bool) -> None:
    """Tell what is in a cache.

    Clips are counted by codec and signals used; below stand the options that the cache was made with. "Not made" are
    those that were planned and that the index does not list: a run was cut off, or a part of the index is lost.
    """
    from codecsieve.cache import open_cache
    from codecsieve.commands.console import print_facts, say, say_json

    if check:
        click.get_current_context().invoke(verify, cache=cache, repair=False, as_json=False, quiet=True)
    opened = open_cache(cache)
    table = clips_of(opened, where)
    if failed:
        rows = [row for row in table.to_pylist() if row["status"] == "failed"]
        kept = [{name: row[name] for name in ("id", "uri", "label", "error")} for row in rows]
        if as_json:
            say_json(kept)
        for row in () if as_json else kept:
            say(f"{shortened(row['id'])}  {one_line(row['error'])}")
        return
    facts = _cache_facts(opened, table)
    if as_json:
        say_json(facts)
        return
    shown: list[tuple[str, object]] = [
        (name, "unknown" if value is None else value)
        for name, value in facts.items()
        if name not in ("kinds", "config")
    ]
    shown += [(f"  {kind}", count) for kind, count in facts["kinds"].items()]
    if check:
        shown.append(("verified", "every clip's bytes are right"))
    print_facts(f"Cache {cache}", shown)
    print_facts("Made with", list(facts["config"].items()))


def _cache_facts(cache: SparseCache, table: pa.Table) -> dict[str, Any]:
    from codecsieve.options import in_units

    rows = table.select(["status", "codec", "signals", "label", "frames"]).to_pylist()
    clips = [row for row in rows if row["status"] == "ok"]
    kinds = Counter(f"{row['codec']}, {row['signals']}" for row in clips)
    clip_bytes = cache.layout.clip_bytes
    return {
        "clips": len(clips),
        "failed": len(rows) - len(clips),
        "not made": _not_made(cache),
        "labels": len({row["label"] for row in clips} - {None}),
        "frames": sum(row["frames"] or 0 for row in clips),
        "size": in_units(len(clips) * clip_bytes),
        "size of a clip": in_units(clip_bytes),
        "kinds": dict(sorted(kinds.items())),
        "config": cache.config,
    }


def _not_made(cache: SparseCache) -> int | None:
    """Clips that were planned and that the index does not list; None where the plan is damaged, which is told."""
    from codecsieve.commands.console import tell

    try:
        return max(cache.planned - len(cache.index), 0)
    except CacheError as error:
        tell(str(error))
        return None


@click.command(epilog=_INSPECT_NOTES)
@click.argument("cache")
@click.argument("clip_id", metavar="CLIP")
@click.option("--out", required=True, metavar="PICTURE", help="File to write: .png a still, .gif or .mp4 animated.")
@click.option("--slots", type=click.IntRange(min=1), default=8, show_default=True, help="Slots a still shows.")
@click.option("--video", metavar="PATH", help="Where the video is now, if it has moved.")
def inspect(cache: str, clip_id: str, out: str, slots: int, video: str | None) -> None:
    """Draw what was kept of a clip.

    CLIP is an id, the beginning of one, or the name of a video's file. The video is decoded again for it.
    """
    import numpy as np

    from codecsieve.cache import open_cache
    from codecsieve.commands.console import say
    from codecsieve.pipelines.config import SieveConfig, check_sieved, options_in
    from codecsieve.pipelines.look.draw import draw_clip
    from codecsieve.pipelines.look.pictures import SUFFIXES, save_picture

    if Path(out).suffix.lower() not in SUFFIXES:
        raise OneLineError(f"{shortened(out)}: a picture's suffix must be one of {', '.join(SUFFIXES)}", 2)
    opened = open_cache(cache)
    check_sieved(opened.config, opened.location)
    record = find_record(opened, clip_id)
    path = _find_video(record, video)
    try:
        config = SieveConfig(**options_in(opened.config))
    except ConfigError as error:
        raise CacheError(f"cache {opened.location} was made with options that cannot be: {error}") from error
    drawn = draw_clip(path, config, record["start"], record["end"])
    if config.target_frames is None:  # else positions hold times, and several slots may have the same
        positions = opened[record["id"]].positions.astype(np.int64)
        drawn = dataclasses.replace(drawn, indices=np.ravel_multi_index(tuple(positions.T), drawn.scores.shape))
    save_picture(out, drawn, slots)
    say(f"{record['id']} ({path}): {out}")


def find_record(cache: SparseCache, name: str) -> dict[str, Any]:
    """The index's row of the one clip that a name means."""
    import pyarrow.compute as pc

    try:
        clip_id = cache.find(name)
    except KeyError as error:
        raise OneLineError(f"{error.args[0]}; see `codecsieve list {cache.location}`", 1) from None
    record: dict[str, Any] = cache.index.filter(pc.field("id") == clip_id).to_pylist()[0]
    return record


def _find_video(record: dict[str, Any], elsewhere: str | None) -> str:
    """The path of a clip's video, which must be the very file it was made from."""
    from codecsieve.pipelines.inputs.fingerprint import fingerprint
    from codecsieve.pipelines.inputs.request import path_of

    path = elsewhere or path_of(record["uri"])
    found = fingerprint(path)
    if not found:
        raise OneLineError(f"{shortened(path)}: no such file; say where the clip's video is now with --video PATH", 1)
    if found != record["fingerprint"]:
        raise OneLineError(
            f"{shortened(path)}: is not the video clip {shortened(record['id'])} was made from: its content differs", 1
        )
    return str(path)


@click.command(epilog=_DESCRIBE_NOTES)
@click.argument("video")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, for programs.")
def describe(video: str, as_json: bool) -> None:
    """Tell what a video offers: its codec, its GOPs, and which signals would be used and why."""
    from codecsieve.commands.console import print_facts, say_json
    from codecsieve.pipelines.look.describe import describe as look

    facts = dataclasses.asdict(look(video))
    if as_json:
        say_json(facts)
        return
    shown = {name.replace("_", " "): value for name, value in facts.items() if name != "path"}
    print_facts(Path(video).name, [(name, "unknown" if v is None else v) for name, v in shown.items()])
