"""A service of codecsieve, asked from Python: `Client`, and what it gives back.

It needs numpy, httpx and websockets (`pip install 'codecsieve[client]'`); neither torch, nor the codec, nor the server
is imported. What a service is, and how one is started, is said in docs/service.md.
"""

from __future__ import annotations

from codecsieve.client.caches import RemoteCache
from codecsieve.client.client import Client, Readiness
from codecsieve.client.files import RemoteFile
from codecsieve.client.jobs import JobState, RemoteJob
from codecsieve.client.streams import RemoteStream, RemoteWindow
from codecsieve.client.tokens import Embedded, SievedTokens

__all__ = [
    "Client",
    "Embedded",
    "JobState",
    "Readiness",
    "RemoteCache",
    "RemoteFile",
    "RemoteJob",
    "RemoteStream",
    "RemoteWindow",
    "SievedTokens",
]
