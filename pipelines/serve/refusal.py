"""What a request is answered that cannot be done: a status, and one line that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Mapping

from codecsieve.errors import CodecsieveError


class RefusedError(CodecsieveError):
    """status: as HTTP has it; headers: to be sent besides."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})
