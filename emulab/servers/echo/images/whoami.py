"""whoami: github.com/traefik/whoami."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from emulab.servers.echo.answers import JSON, TEXT, EchoAnswer, Played
from emulab.servers.echo.images.gohttp import answered, date, duration, is_true, values
from emulab.servers.wire.http1.requests import Request

_UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}
_MOST = 10 << 30  # octets of one answer
_HIDDEN = frozenset(("Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer", "Connection"))
"""Fields that Go's Request.Write has a place of their own for, or none."""


def answer(request: Request, played: Played, client: str) -> EchoAnswer:
    if request.path == "/health":
        return EchoAnswer(200, kind="", server="", fields=(date(),))
    if request.path == "/bench":
        return answered("1", kind="text/plain", fields=[("Connection", "keep-alive")])
    if request.path == "/data":
        return _data(request)
    return _api(request, played, client) if request.path == "/api" else _told(request, played, client)


def _told(request: Request, played: Played, client: str) -> EchoAnswer:
    asked, name = values(request), played.options.get("name", "")
    lines = [f"Name: {name}"] if name else []
    lines += [f"Hostname: {played.hostname}", *(f"IP: {address}" for address in played.all_addresses)]
    lines.append(f"RemoteAddr: {client}")
    target = request.target if request.target.startswith("/") else urlsplit(request.target).path or "/"
    head = [f"{request.method} {target} HTTP/1.1", f"Host: {request.host}"]
    head.append(f"User-Agent: {request.first('User-Agent') or 'Go-http-client/1.1'}")
    head += [
        f"{key}: {value}"
        for key, found in sorted(request.headers.items())
        if key not in _HIDDEN
        for value in found
    ]
    text = "\n".join([*lines, *(f"{line}\r" for line in head), "\r", ""])
    if is_true(asked.get("env", "")):
        text += "".join(f"{key}={value}\n" for key, value in _environ(played).items())
    return answered(text, delay=max(0.0, duration(asked.get("wait", "")) or 0.0))


def _api(request: Request, played: Played, client: str) -> EchoAnswer:
    headers = {name: found for name, found in sorted(request.headers.items()) if name != "Host"}
    environ = _environ(played) if is_true(values(request).get("env", "")) else {}
    facts = {
        "hostname": played.hostname,
        "ip": list(played.all_addresses),
        "headers": headers,
        "url": request.target,
        "host": request.host,
        "method": request.method,
        "name": played.options.get("name", ""),
        "remoteAddr": client,
        "environ": environ,
    }
    told = json.dumps({key: value for key, value in facts.items() if value}, separators=(",", ":"))
    return answered(f"{told}\n", kind=JSON)


def _data(request: Request) -> EchoAnswer:
    asked = values(request)
    size = asked.get("size", "")
    octets = int(size) if size.isascii() and size.isdigit() and len(size) < 15 else 1
    octets = min(octets * _UNITS.get(asked.get("unit", "").lower(), 1), _MOST)
    if not octets:
        return answered("")
    return EchoAnswer(200, kind=TEXT, stream=octets, server="", fields=(date(),))


def _environ(played: Played) -> dict[str, str]:
    prefix = "env."
    return {key[len(prefix) :]: value for key, value in played.options.items() if key.startswith(prefix)}
