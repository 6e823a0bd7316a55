"""What nginx's access log tells, a JSON object a request: of it are made what our own server knows of one. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from emulab.servers.engines.logged import upstream_of
from emulab.servers.l7.engine.entry import UNKNOWN, RequestEntry, Try
from emulab.servers.l7.engine.routes import NO_ROUTE, ReadyRoute
from emulab.servers.l7.messages.request import RequestHead

_VARIABLES = {
    "client": "$remote_addr",
    "peer": "$realip_remote_addr",  # who is at the other end of the connection, whoever is believed to be behind
    "port": "$realip_remote_port",
    "local": "$server_addr:$server_port",
    "user": "$remote_user",
    "scheme": "$scheme",
    "version": "$server_protocol",
    "line": "$request",
    "method": "$request_method",
    "target": "$request_uri",
    "host": "$http_host",
    "agent": "$http_user_agent",
    "referer": "$http_referer",
    "cookie": "$http_cookie",
    "forwarded": "$http_x_forwarded_for",
    "status": "$status",
    "sent": "$bytes_sent",
    "body": "$body_bytes_sent",
    "size": "$request_length",
    "seconds": "$request_time",
    "id": "$req_id",
    "route": "$route",
    "upstream": "$proxy_upstream_name",
    "servers": "$upstream_addr",
    "statuses": "$upstream_status",
    "connects": "$upstream_connect_time",
    "headers": "$upstream_header_time",
    "times": "$upstream_response_time",
    "lengths": "$upstream_response_length",
}
FORMAT = "'" + "{" + ",".join(f'"{name}":"{variable}"' for name, variable in _VARIABLES.items()) + "}'"
"""The parameter of `log_format`."""


def told(datagram: bytes) -> Mapping[str, str] | None:
    """The object in a message of syslog, each byte a character; None where it was cut."""
    try:
        found: Any = json.loads(datagram[datagram.index(b"{") :].decode("latin-1"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def entry(said: Mapping[str, str], routes: Mapping[int, ReadyRoute]) -> RequestEntry:
    """What is known of the request."""
    head = RequestHead()
    head.method, head.target = (said[name].encode("latin-1", "replace") for name in ("method", "target"))
    if not head.method:
        head.line = said["line"].encode("latin-1", "replace")
    head.host = said["host"].encode("latin-1", "replace") or None
    head.version = said["version"].removeprefix("HTTP/") or head.version
    head.request_id = said["id"].encode("latin-1", "replace")
    head.forwarded_for = said["forwarded"].encode("latin-1", "replace")
    head.lines = [
        b"%b: %b\r\n" % (name, said[key].encode("latin-1", "replace"))
        for name, key in ((b"User-Agent", "agent"), (b"Referer", "referer"), (b"Cookie", "cookie"))
        if said[key]
    ]
    rule = routes.get(int(said["route"]), NO_ROUTE) if said["route"].isdigit() else NO_ROUTE
    tries = _tries(said)
    return RequestEntry(
        client=(said["client"], _socket(said["peer"], said["port"])),
        local=said["local"],
        scheme=said["scheme"],
        version=said["version"] or "HTTP/1.1",
        head=head,
        rule=rule,
        upstream_name=upstream_of(rule, tries),
        request_id=said["id"],
        status=int(said["status"]),
        request_size=int(said["size"]),
        sent=int(said["sent"]),
        body_sent=int(said["body"]),
        seconds=float(said["seconds"]),
        tries=tries,
        user=said["user"],
    )


def _socket(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _tries(said: Mapping[str, str]) -> tuple[Try, ...]:
    columns = [
        said[name].replace(" : ", ", ").split(", ")
        for name in ("servers", "statuses", "connects", "headers", "times", "lengths")
    ]
    if not columns[0][0]:
        return ()
    return tuple(
        Try(
            server,
            int(status) if status.isdigit() else 0,
            _time(connect),
            _time(header),
            _time(time),
            int(length) if length.isdigit() else 0,
        )
        for server, status, connect, header, time, length in zip(*columns, strict=False)
    )


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return UNKNOWN
