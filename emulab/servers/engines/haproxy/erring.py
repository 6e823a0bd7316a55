"""Another server's answers in the place of errors: who is asked, and for which statuses. Pure.

It is asked in Lua, where an answer has come, or the backend itself has one. What HAProxy says of servers that can't be
reached isn't asked about: no rule is looked at then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from emulab.servers.engines.haproxy.pages import returned
from emulab.servers.engines.haproxy.text import CfgLines, quoted
from emulab.servers.engines.haproxy.variables import noted
from emulab.servers.l7.config import ErrorPages, Filter, Upstream

_RETURNED = re.compile(
    r"http-request return status (\d+) content-type text/html file \S+((?: if| unless) .*)?"
)


def with_pages(lines: CfgLines, filters: Iterable[Filter], upstreams: Mapping[str, Upstream]) -> CfgLines:
    """A backend's lines with what they become where a filter has pages of errors."""
    one = next((one for one in reversed(list(filters)) if isinstance(one, ErrorPages)), None)
    if one is None:
        return lines
    servers = upstreams.get(one.upstream, Upstream()).servers
    action = (
        f"lua.error_page {quoted(','.join(servers))} {quoted(','.join(f.name for f in one.fields) or '-')}"
    )
    found = _before(one)
    for line in lines:
        match = _RETURNED.fullmatch(line)
        if match is not None and int(match[1]) in one.statuses:
            found += _instead(one, int(match[1]), match[2] or "", servers, action)
        found.append(line)
    return found + (_of_answers(one, servers, action) if one.intercept else [])


def _before(one: ErrorPages) -> CfgLines:
    """What is to be told later is noted before anything is changed."""
    lines = [
        "http-request set-var(txn.error_method) method",
        "http-request set-var(txn.error_query) query",
        "http-request set-var(txn.agent) req.fhdr(user-agent)",
        "http-request set-var(txn.accept) req.fhdr(accept)",
    ]
    for number, field in enumerate(one.fields):
        if field.value:
            lines += noted(f"error_field_{number}", field.value)
    return lines


def _instead(one: ErrorPages, status: int, condition: str, servers: tuple[str, ...], action: str) -> CfgLines:
    """Before an answer of the backend's own."""
    failed = f"http-request set-var(txn.failed) int({status}){condition}"
    if not servers:
        return [failed, f"{returned(503 if one.upstream else 404)}{condition}"]
    return [failed, f"http-request {action} if {{ var(txn.failed) -m found }}", _unreached("http-request")]


def _of_answers(one: ErrorPages, servers: tuple[str, ...], action: str) -> CfgLines:
    condition = f"if {{ status {' '.join(map(str, one.statuses))} }}"
    failed = f"http-response set-var(txn.failed) status {condition}"
    if not one.upstream or not servers:
        page = returned(503 if one.upstream else 404).replace("http-request", "http-response", 1)
        return [failed, f"{page} {condition}"]
    return [failed, f"http-response {action} {condition}", _unreached("http-response")]


def _unreached(kind: str) -> str:
    """What is answered where no server of the pages can be reached."""
    return f"{returned(502).replace('http-request', kind, 1)} if {{ var(txn.unreached) -m found }}"
