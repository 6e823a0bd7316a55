"""Programs that say one thing whatever they are asked: http-echo, and agnhost's porter and serve-hostname."""

from __future__ import annotations

import json

from emulab.servers.echo.answers import JSON, EchoAnswer, Played
from emulab.servers.echo.images.gohttp import answered
from emulab.servers.wire.http1.requests import Request

_APP = (("X-App-Name", "http-echo"), ("X-App-Version", "1.0.0"))


def text(request: Request, played: Played, client: str) -> EchoAnswer:
    """agnhost porter."""
    said = played.options.get("text", "")
    if played.options.get("json"):
        return answered(
            json.dumps({"Method": request.method, "Body": said}, separators=(",", ":")), kind=JSON
        )
    return answered(said)


def text_datagram(data: bytes, played: Played, client: str) -> bytes:
    return played.options.get("text", "").encode()


def hostname(request: Request, played: Played, client: str) -> EchoAnswer:
    """agnhost serve-hostname."""
    what = answered(played.hostname)
    return what._replace(close=True) if played.options.get("close") else what


def hostname_datagram(data: bytes, played: Played, client: str) -> bytes:
    return played.hostname.encode()


def greeting(played: Played) -> bytes:
    return played.hostname.encode()


def http_echo(request: Request, played: Played, client: str) -> EchoAnswer:
    if request.path == "/health":
        return answered('{"status":"ok"}\n', fields=_APP)
    status = played.options.get("status", "200")
    code = int(status) if status.isdecimal() and 200 <= int(status) <= 999 else 200
    return answered(f"{played.options.get('text', '')}\n", code, fields=_APP)
