"""The command `stream`: a source without an end, as a line of JSON a window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codecsieve.commands.options import options_of, take
from codecsieve.options import declared
from codecsieve.pipelines.config import DEFAULT_PRESET, PRESETS, Preset, SieveConfig
from codecsieve.pipelines.stream.config import REFUSED, StreamOptions

if TYPE_CHECKING:
    from codecsieve.pipelines.stream.windows import StreamWindow

_NOTES = """
A line has the window's number, the times and numbers of its first and last frame, how many patches each slot keeps, and
notes: what was damaged, or changed. Exit status: 0 the source has ended, 1 it cannot be used, fell silent or broke off,
2 the options make no sense, 130 interrupted.

\b
Example:
  ffmpeg -i rtsp://camera/1 -c copy -f mpegts - | codecsieve stream - --out windows
  codecsieve stream growing.mkv --follow --window 32 --stride 8 --k-keep 512
"""


@click.command(epilog=_NOTES)
@click.argument("source")
@click.option("--out", metavar="FOLDER", help="Where each window's patches are kept, as 00000000.npz and so on.")
@click.option("--preset", metavar="|".join(PRESETS), default=DEFAULT_PRESET, show_default=True,
              help="Options by one name; others given here go before it.")  # fmt: skip
@options_of(StreamOptions)
@options_of(SieveConfig, [field.name for field in declared(SieveConfig) if field.name not in REFUSED],
            defaults=PRESETS[DEFAULT_PRESET])  # fmt: skip
@click.option("--quiet", is_flag=True, help="Do not tell, at the end, how much there was.")
def stream(source: str, out: str | None, preset: Preset, quiet: bool, **options: Any) -> None:
    """Sieve a source for as long as it comes, window by window.

    SOURCE is a video, a FIFO, "-" for standard input, a file that grows (--follow), or an address: rtsp://, http://,
    https://, tcp:// or udp://. Each window's selection is printed as soon as its last frame has come; windows overlap,
    and what they share is computed once.
    """
    from codecsieve.commands.console import say, tell
    from codecsieve.files import make_folder
    from codecsieve.pipelines.stream.config import window_config
    from codecsieve.pipelines.stream.stream import Stream

    sliding = StreamOptions(**take(options, StreamOptions))
    config = window_config(sliding, preset, take(options, SieveConfig))
    folder = None if out is None else Path(out)
    if folder is not None:
        make_folder(folder)
    with Stream(source, config, sliding, pixels=folder is not None) as windows:
        try:
            for window in windows:
                told = facts_of(window)
                if folder is not None:
                    told["file"] = save(window, folder).name
                say(json.dumps(told))
        finally:
            if not quiet:
                beyond = windows.frames - windows.covered
                rest = f"; the last {beyond} frames are in none" if beyond else ""
                tell(f"{windows.frames} frames, {windows.windows} windows{rest}")


def facts_of(window: StreamWindow) -> dict[str, Any]:
    """What a line says of a window."""
    import numpy as np

    kept, ends = window.selection, window.times[[0, -1]].tolist()
    slots = np.bincount(kept.indices // kept.slot_scores[0].size, minlength=len(kept.frame_ids))
    return {
        "window": window.number,
        "times": [None if time != time else time for time in ends],
        "frames": kept.frame_ids[[0, -1]].tolist(),
        "kept": slots.tolist(),
        "signals": kept.signals,
        "notes": list(window.notes),
    }


def save(window: StreamWindow, folder: Path) -> Path:
    """Write a window's arrays; the file."""
    import numpy as np

    from codecsieve.files import publishing

    kept, path = window.selection, folder / f"{window.number:08d}.npz"
    with publishing(path) as file:
        np.savez(
            file,
            allow_pickle=False,
            patches=kept.patches,
            positions=kept.positions,
            scores=kept.scores,
            frame_ids=kept.frame_ids,
            times=window.times,
        )
    return path
