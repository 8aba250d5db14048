"""The command `verify`: every file and every clip of a cache against its checksums, and repairing what can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from codecsieve.cache import Verified


_NOTES = """
In the table the clips that were planned are whole, damaged, failed or not in the index; each thing that is wrong is a
line below, which may be about many clips. Exit status: 0 nothing is wrong, and all that was planned was made, or failed
and is listed as such by `codecsieve info CACHE --failed`; 1 something is wrong or missing, repaired or not.

\b
Example:
  codecsieve verify cache
  codecsieve verify cache --repair && codecsieve precompute train.csv --out cache
"""


@click.command(epilog=_NOTES)
@click.argument("cache")
@click.option("--repair", is_flag=True, help="Put what is damaged back to be made, and mend what the rest tells.")
@click.option("--json", "as_json", is_flag=True, help="The outcome as JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Show nothing but what is wrong.")
def verify(cache: str, repair: bool, as_json: bool, quiet: bool) -> None:
    """Check a cache: its metadata, its index, and every clip's bytes.

    With --repair the index no longer lists what cannot be read, and the next precompute with the same inputs makes
    it again. A lost plan and the arrays' metadata are written anew.
    """
    from codecsieve.cache import repair_cache, verify_cache
    from codecsieve.commands.console import Meter, say_json

    with Meter("clips", quiet or as_json) as meter:
        show = repair_cache if repair else verify_cache
        found = show(cache, progress=lambda done, total: meter.update(done, total, 0))
    if as_json:
        say_json({**outcome_of(found), "repaired": repair and bool(found.damages)})
    else:
        print_outcome(found, cache, repair, quiet)
    if not found.complete:
        click.get_current_context().exit(1)


def outcome_of(found: Verified) -> dict[str, Any]:
    """What was found, as plain JSON."""
    return {
        "planned": found.planned,
        "whole": found.whole,
        "damaged": found.damaged,
        "failed": found.failed,
        "missing": list(found.missing),
        "damages": [damage.what for damage in found.damages],
        "lost": [clip_id for damage in found.damages for clip_id in damage.lost],
        "dropping": list(found.dropping),
    }


def print_outcome(found: Verified, cache: str, repaired: bool, quiet: bool) -> None:
    """What was found: figures on standard output, one line for each thing that is wrong on standard error."""
    from codecsieve.commands.console import print_facts, print_listed, tell

    facts: list[tuple[str, object]] = [
        ("planned", "unknown" if found.planned is None else found.planned),
        ("whole", found.whole),
        ("damaged", found.damaged),
        ("failed", found.failed),
        ("not in the index", len(found.missing)),
        ("things that are wrong", len(found.damages)),
    ]
    if not quiet:
        print_facts(f"Cache {cache}", facts)
    print_listed("damaged", [damage.what for damage in found.damages], f"codecsieve verify {cache} --json")
    print_listed("missing", list(found.missing), f"codecsieve verify {cache} --json")
    if found.dropping:
        tell(f"a drop of {len(found.dropping)} clips was cut off: finish it with codecsieve drop {cache}")
    if found.damages and repaired:
        tell("repaired: run precompute with the same inputs to make what is missing")
    elif found.damages:
        tell(f"to put it right: codecsieve verify {cache} --repair, then the same precompute")
    elif found.missing:
        tell("to make what is missing: run precompute with the same inputs")
