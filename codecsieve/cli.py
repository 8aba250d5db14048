"""The command line: gathers the commands, one for each pipeline.

A command reads its options, calls its pipeline and shows the outcome; what it does is said where it is done.
Everything heavy is imported where it is used, so that help comes at once.
"""

from __future__ import annotations

import click

from codecsieve import __version__
from codecsieve.commands.caches import compact, drop, merge
from codecsieve.commands.concepts import concepts
from codecsieve.commands.demo import demo
from codecsieve.commands.export import export
from codecsieve.commands.group import Commands
from codecsieve.commands.import_ import import_
from codecsieve.commands.listing import label, list_
from codecsieve.commands.look import describe, info, inspect
from codecsieve.commands.precompute import precompute
from codecsieve.commands.probe import probe
from codecsieve.commands.serve import serve
from codecsieve.commands.stream import stream
from codecsieve.commands.train import train
from codecsieve.commands.transcode import transcode
from codecsieve.commands.verify import verify


@click.group(cls=Commands)
@click.version_option(__version__)
def main() -> None:
    """Videos in, sparse tokens out.

    Options may be spelled with dashes or underscores, in either case: --k-keep, --K_keep.
    """


COMMANDS = (
    *(precompute, info, list_, label, verify, merge, compact, drop, export, import_),
    *(inspect, describe, stream, transcode, probe, concepts, train, serve, demo),
)
for command in COMMANDS:
    main.add_command(command)
