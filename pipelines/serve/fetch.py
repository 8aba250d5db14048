"""A video that a URL names, fetched: from hosts that were allowed by name only, and from public addresses only.

The address is looked at when it is connected to, so that a name which leads to another one the second time gains
nothing; redirects are followed to allowed hosts only, each looked at anew; nothing is read from the environment.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpcore
import httpx

from codecsieve.options import in_units
from codecsieve.text import quoted, shortened

from .limits import Limits
from .receive import Upload, writing
from .refusal import RefusedError

_REDIRECTS = 3
Allowed = Callable[[str], bool]
"""Whether an address may be connected to."""


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet's: not private, loopback, link-local, multicast or reserved."""
    ip: Any = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    if mapped is not None:
        ip = mapped
    if getattr(ip, "teredo", None) is not None or ip in _NAT64:
        return False
    return bool(ip.is_global) and not (ip.is_multicast or ip.is_reserved or getattr(ip, "is_site_local", False))


_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")
"""Of networks' own translation to IPv4, which Python takes for public; the other prefix, 64:ff9b::/96, is reserved."""


class Fetcher:
    """hosts: that may be asked, none where URLs are not read; limits: of size and time; allowed: of addresses."""

    def __init__(self, hosts: Collection[str], limits: Limits, allowed: Allowed = is_public) -> None:
        self.hosts = frozenset(map(_plain_host, hosts))
        self._limits = limits
        pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False), network_backend=_Guarded(allowed), max_connections=16
        )
        transport = httpx.AsyncHTTPTransport(trust_env=False)
        transport._pool = pool  # httpx has no other way to say what connects
        self._client = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False,
                                         timeout=httpx.Timeout(limits.patience), cookies=_no_cookies())  # fmt: skip

    async def close(self) -> None:
        """Let connections go."""
        await self._client.aclose()

    @asynccontextmanager
    async def fetched(self, url: str, folder: Path) -> AsyncIterator[Upload]:
        """The file at a URL, in `folder` for as long as the block runs.

        Raises RefusedError: 403 for a URL that may not be asked, 413 where it is too large, 502 where it cannot be had.
        """
        path = folder / f"{uuid.uuid4().hex}.upload"
        try:
            nbytes = await self._fetch(self.check(url), path)
            yield Upload(path, f"{url.partition('?')[0]}", nbytes)
        finally:
            path.unlink(missing_ok=True)

    def check(self, text: str) -> httpx.URL:
        """A URL that may be asked. Raises RefusedError 403."""
        if not self.hosts:
            raise RefusedError(403, "URLs are not read here; upload the video, or start the service with --fetch-host")
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError, TypeError):
            raise RefusedError(403, f"url ({quoted(text)}) must be one") from None
        host = _plain_host(url.host)
        if url.scheme not in ("http", "https") or host not in self.hosts or url.userinfo:
            raise RefusedError(403, f"url ({quoted(text)}) must be http or https, without a password, and of a host "
                                    f"that was allowed: {', '.join(sorted(self.hosts))}")  # fmt: skip
        if url.port not in (None, 80, 443):
            raise RefusedError(403, f"url ({quoted(text)}) must be at the usual port")
        return url

    async def _fetch(self, url: httpx.URL, path: Path) -> int:
        for _ in range(_REDIRECTS + 1):
            try:
                async with self._client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
                    if answer.is_redirect:
                        url = self.check(str(url.join(answer.headers.get("location", ""))))
                        continue
                    if answer.status_code != 200:
                        raise RefusedError(502, f"url ({quoted(str(url))}): its host answered {answer.status_code}")
                    return await self._save(answer, url, path)
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                reason = shortened(str(error) or type(error).__name__)
                raise RefusedError(502, f"url ({quoted(str(url))}): cannot be fetched ({reason})") from None
        raise RefusedError(502, f"url ({quoted(str(url))}): leads on and on; give the last one")

    async def _save(self, answer: httpx.Response, url: httpx.URL, path: Path) -> int:
        nbytes, most = 0, self._limits.max_upload
        with writing(path) as file:
            async for chunk in answer.aiter_raw():
                nbytes += len(chunk)
                if nbytes > most:
                    raise RefusedError(413, f"url ({quoted(str(url))}): is over the {in_units(most)} that are taken")
                file.write(chunk)
        return nbytes


def _plain_host(host: str) -> str:
    """A host in one form: letters of any script as they are, in lower case, without a dot at its end."""
    try:
        return httpx.URL(scheme="http", host=host.rstrip(".")).host.lower()
    except (httpx.InvalidURL, ValueError):
        return host.lower()


def _no_cookies() -> CookieJar:
    """What one request is given is not sent with another's."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to addresses that are allowed, and to the very address that was looked at."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        wrong = [address for address in addresses if not self._allowed(address)]
        if wrong or not addresses:
            raise httpcore.ConnectError(f"{host} is not a public address")
        return await self._backend.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("sockets are not asked")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)
