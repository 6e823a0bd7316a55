"""What HAProxy's log tells, a JSON object a request: of it is made what our own server knows of one. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emulab.servers.engines.logged import LoggedRequest, upstream_of
from emulab.servers.l7.engine.entry import UNKNOWN, RequestEntry, Try
from emulab.servers.l7.engine.routes import NO_ROUTE, ReadyRoute
from emulab.servers.l7.messages.request import RequestHead

_BAD = "<BADREQ>"
"""What it has in the place of a request that it can't read."""
_CAPTURED = ("user-agent", "referer", "x-forwarded-for")


def captures() -> list[str]:
    """The directives that keep fields of a request until it is logged."""
    kept = [f"http-request capture req.hdr({name}) len 1024" for name in _CAPTURED]
    whole = "!{ url -m beg / } { url -m sub :// } { fc_http_major 1 }"  # with scheme and host, as proxies are asked
    asked = [
        "http-request set-var(txn.asked) req.hdr(host)",
        f"http-request set-var(txn.whole) url if {whole}",
        f"http-request set-var(txn.asked) url,field(3,/),field(1,?) if {whole}",
        f"http-request set-uri %[pathq] if {whole} {{ path -m found }}",
        f"http-request set-uri / if {whole}",
        "http-request set-var(txn.target) pathq",  # over HTTP/2 the URI has scheme and host
    ]
    return [*kept, *asked]


_TEXTS = {
    "method": "capture.req.method",
    "target": "var(txn.target)",
    "host": "var(txn.asked)",
    "id": "var(txn.id)",
    "route": "var(txn.route)",
    "scheme": "var(txn.scheme)",
    "client": "var(txn.client)",
    **{name: f"capture.req.hdr({number})" for number, name in enumerate(_CAPTURED)},
}
_VALUES = {
    "peer": "%ci:%cp",
    "local": "%fi:%fp",
    "version": "%HV",
    "status": "%ST",
    "sent": "%B",
    "size": "%U",
    "source": "%bi:%bp",
    "server": "%si:%sp",
    "queued": "%Tw",
    "connect": "%Tc",
    "answer": "%Tr",
    "active": "%Ta",
    "why": "%tsc",
}
FORMAT = (
    "'{"
    + ",".join(
        [
            *(f'"{name}":"%[{sample},json(ascii)]"' for name, sample in _TEXTS.items()),
            *(f'"{name}":"{value}"' for name, value in _VALUES.items()),
        ]
    )
    + "}'"
)
"""The parameter of `log-format`."""


def told(datagram: bytes) -> LoggedRequest | None:
    """The object in a message, each byte a character; None where it was cut, or isn't one of a request.

    What there isn't is a dash.
    """
    try:
        found: Any = json.loads(datagram.decode("latin-1"))
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    return {name: "" if value == "-" and name in _TEXTS else value for name, value in found.items()}


def entry(said: LoggedRequest, routes: Mapping[int, ReadyRoute]) -> RequestEntry:
    """What is known of the request."""
    head = RequestHead()
    head.method, head.target, asked = (
        said[name].encode("latin-1", "replace") for name in ("method", "target", "host")
    )
    if said["version"] == _BAD:
        head.line = _BAD.encode()  # it tells no more of it
    head.version = said["version"].removeprefix("HTTP/") or head.version
    head.host, head.request_id = asked or None, said["id"].encode("latin-1", "replace")
    head.forwarded_for = said["x-forwarded-for"].encode("latin-1", "replace")
    head.lines = [
        b"%b: %b\r\n" % (name.encode(), said[name].encode("latin-1", "replace"))
        for name in ("user-agent", "referer")
        if said[name]
    ]
    rule = routes.get(int(said["route"]), NO_ROUTE) if said["route"].isdigit() else NO_ROUTE
    tries, sent = _tries(said), int(said["sent"])
    client = said["client"] or said["peer"].rpartition(":")[0]
    return RequestEntry(
        client=(client, said["peer"]),
        local=said["local"],
        scheme=said["scheme"] or "http",
        version=said["version"],
        head=head,
        rule=rule,
        upstream_name=upstream_of(rule, tries),
        request_id=said["id"],
        status=max(0, int(said["status"])),
        request_size=int(said["size"]),
        sent=sent,
        body_sent=sent,
        seconds=max(0, int(said["active"])) / 1000,
        tries=tries,
    )


def _tries(said: LoggedRequest) -> tuple[Try, ...]:
    """The last one, which is all that it tells of."""
    if said["server"].startswith(("-", "<")):
        return ()
    connect, answer = (
        int(said[name]) / 1000 if int(said[name]) >= 0 else UNKNOWN for name in ("connect", "answer")
    )
    header = connect + answer if UNKNOWN not in (connect, answer) else UNKNOWN
    status = int(said["status"]) if header != UNKNOWN else 504 if said["why"][:1] == "s" else 502
    return (
        Try(said["server"], status, connect, header, max(0, int(said["active"])) / 1000, int(said["sent"])),
    )
