"""Who asks, whether they may, and how often: keys, roles, and where there are no keys, this machine's own users.

Without keys a service is for this machine: it answers on loopback only, and only to requests that no other site's page
has made (by `Host`, `Origin` and `Sec-Fetch-Site`), unless it was started `--insecure`. One that has had keys stays
closed when the last is taken away.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from codecsieve.errors import ConfigError
from codecsieve.text import quoted

from .keys import ROLES, Keys
from .logs import LOGGER
from .refusal import RefusedError

_ASK = {"WWW-Authenticate": "Bearer"}
_WRONG_KEYS = 60
"""Requests with a key that is none, which one address may send in a minute."""
_REMEMBERED = 10_000
"""Keys, or addresses, whose last requests are counted at a time."""


@dataclass(frozen=True)
class Caller:
    """Who a request is from. name: of the key, "local" where there are none."""

    name: str
    roles: tuple[str, ...]


@dataclass
class Buckets:
    """What each of many may still send: so many a minute, refilled evenly. The longest silent are forgotten first."""

    rate: int
    _kept: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, name: str) -> int:
        """Count a request; 0, or the seconds that are to be waited before the next, and then it does not count."""
        now = time.monotonic()
        left, since = self._kept.pop(name, (float(self.rate), now))
        left = min(self.rate, left + (now - since) * self.rate / 60)
        wait = 0 if left >= 1 else max(1, round(60 * (1 - left) / self.rate))
        self._kept[name] = (left if wait else left - 1, now)
        while len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)
        return wait


@dataclass
class Access:
    """keys: of the data folder; rate: requests a minute and key; open: `--insecure`; local_only: whether nobody else
    can reach this service.
    """

    keys: Keys
    rate: int
    open: bool = False
    local_only: bool = True
    _keyed: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigError where the keys are damaged."""
        self._keyed = bool(self.keys.all())
        self._requests, self._wrong = Buckets(self.rate), Buckets(_WRONG_KEYS)

    def caller(self, request: HTTPConnection, *roles: str) -> Caller:
        """Who asks, and has one of some roles. Raises RefusedError 401 without a key that there is, 403 where it may
        not, 429 where too often, 503 where nobody can be known.
        """
        try:
            self.check_origin(request)
            caller = self._caller(request)
        except ConfigError as error:
            LOGGER.error("keys cannot be read", extra={"fields": {"reason": str(error)}})
            raise RefusedError(503, "the keys of this service cannot be read; ask whoever runs it") from None
        self._count(caller)
        if not set(roles) & set(caller.roles):
            raise RefusedError(
                403, f"key {caller.name} has the roles {', '.join(caller.roles)}; this needs {' or '.join(roles)}"
            )
        return caller

    def check_origin(self, request: HTTPConnection) -> None:
        """Raises RefusedError 403 for a request that another site's page has made, or that calls this another host."""
        host = request.headers.get("host", "")
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "none")
        if not self.open and not is_loopback(_split(host)[0]) and not self.keys.all():
            raise RefusedError(403, f"Host ({quoted(host)}) must be this machine's; start the service with keys, or "
                                    "--insecure, to have it reached under other names")  # fmt: skip
        if origin is not None and _split(origin.partition("://")[2])[1] != host.lower():
            raise RefusedError(403, f"Origin ({quoted(origin)}) must be this service's own page")
        if site not in ("none", "same-origin"):  # a picture, say, of which browsers tell no origin
            raise RefusedError(403, f"Sec-Fetch-Site ({quoted(site)}) must be same-origin: this service's own page")

    def _caller(self, request: HTTPConnection) -> Caller:
        listed = self.keys.all()
        self._keyed |= bool(listed)
        if not listed and (self._keyed or not (self.open or self.local_only)):
            raise RefusedError(401, "this service has no keys any more; `codecsieve serve keys add` makes one", _ASK)
        if not listed:
            return Caller("local", ROLES)
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise RefusedError(401, "Authorization must be `Bearer KEY`; `codecsieve serve keys add` makes one", _ASK)
        key = self.keys.find(secret.strip())
        if key is None:
            wait = self._wrong.take(_network(request.client.host if request.client else ""))
            if wait:
                raise RefusedError(429, f"too many keys came from there that are none; wait {wait} s",
                                   {"Retry-After": str(wait)})  # fmt: skip
            raise RefusedError(401, "there is no such key; ask whoever runs this service for one", _ASK)
        return Caller(key.name, key.roles)

    def _count(self, caller: Caller) -> None:
        wait = self._requests.take(caller.name)
        if wait:
            raise RefusedError(429, f"key {caller.name} may send {self.rate} requests a minute; wait {wait} s",
                               {"Retry-After": str(wait)})  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether an address that a service is to be bound to is this machine's own only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _split(host: str) -> tuple[str, str]:
    """The name in a `Host`, and that with its port, in lower case; both empty where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        return (parts.hostname or "").lower(), parts.netloc.lower()
    except ValueError:
        return "", ""


def _network(peer: str) -> str:
    """Whom an address is counted with: itself, or in IPv6 its /64, of which anybody has all addresses."""
    try:
        ip = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))
