"""Choosing clips by what is known of them: a condition in SQL, which DuckDB answers, or an expression of pyarrow's."""

from __future__ import annotations

import re
import threading

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from codecsieve.errors import ConfigError
from codecsieve.text import one_line, quoted, shortened

_LONGEST = 100_000
_SHUT: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",  # neither files nor the network, whatever a condition says
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "4GB",
    "max_temp_directory_size": "0B",
}
_PLACE = "__codecsieve_row"


def matching(table: pa.Table, condition: str | pc.Expression, seconds: float | None = None) -> pa.Table:
    """The rows of a table that meet a condition, in their order.

    condition: what SQL has after WHERE, such as `label = 'run' and fps > 25`, or a pyarrow expression; seconds: that
    an answer in SQL may take. Raises ConfigError where it cannot be answered: with DuckDB's reason, which names columns
    like those that are not there.
    """
    if isinstance(condition, str):
        return table.take(_answered(table, condition, seconds))
    try:
        return table.filter(condition)
    except (pa.ArrowException, TypeError) as error:
        raise ConfigError(f"where ({shortened(str(condition))}): {one_line(str(error))}") from error


def _answered(table: pa.Table, condition: str, seconds: float | None) -> pa.Array:
    if not condition.strip() or len(condition) > _LONGEST:
        raise ConfigError(f"where ({quoted(condition)}) must be a condition, such as: label = 'run' and fps > 25")
    numbered = table.append_column(_PLACE, pa.array(range(table.num_rows), pa.int64()))
    with duckdb.connect(":memory:", config=_SHUT) as database:
        database.execute("SET enable_progress_bar = false")
        database.execute("SET lock_configuration = true")
        end = threading.Timer(seconds or 0, database.interrupt)
        try:
            if seconds is not None:
                end.start()
            database.register("clips", numbered)
            # Read by itself, too: what closes a bracket that is not its own is no condition.
            database.table("clips").filter(condition)
            # On a line of its own, so that a comment at the end of the condition ends with it.
            found = database.execute(f"SELECT {_PLACE} FROM clips WHERE (\n{condition}\n) ORDER BY {_PLACE}")
            return pa.array([row for (row,) in found.fetchall()], pa.int64())
        except (duckdb.Error, pa.ArrowException, RuntimeError, ValueError) as error:
            reason = re.sub(rf'(, )?"{_PLACE}"', "", str(error).partition("\nLINE")[0])
            absent = re.search(r'Referenced column "([^"]+)" not found', reason)
            if absent:
                reason += f"; text stands in single quotes, '{absent[1]}'"
            if "syntax error" in reason or 'Referenced table "' in reason:
                reason += (
                    '; a column whose name has blanks or dots, or is a word of SQL such as "end", wants double quotes'
                )
            known = ", ".join(table.column_names)
            raise ConfigError(
                f"where ({quoted(condition)}): {one_line(reason)}; columns: {shortened(known, 400)}"
            ) from error
        finally:
            end.cancel()
