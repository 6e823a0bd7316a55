"""The server that the client's cookie names, as ingress-nginx has it (rootfs/etc/nginx/lua/balancer/sticky.lua).

The cookie's value is `KEY|UPSTREAM`. In the balanced mode KEY is drawn, and hashes to a server on the ring of those
that there are, so that a server that comes takes over its share of clients; in the persistent mode it is a server's own
digest. UPSTREAM tells which of two upstreams, of a route and of its canary, gave the cookie.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import md5

from emulab.servers.l7.config import CookieAffinity
from emulab.servers.l7.engine.balance.ring import HashRing
from emulab.servers.l7.engine.balance.turn import Balancer, Turn
from emulab.servers.l7.engine.cookies import of_affinity
from emulab.servers.l7.engine.variables import field

DRAWS = 20
"""How often a key is drawn until it is one of a server that hasn't failed."""
KEYS = 1 << 32


class AffinityBalancer(Balancer):
    """By the client's cookie."""

    def __init__(self, wanted: CookieAffinity, name: str, servers: tuple[str, ...]) -> None:
        super().__init__(name, servers)
        self._wanted = wanted
        self._mark = digest(digest(name) + name)
        self._build()

    def _build(self) -> None:
        self._ring = HashRing(self.servers)
        self._by_digest = {digest(self.name + server): server for server in self.servers}

    def follow(self, servers: tuple[str, ...], now: float) -> None:
        self.servers = servers
        self._build()

    def pick(self, turn: Turn) -> str:
        key = self._cookie(turn)[0]
        known = self._find(key) if key else None
        if known is not None and not (turn.failed and self._wanted.change_on_failure):
            return known
        server, key = self._another(turn)
        if turn.route.policy.affinity_cookie:
            turn.lines.append(self._line(f"{key}|{self._mark}", turn))
        return server

    def owns(self, turn: Turn) -> bool:
        return self._cookie(turn)[1] == self._mark

    def _cookie(self, turn: Turn) -> tuple[str, str]:
        key, _, mark = (of_affinity(field(turn.asked, "cookie"), self._wanted.cookie) or "").partition("|")
        return key, mark

    def _find(self, key: str) -> str | None:
        return self._by_digest.get(key) if self._wanted.persistent else self._ring.find(key)

    def _another(self, turn: Turn) -> tuple[str, str]:
        """A server that hasn't failed this request, if there is one, and the key that leads to it."""
        if self._wanted.persistent:
            keys = [key for key, server in self._by_digest.items() if server not in turn.tried]
            keys = keys or list(self._by_digest)
            key = keys[turn.draw(len(keys))]
            return self._by_digest[key], key
        for _ in range(DRAWS):
            key = f"{turn.begun:.3f}.{turn.draw(KEYS)}"
            server = self._ring.find(key)
            if server not in turn.tried:
                break
        return server, key

    def _line(self, value: str, turn: Turn) -> bytes:
        """The field line that sets the cookie, its attributes in the order of lua-resty-cookie."""
        wanted = self._wanted
        parts = [f"{wanted.cookie}={value}"]
        if wanted.expires is not None:
            parts.append(f"Expires={expiry(turn.date(), wanted.expires)}")
        if wanted.max_age is not None:
            parts.append(f"Max-Age={wanted.max_age}")
        if wanted.domain:
            parts.append(f"Domain={wanted.domain}")
        parts.append(f"Path={wanted.path_of(turn.route.match.path)}")
        if wanted.secure or turn.asked.scheme == "https":
            parts.append("Secure")
        parts.append("HttpOnly")
        same_site = wanted.same_site
        if (
            same_site == "None"
            and wanted.unless_incompatible
            and not takes_none(field(turn.asked, "user-agent"))
        ):
            same_site = ""
        if same_site:
            parts.append(f"SameSite={same_site}")
        return f"Set-Cookie: {'; '.join(parts)}\r\n".encode("latin-1", "replace")


def digest(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def expiry(date: bytes, seconds: int) -> str:
    """A time so long after that of a Date line, as nginx writes it in cookies (`ngx_http_cookie_time`)."""
    now = datetime.strptime(date.decode()[6:].strip(), "%a, %d %b %Y %H:%M:%S GMT")
    try:
        then = now + timedelta(seconds=seconds)
    except OverflowError:
        then = datetime.max if seconds > 0 else datetime.min
    year = "%Y" if then.year > 2037 else "%y"
    return then.strftime(f"%a, %d-%b-{year} %H:%M:%S GMT")


def takes_none(agent: str) -> bool:
    """Whether a browser knows `SameSite=None` (rootfs/etc/nginx/lua/util/same_site.lua)."""
    if any(
        old in agent for old in ("Chrome/4", "Chrome/5", "Chrome/6", "CPU iPhone OS 12", "iPad; CPU OS 12")
    ):
        return False
    safari = all(word in agent for word in ("Macintosh", "Intel Mac OS X 10_14", "Safari"))
    return not (safari and "Chrome" not in agent)
