"""agnhost liveness, the server of the documents about probes: it is well for ten seconds."""

from __future__ import annotations

import time

from emulab.servers.echo.answers import EchoAnswer, Played
from emulab.servers.echo.images.gohttp import answered, values
from emulab.servers.echo.images.netexec import redirected
from emulab.servers.wire.http1.requests import Request

_WELL = 10.0  # seconds


def answer(request: Request, played: Played, client: str) -> EchoAnswer:
    lived = max(0.0, time.time() - played.began) if played.began else 0.0
    if request.path == "/started":
        return answered(f"{lived:.9f}s")
    if request.path == "/healthz":
        return answered("ok") if lived <= _WELL else answered(f"error: {lived:.9f}", 500)
    if request.path == "/redirect":
        return redirected(request, values(request).get("loc", ""), 302)
    return answered("404 page not found\n", 404, fields=(("X-Content-Type-Options", "nosniff"),))
