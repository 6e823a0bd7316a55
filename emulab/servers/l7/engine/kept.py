"""What a proxy remembers from one request to the next, whatever becomes of its configuration meanwhile. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from hashlib import blake2b

from emulab.servers.l7.engine.limits import ConnectionZone, RequestZone
from emulab.servers.l7.engine.questions import ServiceAnswer

PASSWORDS_MAX = 4096
ANSWERS_MAX = 4096


class EngineMemory:
    """Counts of clients by zone, passwords that were looked at, answers of authentication services."""

    def __init__(self, secret: bytes = b"") -> None:
        """`secret` is nobody's but this process': passwords are remembered by a digest that is of no use without it."""
        self._secret = secret
        self._requests: dict[str, RequestZone] = {}
        self._connections: dict[str, ConnectionZone] = {}
        self._passwords: OrderedDict[bytes, bool] = OrderedDict()
        self._answers: OrderedDict[str, tuple[float, ServiceAnswer]] = OrderedDict()

    def request_zone(self, name: str) -> RequestZone:
        """The zone of this name, of requests."""
        zone = self._requests.get(name)
        if zone is None:
            zone = self._requests[name] = RequestZone()
        return zone

    def connection_zone(self, name: str) -> ConnectionZone:
        """The zone of this name, of requests under way."""
        zone = self._connections.get(name)
        if zone is None:
            zone = self._connections[name] = ConnectionZone()
        return zone

    def forget_zones(self, used: Collection[str]) -> None:
        """The configuration has these zones: of no others anything is remembered."""
        self._requests = {name: zone for name, zone in self._requests.items() if name in used}
        self._connections = {name: zone for name, zone in self._connections.items() if name in used}

    def password(self, password: bytes, known: str) -> bool | None:
        """Whether a password is that of a hash, if it was looked at."""
        return self._passwords.get(self._digest(password, known))

    def keep_password(self, password: bytes, known: str, right: bool) -> None:
        """A password was looked at."""
        if len(self._passwords) >= PASSWORDS_MAX:
            self._passwords.popitem(last=False)
        self._passwords[self._digest(password, known)] = right

    def _digest(self, password: bytes, known: str) -> bytes:
        return blake2b(known.encode() + b"\0" + password, key=self._secret, digest_size=24).digest()

    def told(self, key: str, now: float) -> ServiceAnswer | None:
        """The answer of a service that is kept under a key."""
        until, told = self._answers.get(key, (now, None))
        return told if until > now else None

    def keep_told(self, key: str, told: ServiceAnswer, until: float) -> None:
        """Keeps an answer."""
        if len(self._answers) >= ANSWERS_MAX:
            self._answers.popitem(last=False)
        self._answers[key] = (until, told)
