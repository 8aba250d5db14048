"""How the commands behave as a group: what they raise, signals, spellings.

What a pipeline raises on purpose becomes one line on standard error and an exit status: 1 something failed, 2
the command or its inputs cannot be understood, 130 interrupted. A defect keeps its traceback.
"""

from __future__ import annotations

import signal
import threading
from typing import IO, Any

import click

from codecsieve.errors import CacheError, ConfigError, ManifestError, VideoError, WorkerError


class OneLineError(click.ClickException):
    """What went wrong, as one line on standard error, and the exit status."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Fold the message into one line."""
        super().__init__(" ".join(message.split()))
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

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named. To be terminated is to be interrupted."""
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


def _exit_status(error: Exception) -> int | None:
    if isinstance(error, VideoError | CacheError | WorkerError | OSError):
        return 1
    return 2 if isinstance(error, ManifestError | ConfigError) else None


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _either_spelling(token: str) -> str:
    """`--K_keep` is `--k-keep`."""
    return token.replace("_", "-").lower()
