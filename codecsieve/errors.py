"""What can go wrong on purpose: one base class and its few kinds, so that a caller catches what it means.

A message is one line that a user can act on: it names the file or the value, what is wrong with it, and what to do. It
is what the command line prints, and what the index records of a clip that failed. Each kind is also the built-in error
that it is most like. What becomes of an error is left to whoever catches it.
"""

from __future__ import annotations

from codecsieve.text import one_line, printable


class CodecsieveError(Exception):
    """Whatever codecsieve raises on purpose. Its message is one printable line, whatever is put into it."""

    def __init__(self, message: str = "") -> None:
        """The message is bounded, too; line breaks in it, of a file's name say, are written out."""
        super().__init__(one_line(printable(message)))


class ConfigError(CodecsieveError, ValueError):
    """An option that cannot work: one line with its value and the rule."""


class OptionError(CodecsieveError, TypeError):
    """An option that there is not: one line that names the one that was probably meant."""


class ManifestError(CodecsieveError, ValueError):
    """The inputs cannot be understood: one line with the file, the line, and the rule it breaks."""


class VideoError(CodecsieveError, ValueError):
    """A video that cannot be used: one line with the path, what is wrong and what to do."""


class CacheError(CodecsieveError):
    """A cache cannot be made, written or read; the message is one line a user can act on."""


class EncoderError(CodecsieveError, ValueError):
    """A configuration, a checkpoint or an input that the encoder cannot use; the message is one line."""


class WorkerError(CodecsieveError, RuntimeError):
    """Worker processes cannot be started at all; the message is one line that says why."""


class TrainingError(CodecsieveError, ArithmeticError):
    """A training whose numbers are none any more: one line with the step and its clips."""


class ServiceError(CodecsieveError):
    """A service refused, or gave no answer that can be used: its own line. status: as HTTP has it, 0 without one."""

    def __init__(self, message: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.status = status
