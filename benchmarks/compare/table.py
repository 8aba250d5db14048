"""The comparison as tables: on a terminal, and as the part of a document that is made of the result.

A figure that there is not is said to be missing, with the reason; no row is ever left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import show
from codecsieve.text import shortened

BEGIN, END = "<!-- figures: python -m benchmarks.compare.run --publish -->", "<!-- end of the figures -->"
PICTURE = "![Speed, processor time and accuracy](compare.png)"
STATES = {"ok": "yes", "nothing": "no motion", "refused": "refused", "crashed": "crashed", "hung": "hung"}
"""What a cell of the table of videos says."""
SHOWN_REASON = 90

Table = tuple[Sequence[str], list[list[str]]]
"""Columns and rows."""


def summary(figures: Mapping[str, Any]) -> Table:
    """A row a tool: how fast, how much memory, how many videos, how many wrong frames, how many bytes."""
    columns = (
        "tool", "clips/s", "processor s a clip", "peak MB a process", "videos taken", "wrong frames", "MB a clip",
    )  # fmt: skip
    rows = []
    for name, tool in figures["tools"].items():
        speed = tool["speed"]
        own = [video["tools"][name] for video in figures["videos"]]
        reason = next((row for row in own if isinstance(row, str)), None)
        if reason is not None:
            rows.append([name, f"not measured: {reason}", "", "", "", "", ""])
            continue
        taken = sum(row["state"] == "ok" for row in own)
        if isinstance(speed, str):
            measured = [f"not measured: {speed}", "", "", ""]
        else:
            keys = ("clips a second", "processor seconds a clip", "peak MB", "MB a clip")
            measured = [figure(speed[key]) for key in keys]
        rows.append([name, *measured[:3], f"{taken} of {len(own)}", wrong_of(own), measured[3]])
    return columns, rows


def wrong_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Wrong frames of those shown."""
    held = [row for row in rows if row["frames"] is not None]
    if not held:
        return "shows none"
    wrong, frames = (sum(row[key] for row in held) for key in ("wrong", "frames"))
    videos = sum(row["wrong"] > 0 for row in held)
    return f"{wrong:,} of {frames:,}" + (f" ({videos} video{'s' * (videos > 1)})" if videos else "")


def figure(value: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def by_video(figures: Mapping[str, Any]) -> Table:
    """A row a video: whether each tool takes it, and how many of the frames shown are wrong."""
    names = list(figures["tools"])
    rows = [
        [video["video"], video["codec"], *(_cell(video["tools"][name]) for name in names)]
        for video in figures["videos"]
    ]
    return ("video", "codec", *names), rows


def _cell(row: Mapping[str, Any] | str) -> str:
    if isinstance(row, str):
        return "not measured"
    said = STATES[row["state"]]
    return f"{said}, {row['wrong']} of {row['frames']} wrong" if row["wrong"] else said


def reasons(figures: Mapping[str, Any]) -> Table:
    """A row for each reason that a tool has for not taking videos, and of how many."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for video in figures["videos"]:
        for name, row in video["tools"].items():
            if isinstance(row, str):
                counted[name, "not measured", row] += 1
            elif row["state"] != "ok":
                reason = row["reason"].replace(video["video"], "VIDEO")
                counted[name, STATES[row["state"]], shortened(reason, SHOWN_REASON)] += 1
    return ("tool", "what", "videos", "says"), [[*key[:2], str(count), key[2]] for key, count in counted.items()]


def accuracy(figures: Mapping[str, Any]) -> Table:
    """A row for each way of choosing, best first: accuracy at each budget, and how far below `contrast`."""
    judged = figures["accuracy"]["rows"]
    budgets = sorted({row["budget"] for row in judged if "budget" in row})
    found = {(row["name"], row.get("budget")): row for row in judged}
    names = list(dict.fromkeys(row["name"] for row in judged if "budget" in row))
    names.sort(key=lambda name: -sum(found[name, budget]["accuracy"] for budget in budgets))
    rows = []
    for name in names:
        own = [found[name, budget] for budget in budgets]
        rows.append([name, *(f"{100 * row['accuracy']:.1f}" for row in own), *(_points(row) for row in own)])
    empty = [""] * (2 * len(budgets) - 1)
    rows += [[row["name"], f"not measured: {row['reason']}", *empty] for row in judged if "budget" not in row]
    columns = (
        "way of choosing",
        *(f"{budget} tokens, %" for budget in budgets),
        *(f"contrast's lead ({budget})" for budget in budgets),
    )
    return columns, rows


def _points(row: Mapping[str, Any]) -> str:
    """A paired difference in points, in bold beyond two standard errors."""
    if "under contrast" not in row:
        return ""
    mean, error = (100 * value for value in row["under contrast"])
    text = f"{mean:+.1f} ± {error:.1f}"
    return f"**{text}**" if abs(mean) > 2 * error else text


def what_they_do(figures: Mapping[str, Any]) -> Table:
    """A row a tool: what it is asked to do with a clip, and where it comes from."""
    rows = [
        [name, tool["does"], ", ".join(f"`{package}`" for package in tool["packages"]) or "here"]
        for name, tool in figures["tools"].items()
    ]
    return ("tool", "what it does with a clip here", "packages"), rows


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """All of them, by their titles."""
    made = {
        "Tools": what_they_do(figures),
        "In short": summary(figures),
        "Videos": by_video(figures),
        "Why not": reasons(figures),
    }
    return made | ({"Accuracy at equal tokens": accuracy(figures)} if figures["accuracy"] else {})


def show_tables(figures: Mapping[str, Any]) -> None:
    """On a terminal."""
    for title, (columns, rows) in tables(figures).items():
        show(title, columns, rows)


def markdown(figures: Mapping[str, Any]) -> str:
    """As part of a document: what it was measured on, and every table under its title."""
    on, made = figures["machine"], tables(figures)
    minutes = sum(figures["seconds"].values()) / 60
    measured = [
        f"Measured {on['date']} on {on['cores']} cores of {on['processor']}, {figures['processes']} processes at once, "
        f"in {minutes:.0f} minutes, environments included.",
        f"Speed: {len(figures['speed clips'])} clips that all tools take: {', '.join(figures['speed clips'])}.",
    ]
    if figures["accuracy"]:
        measured += [f"Accuracy: {figures['accuracy']['clips']} clips of {figures['accuracy']['classes']} classes."]
    measured += ["All figures are in `benchmarks/results/compare.json`."]
    parts = [" ".join(measured)]
    for title, table in made.items():
        parts.append(f"## {title}\n\n{as_markdown(table)}")
    return "\n\n".join(parts)


def as_markdown(table: Table) -> str:
    """One table."""
    columns, rows = table
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def publish_in(document: Path, figures: Mapping[str, Any]) -> None:
    """Put picture and tables between the two marks of a document, in place of those that are there."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{PICTURE}\n\n{markdown(figures)}\n\n{END}{after}")
