"""Who may in, in haproxy.cfg: addresses, passwords, and what another service says. Pure.

HAProxy knows passwords of crypt(3) itself; those of Apache are looked at in Lua.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from emulab.servers.engines.haproxy.filters import external
from emulab.servers.engines.haproxy.pages import returned
from emulab.servers.engines.haproxy.places import MAPS, digest, list_file, list_text
from emulab.servers.engines.haproxy.text import CfgLines, quoted
from emulab.servers.engines.shared import bounded
from emulab.servers.l7.config import (
    AccessControl,
    BasicAuthentication,
    ClientLimits,
    L7Config,
    Match,
    Refusal,
    RequestLimit,
)
from emulab.servers.l7.engine.filters.basic import users

_OF_CRYPT = re.compile(r"\$(1|2[abxy]?|5|6|7|y|gy)\$.+|[./0-9A-Za-z]{13}|_[./0-9A-Za-z]{19}")
_OF_APACHE = ("$apr1$", "{SHA}", "{SSHA}", "{PLAIN}")


def refusal(one: Refusal, _match: Match) -> CfgLines:
    return [returned(one.status)]


def among(cidrs: Iterable[str]) -> str:
    """A condition: the client's address is one of these."""
    return f"src -f {list_file(cidrs)}"


def access_control(one: AccessControl, match: Match) -> CfgLines:
    """Addresses, passwords, and another service, in nginx's order."""
    lines: CfgLines = []
    if one.any and (one.basic is not None or one.external is not None):
        return _any_of(one, match)
    if one.deny is not None:
        lines.append(f"{returned(403)} if {{ {among(one.deny.cidrs)} }}")
    if one.allow is not None:
        lines.append(f"{returned(403)} unless {{ {among(one.allow.cidrs)} }}")
    if one.basic is not None:
        lines += [*_basic(one.basic), *_challenge(one.basic)]
    if one.external is not None:
        asked = external.asked(one.external, match)
        lines += [*external.cookies(one.external), *asked, *external.refused(one.external)]
        lines += external.granted(one.external)
    return lines


_OUTSIDE = " !{ var(txn.in) -m bool }"


def _any_of(one: AccessControl, match: Match) -> CfgLines:
    """The first check that lets in ends them; a 401 goes before a 403, as a client can do something about it."""
    lines: CfgLines = []
    if one.allow is not None:
        denied = f" !{{ {among(one.deny.cidrs)} }}" if one.deny is not None else ""
        lines.append(f"http-request set-var(txn.in) bool(true) if {{ {among(one.allow.cidrs)} }}{denied}")
    if one.basic is not None:
        lines += [*_basic(one.basic), f"http-request set-var(txn.in) bool(true) if {_KNOWN}"]
    if one.external is not None:
        lines += [*external.cookies(one.external), *external.asked(one.external, match, _OUTSIDE)]
        lines.append(f"http-request set-var(txn.in) bool(true) if {external.LET_IN}")
        if one.basic is None:
            return lines + external.refused(one.external, _OUTSIDE) + external.granted(one.external)
        asked = "{ var(txn.ask_status) -m found }"
        lines.append(f"{returned(500)} if {asked} !{{ var(txn.ask_status) -m int 401 403 }}{_OUTSIDE}")
        lines += external.granted(one.external)
    return lines + (_challenge(one.basic, _OUTSIDE) if one.basic is not None else [])


_KNOWN = "{ var(txn.known) -m bool }"


def _basic(one: BasicAuthentication) -> CfgLines:
    """Whether the password is right."""
    name = digest(one.users)
    return [
        f"http-request set-var(txn.hash) http_auth_user,map_str({MAPS}/users-{name}.map)",
        "http-request set-var(txn.known) lua.password if { var(txn.hash) -m found }",
        f"http-request set-var(txn.known) bool(true) if {{ http_auth(users-{name}) }}",
    ]


def _challenge(one: BasicAuthentication, condition: str = "") -> CfgLines:
    """Asks for another one. A server is told none."""
    told = quoted(f'Basic realm="{one.realm}"'.replace("%", "%%"))
    asked = f"{returned(401)} hdr WWW-Authenticate {told} if !{_KNOWN}{condition}"
    off = one.realm == "off"  # as nginx reads it
    return [*([] if off else [asked]), "http-request del-header Authorization"]


