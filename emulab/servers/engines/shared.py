"""What every make of program has to know. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from emulab.servers.l7.config import Certificate, DirectResponse, Filter, HostRedirect, RootRedirect, Upstream


class Places(NamedTuple):
    """Where a program has what: below the folder of its configuration, which is covered by one of its own."""

    state: str  # what it writes
    log: str  # where it sends what it logs
    status: str  # where it tells which configuration it uses


def places(folder: str) -> Places:
    """Those of a program."""
    state = f"{folder}/run"
    return Places(state, f"{state}/log.sock", f"{state}/status.sock")


LARGEST = 1 << 62
"""The largest number that every program reads, and can still add to: more than any body, or any rate, comes to."""


def bounded(number: int, most: int = LARGEST, least: int = 0) -> int:
    """A number as near to what is wished as a program takes it, which refuses all of its configuration for another."""
    return max(least, min(number, most))


def certificate_names(certificates: Sequence[Certificate]) -> list[str]:
    """The names of the files of certificates, as ingress-nginx has them: `default-shop`. Two Secrets whose names would
    be one have a number each: `a-b/c` and `a/b-c`."""
    found: list[str] = []
    for number, one in enumerate(certificates):
        name = one.secret.replace("/", "-") or f"certificate-{number}"
        found.append(name if name not in found else f"{name}_{number}")
    return found


class KnownName(NamedTuple):
    """What is known of the name of a server."""

    full: str  # with its search domain, as programs know none
    address: str = ""  # that it had when it was last asked for, "" where it isn't known


def is_named(server: str) -> bool:
    """Whether a server is a name with a port, not an address."""
    return "[" not in server and any(c.isalpha() for c in server.rpartition(":")[0])


def server_mark(server: str) -> str:
    """What a cookie says of a server, so that it stays when others come and go."""
    return f"s{sha256(server.encode()).hexdigest()[:16]}"


def may_keep(upstream: Upstream) -> bool:
    """Whether connections to an upstream's servers may serve more than one request.

    One to an address with several endpoints behind it is with one of them for as long as it lives, and programs take
    the connection that was used last: all requests of a quiet client would be one pod's.
    """
    return upstream.endpoints <= 1


OLD_BROWSERS = (
    "Chrome/[456]|CPU iPhone OS 12|iPad; CPU OS 12|"
    "^(?!.*Chrome)(?=.*Macintosh)(?=.*Intel Mac OS X 10_14)(?=.*Safari)"
)
"""An expression for browsers that take `SameSite=None` for `Strict`."""


def answers_for_host(filters: Iterable[Filter]) -> bool:
    """Whether one of a route's filters answers for its whole host, or for the controller: to nginx that is no location
    of an Ingress, and nothing is said of Strict-Transport-Security."""
    return any(
        isinstance(one, RootRedirect | HostRedirect) or (isinstance(one, DirectResponse) and one.plain)
        for one in filters
    )
