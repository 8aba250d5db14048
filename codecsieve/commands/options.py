"""The options of a selection, each by the name that it has in `SieveConfig`, for the commands that make one.

Their defaults are said in the help but left to `SieveConfig`: an option that is not given is None here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import click

_CONFIG_OPTIONS = [
    click.option("--num-frames", type=int, help="Frames sampled a clip.  [default: 64]"),
    click.option("--input-size", type=int, help="Side of the square the model sees, px.  [default: 224]"),
    click.option("--patch-size", type=int, help="Side of a patch, px.  [default: 14]"),
    click.option("--k-keep", type=int, help="Patches kept a clip.  [default: 2048]"),
    click.option(
        "--signals",
        metavar="auto|bitstream|search|difference",
        help="The codec's own motion and residual; block matching; what changed since the frame before; auto: the "
        "first where the file has it, else the second.  [default: auto]",
    ),
    click.option(
        "--mv-compensate",
        metavar="none|mean|median|similarity|affine",
        help="Camera motion that is taken out.  [default: median]",
    ),
    click.option("--center-prior", type=float, help="How much more the centre counts.  [default: 0.3]"),
    click.option("--center-sigma", type=float, help="Its width, of the short side.  [default: 0.35]"),
    click.option(
        "--fuse",
        metavar="weighted|max|sum|geomean",
        help="How motion and residual become one energy.  [default: weighted]",
    ),
    click.option("--w-mv", type=float, help="Weight of motion.  [default: 1]"),
    click.option("--w-res", type=float, help="Weight of residual.  [default: 1]"),
    click.option(
        "--static-fallback/--no-static-fallback",
        default=None,
        help="Keep whole slots of clips in which little happens.  [default: no]",
    ),
    click.option("--static-abs-thresh", type=float, help="Energy (0..255) of such clips.  [default: 126]"),
    click.option("--static-rel-thresh", type=float, help="Contrast of such clips.  [default: 0.38]"),
    click.option("--static-uniform-frames", type=int, help="Slots kept whole of them.  [default: 4]"),
    click.option("--anchors", type=int, help="Slots kept whole of every clip.  [default: 0]"),
    click.option(
        "--policy",
        metavar="saliency|sampling|random",
        help="What is kept: the highest scores; whole slots, uniformly spaced; any.  [default: saliency]",
    ),
]


def config_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options, in this order."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(_CONFIG_OPTIONS), command)
