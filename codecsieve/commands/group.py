"""How the commands behave as a group: what they raise, what is logged, signals, spellings.

What a pipeline raises on purpose becomes one line on standard error and an exit status: 1 something failed, 2
the command or its inputs cannot be understood, 130 interrupted. A defect keeps its traceback.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

import click

from codecsieve.errors import CodecsieveError, ConfigError, ManifestError, OptionError
from codecsieve.text import one_line, shortened


class OneLineError(click.ClickException):
    """What went wrong, as one line on standard error, and the exit status."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Make the message one printable line."""
        super().__init__(one_line(message))
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it once for all, but reads it here

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"codecsieve: {self.message}", file=file, err=file is None)


class Commands(click.Group):
    """The commands. Options may be spelled with dashes or underscores, in either case."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        """As of `click.Group`."""
        settings = {
            "help_option_names": ["-h", "--help"],
            "token_normalize_func": _either_spelling,
            "max_content_width": 100,
        }
        super().__init__(*args, context_settings=settings, **attributes)

    def make_context(self, *args: Any, **attributes: Any) -> click.Context:
        """As of `click.Group`."""
        with _short_complaints():
            return super().make_context(*args, **attributes)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named, and show what is logged. To be terminated is to be interrupted."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # where a terminal's encoding lacks a character, it is written out
                stream.reconfigure(errors="backslashreplace")
        with _short_complaints(), _logged_lines():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise OneLineError("interrupted; run the same command again to go on", 130) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            status = _exit_status(error)
            if status is None:
                raise
            raise OneLineError(_words(error), status) from error


@contextlib.contextmanager
def _short_complaints() -> Iterator[None]:
    """Make click's own errors, which repeat what was typed, printable lines."""
    try:
        yield
    except getattr(click.exceptions, "NoArgsIsHelpError", ()):  # of click 8.2 and later: a page, and no complaint
        raise
    except click.UsageError as error:
        error.message = shortened(error.message, 300)  # type: ignore[misc]  # as above
        raise


class _Lines(logging.Handler):
    """Shows each message as a line on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(one_line(self.format(record)), err=True)


@contextlib.contextmanager
def _logged_lines() -> Iterator[None]:
    lines, root = _Lines(logging.WARNING), logging.getLogger()
    root.addHandler(lines)
    try:
        yield
    finally:
        root.removeHandler(lines)


def _exit_status(error: Exception) -> int | None:
    if isinstance(error, ManifestError | ConfigError | OptionError):
        return 2
    return 1 if isinstance(error, CodecsieveError | OSError) else None


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{shortened(os.fsdecode(error.filename))}: {error.strerror}"
    return str(error)


def _either_spelling(token: str) -> str:
    """`--K_keep` is `--k-keep`."""
    return token.replace("_", "-").lower()
