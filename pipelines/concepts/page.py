"""A page to browse a bank on: how its clusters are, and pictures of some; one file of HTML and its PNG files.

It runs nothing and asks nobody: no script, nothing from outside, so that it works where it lies. All text of outside
origin is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from codecsieve.cache import SparseCache
from codecsieve.cache.concepts import PAGE, SHEETS, Concepts
from codecsieve.files import make_folder, publish, remove_all
from codecsieve.mosaic import png_of
from codecsieve.text import shortened

from .sheets import Cluster, choose_clusters, cluster_sizes, draw_sheet, look_at

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1d23; --faint: #666b78; --line: #e1e3e9; --bar: #3b6fd4; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181e; --ink: #e8eaf0; --faint: #9aa0af; --line: #2c303a; --bar: #7aa2f0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 16px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 22px; margin: 8px 0 2px; } h2 { font-size: 16px; margin: 0 0 2px; }
p { margin: 0 0 8px; color: var(--faint); } a { color: var(--bar); }
table { border-collapse: collapse; margin: 12px 0; } td, th { padding: 2px 16px 2px 0; text-align: left;
  font-weight: normal; vertical-align: top; } th { color: var(--faint); }
.sizes td:last-child { width: 50%; min-width: 90px; }
.sizes th { overflow-wrap: normal; }
.bar { display: block; height: 10px; background: var(--bar); border-radius: 2px; }
main { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
article { border: 1px solid var(--line); border-radius: 8px; padding: 12px; min-width: 0; }
img { display: block; max-width: 100%; height: auto; border-radius: 4px; }
ol { margin: 8px 0 0; padding-left: 22px; font-size: 13px; color: var(--faint); } li { margin-bottom: 2px; }
code { color: var(--ink); font-size: 12px; }
"""
_WORDS = {
    "clips": "clips",
    "centres": "centres",
    "dims": "numbers of a centre",
    "empty": "centres that are nearest to no clip",
    "duplicate_centres": "centres that are as good as another one",
    "duplicate_clips": "clips with the same feature as one before",
    "same_labels": "clips with the same labels as one before",
    "collisions": "clips whose labels are nearly one",
    "largest": "clips of the largest cluster",
    "mean_cosine": "mean cosine with the nearest centre",
}
_OF_CENTRES = ("empty", "duplicate_centres")
_OF_CLIPS = ("duplicate_clips", "same_labels", "collisions", "largest")


def facts_of(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was counted, in words, with shares."""
    facts = []
    for name, words in _WORDS.items():
        if name not in counts:
            continue
        value = counts[name]
        whole = counts.get("centres") if name in _OF_CENTRES else counts.get("clips") if name in _OF_CLIPS else None
        share = f" ({value / whole:.1%})" if whole else ""
        facts.append((words, f"{value:,}{share}" if isinstance(value, int) else f"{value:.3f}"))
    return facts


def write_page(
    concepts: Concepts, cache: SparseCache, pictures: int, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write the page of a bank into its folder, in place of one that is there; its path.

    cache: whose clips the bank has; pictures: clusters that are drawn; progress: of these. Raises CacheError where a
    clip is damaged, or the folder cannot be written.
    """
    chosen, report = choose_clusters(concepts, pictures), progress or (lambda done, total: None)
    folder = concepts.folder / SHEETS
    make_folder(folder)
    clusters = look_at(concepts, cache, chosen)
    drawn = [cluster for cluster in clusters if cluster.members]
    report(0, len(drawn))
    for done, cluster in enumerate(drawn, 1):
        publish(concepts.folder / _sheet(cluster), [png_of(draw_sheet(cache, cluster))])
        report(done, len(drawn))
    publish(concepts.folder / PAGE, [page_of(concepts, clusters).encode("utf-8", "backslashreplace")])
    kept = {concepts.folder / _sheet(cluster) for cluster in drawn}
    remove_all([path for path in folder.glob("*.png") if path not in kept])
    return concepts.folder / PAGE


def page_of(concepts: Concepts, clusters: Iterable[Cluster]) -> str:
    """The page as text."""
    described = concepts.described
    counts = described.get("counts")
    facts = facts_of(counts) if isinstance(counts, Mapping) else [("clips", f"{len(concepts.ids):,}")]
    facts += [(name, str(described[name])) for name in ("encoder", "metric", "cache") if name in described]
    rows = "".join(f"<tr><th>{_safe(name)}</th><td>{_safe(value)}</td></tr>" for name, value in facts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' file:; "
        "style-src 'unsafe-inline'\">"
        f"<title>Concepts of {len(concepts.ids):,} clips</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>Concepts</h1><p>{len(concepts.ids):,} clips, each with its {concepts.labels.shape[1]} nearest of "
        f"{concepts.classes:,} centres</p>\n<table>{rows}</table>\n{_size_table(concepts)}\n"
        f"<main>\n{''.join(map(_article, clusters))}</main>\n</body></html>\n"
    )


def _article(cluster: Cluster) -> str:
    facts = [f"{cluster.size:,} clips"]
    facts += [] if cluster.cosine is None else [f"mean cosine {cluster.cosine:.3f}"]
    facts += [f"{count:,} labelled {shortened(label, 48)}" for label, count in cluster.labels]
    items = []
    for member in cluster.members:
        said = [Path(member.uri).name, member.label, None if member.cosine is None else f"{member.cosine:.3f}"]
        told = " · ".join(_safe(part) for part in said if part)
        items.append(f"<li><code>{_safe(member.id, 64)}</code> {told}</li>")
    number, sheet = cluster.number, _sheet(cluster)
    picture = (
        f'<a href="{sheet}"><img src="{sheet}" loading="lazy" alt="Patches kept of the clips nearest to centre '
        f'{number}, a row each"></a>'
    )
    return (
        f'<article id="cluster-{number}"><h2>Cluster {number:,}</h2><p>{_safe(" · ".join(facts))}</p>'
        f"{picture if items else ''}<ol>{''.join(items)}</ol></article>\n"
    )


def _size_table(concepts: Concepts) -> str:
    """How many clusters are of which size, in doubling steps."""
    sizes = cluster_sizes(concepts)
    steps = np.where(sizes > 0, np.floor(np.log2(np.maximum(sizes, 1))).astype(int) + 1, 0)
    counted = np.bincount(steps)
    rows = []
    for step, count in enumerate(counted):
        least, most = (1 << step) >> 1, (1 << step) - 1
        size = f"{least:,}" if least == most else f"{least:,}-{most:,}"
        width = 100 * count / counted.max()
        rows.append(f'<tr><th>{size}</th><td>{count:,}</td><td><span class="bar" style="width:{width:.1f}%"></span>')
    head = "<tr><th>clips of a cluster</th><th>clusters</th><th></th></tr>"
    return f'<table class="sizes">{head}{"</td></tr>".join(rows)}</td></tr></table>'


def _sheet(cluster: Cluster) -> str:
    """Its picture, relative to the bank's folder."""
    return f"{SHEETS}/cluster-{cluster.number:06}.png"


def _safe(text: str, limit: int = 120) -> str:
    return html.escape(shortened(text, limit))
