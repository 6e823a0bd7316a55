"""Filters that answer without an upstream, as nginx's `return` does."""

from __future__ import annotations

from emulab.dataclass import dataclass
from emulab.servers.configuration import Variant


@dataclass(frozen=True, slots=True)
class DirectResponse(Variant):
    """Whoever asks gets this answer: sent elsewhere with a `location`, or the body, or the page of the status."""

    status: int
    location: str = ""
    body: str = ""
    why: str = ""  # for records
    relative: bool = False  # whether a path is told as it is, without the scheme and host that were asked for
    plain: bool = False  # whether it is the controller's own, which says nothing of Strict-Transport-Security


@dataclass(frozen=True, slots=True)
class RootRedirect(Variant):
    """Who asks for `/` is sent to this path of the same host."""

    path: str


@dataclass(frozen=True, slots=True)
class HostRedirect(Variant):
    """Whoever asks is sent to another host, with the same target but for a slash at its end."""

    host: str
    status: int = 308
    trusts_front: bool = False  # whether X-Forwarded-Proto and -Port are believed about scheme and port


@dataclass(frozen=True, slots=True)
class CORS(Variant):
    """Cross-origin requests are allowed from origins, of which each may have one `*`; a preflight is answered."""

    origins: tuple[str, ...]  # of the one origin `*` everybody is, of an empty one also who has none
    methods: str
    headers: str
    credentials: bool = True
    expose: str = ""
    max_age: int = 1728000