def _all_basic(config: L7Config) -> Iterator[BasicAuthentication]:
    for route in config.routes:
        for one in route.filters:
            if isinstance(one, AccessControl) and one.basic is not None:
                yield one.basic


def user_lists(config: L7Config) -> list[CfgLines]:
    """The sections of those whose passwords HAProxy itself knows."""
    found: dict[str, CfgLines] = {}
    for one in _all_basic(config):
        head = f"userlist users-{digest(one.users)}"
        found[head] = [
            f"user {quoted(name)} password {quoted(known)}"
            for name, known in users(one.users).items()
            if name and _OF_CRYPT.fullmatch(known) is not None
        ]
    return [[head, *lines] for head, lines in found.items()]


def files(config: L7Config) -> Mapping[str, str]:
    """Lists of addresses, and passwords in the formats of Apache."""
    found: dict[str, str] = {}
    for cidrs in _all_lists(config):
        found[list_file(cidrs)] = list_text(cidrs)
    for one in _all_basic(config):
        entries = [
            f"{name} {known}\n"
            for name, known in users(one.users).items()
            if name and not re.search(r"\s", name) and known.startswith(_OF_APACHE)
        ]
        found[f"{MAPS}/users-{digest(one.users)}.map"] = "".join(entries)
    return found


def _all_lists(config: L7Config) -> Iterator[tuple[str, ...]]:
    for route in config.routes:
        for one in route.filters:
            if isinstance(one, AccessControl):
                yield from (ranges.cidrs for ranges in (one.deny, one.allow) if ranges is not None)
            if isinstance(one, ClientLimits) and one.exempt:
                yield one.exempt
    if config.options.trusted is not None:
        yield config.options.trusted


# --- how often clients may come --------------------------------------------------------------------------------------


_MOST = (1 << 31) - 1
"""What its tables count up to, and for how many milliseconds."""


def client_limits(one: ClientLimits, _match: Match) -> CfgLines:
    """Who is refused isn't counted, as in nginx."""
    counted = ""
    lines: CfgLines = []
    if one.exempt:
        lines.append(f"http-request set-var(txn.exempt) bool(true) if {{ {among(one.exempt)} }}")
        counted = " !{ var(txn.exempt) -m bool }"
    for limit in one.requests:
        most = bounded(limit.burst, _MOST - 1) + 1
        seen = f"src,table_http_req_rate({_zone(limit.zone)})"
        lines.append(f"{returned(one.request_status)} if {{ {seen} ge {most} }}{counted}")
    tracked = [limit.zone for limit in one.requests]
    if one.connections is not None:
        seen = f"src,table_conn_cur({_zone(one.connections.zone)})"
        most = bounded(one.connections.most, _MOST)
        lines.append(f"{returned(one.connection_status)} if {{ {seen} ge {most} }}{counted}")
        tracked.append(one.connections.zone)
    condition = f" if{counted}" if counted else ""
    return lines + [
        f"http-request track-sc{number} src table {_zone(zone)}{condition}"
        for number, zone in enumerate(tracked)
    ]


def _zone(name: str) -> str:
    return "zone-" + re.sub(r"[^\w.-]", "-", name)


def zones(config: L7Config) -> list[CfgLines]:
    """The tables in which clients are counted."""
    found: dict[str, str] = {}
    for route in config.routes:
        for one in route.filters:
            if isinstance(one, ClientLimits):
                for limit in one.requests:
                    found.setdefault(_zone(limit.zone), f"http_req_rate({_period(limit)}ms)")
                if one.connections is not None:
                    found.setdefault(_zone(one.connections.zone), "conn_cur")
    return [
        [f"backend {name}", f"stick-table type ipv6 size 80k expire 1h store {what}"]
        for name, what in found.items()
    ]


def _period(limit: RequestLimit) -> int:
    """Milliseconds in which as many come as may come at once, at the rate: a window in the place of nginx's bucket."""
    return bounded((limit.burst + 1) * 1_000_000 // limit.rate, _MOST, 1000)
