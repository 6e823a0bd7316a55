"""echo-basic, the backend of the Gateway API's conformance suite, and agnhost http-echo, which was made of it."""

from __future__ import annotations

import json
import re

from emulab.servers.echo.answers import HIDDEN, JSON, EchoAnswer, Played
from emulab.servers.echo.images.gohttp import answered, date, duration, values
from emulab.servers.wire.http1.requests import Request

_STATUS = re.compile(r"/status/(\d\d\d)")
_FIELDS = (("X-Content-Type-Options", "nosniff"),)


def answer(request: Request, played: Played, client: str) -> EchoAnswer:
    if played.options.get("plain"):
        return EchoAnswer(200, _echoed(request, played), JSON, server="", fields=(*_FIELDS, date()))
    path = request.path.replace("//", "/")
    if path == "/health":
        return answered("OK")
    if path.startswith("/status/"):
        match = _STATUS.fullmatch(request.target)
        status = int(match[1]) if match and int(match[1]) >= 200 else 400
        return EchoAnswer(status, kind="", server="", fields=(date(),))
    delay = values(request).get("delay", "")
    seconds = duration(delay) if delay else 0.0
    if seconds is None:
        why = json.dumps({"message": f'time: invalid duration "{delay}"'}, separators=(",", ":"))
        return EchoAnswer(500, why.encode(), JSON, server="", fields=(*_FIELDS, date()))
    fields = (*_asked_fields(request), *_FIELDS, date())
    return EchoAnswer(200, _echoed(request, played), JSON, max(0.0, seconds), server="", fields=fields)


def _echoed(request: Request, played: Played) -> bytes:
    """What was received, and by whom: its variables say that, or who stands in for it does."""
    told = {
        "path": request.target,
        "host": request.host,
        "method": request.method,
        "proto": request.proto,
        "headers": {name: found for name, found in request.headers.items() if name not in HIDDEN},
        "httpPort": played.options.get("port", ""),
        **{key: played.options.get(key, played.facts.get(key, "")) for key in _WHO},
    }
    if request.secured is not None:
        told["tls"] = request.secured
    return json.dumps(told, indent=1).encode()


_WHO = ("namespace", "ingress", "service", "pod")


def _asked_fields(request: Request) -> list[tuple[str, str]]:
    """The fields that a request wants in its answer: `X-Echo-Set-Header: a:1, b:2`, the same one twice joined."""
    found: dict[str, str] = {}
    for several in request.headers.get("X-Echo-Set-Header", ()):
        for one in several.split(","):
            name, _, value = one.strip().partition(":")
            if name and not re.search(r"[^\w!#$%&'*+.^`|~-]", name):
                found[name] = f"{found[name]},{value.strip()}" if name in found else value
    return list(found.items())
