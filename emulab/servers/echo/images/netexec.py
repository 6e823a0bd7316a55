"""agnhost netexec, the server that Kubernetes' own tests ask: test/images/agnhost/netexec."""

from __future__ import annotations

import html
import json
import posixpath
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from emulab.servers.echo.answers import EchoAnswer, Played
from emulab.servers.echo.images.dial import Dial
from emulab.servers.echo.images.gohttp import HTML, answered, date, now, values
from emulab.servers.wire.http1.requests import Request

_NOSNIFF = (("X-Content-Type-Options", "nosniff"),)
_NOTHING_RUNS = "a stand-in runs no programs: emulab exec does"


def answer(request: Request, played: Played, client: str) -> EchoAnswer:
    override = played.options.get("override")
    if override:  # as if it were a GET of this
        request = Request("GET", override, request.proto, {})
    handle = _PATHS.get(request.path, _root)
    return handle(request, played, client)


def datagram(data: bytes, played: Played, client: str) -> bytes | None:
    """The commands are not told from each other by their case, nor is what is echoed."""
    said = data.decode(errors="replace").strip().lower()
    if said == "hostname":
        return played.hostname.encode()
    if said == "clientip":
        return client.encode()
    return said.removeprefix("echo ").encode() if said.startswith("echo ") else None


def redirected(request: Request, location: str, code: int) -> EchoAnswer:
    """As http.Redirect: a path that isn't absolute is one beside the request's."""
    url = urlsplit(location)
    if not url.scheme and not location.startswith("/"):
        path, mark, query = location.partition("?")
        location = posixpath.join(posixpath.dirname(request.path), path) + mark + query
    fields = [("Location", location)]
    if request.method not in ("GET", "HEAD"):
        return EchoAnswer(code, kind="", server="", fields=(*fields, date()))
    said = f'<a href="{html.escape(location)}">{_REDIRECTS.get(code, "")}</a>.\n\n'
    return answered(said, code, HTML, fields)


_REDIRECTS = {
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
}


def _root(request: Request, played: Played, client: str) -> EchoAnswer:
    return answered(f"NOW: {now()}")


def _clientip(request: Request, played: Played, client: str) -> EchoAnswer:
    return answered(client)


def _hostname(request: Request, played: Played, client: str) -> EchoAnswer:
    return answered(played.hostname)


def _healthz(request: Request, played: Played, client: str) -> EchoAnswer:
    return EchoAnswer(200, kind="", server="", fields=(date(),))


def _echo(request: Request, played: Played, client: str) -> EchoAnswer:
    asked = values(request)
    code = asked.get("code", "")
    if code and not code.isdecimal():
        return answered(_no_integer(code))
    status = int(code) if code and 200 <= int(code) <= 999 else 200
    return answered(asked.get("msg", ""), status)


def _redirect(request: Request, played: Played, client: str) -> EchoAnswer:
    asked = values(request)
    code = asked.get("code", "")
    if code and not code.isdecimal():
        return answered(_no_integer(code))
    return redirected(request, asked.get("location", ""), int(code) if code else 302)


def _no_integer(code: str) -> str:
    return f"argument 'code' must be an integer or empty, got {json.dumps(code)}\n"


def _shell(request: Request, played: Played, client: str) -> EchoAnswer:
    return answered(json.dumps({"error": _NOTHING_RUNS}, separators=(",", ":")))


def _upload(request: Request, played: Played, client: str) -> EchoAnswer:
    return answered(json.dumps({"error": "Unable to upload file."}, separators=(",", ":")))


def _exit(request: Request, played: Played, client: str) -> EchoAnswer:
    code = values(request).get("code", "")
    if code and not code.isdecimal():
        said = f"argument 'code' must be an integer [0-127] or empty, got {json.dumps(code)}\n"
        return answered(said)
    return EchoAnswer(0, exits=int(code or 0) & 0xFF)


def _shutdown(request: Request, played: Played, client: str) -> EchoAnswer:
    return EchoAnswer(0, exits=0)


def _dial(request: Request, played: Played, client: str) -> EchoAnswer:
    asked = values(request)
    tries = asked.get("tries") or "1"
    if not tries.lstrip("+-").isdecimal():
        why = f'tries parameter is invalid. strconv.Atoi: parsing "{tries}": invalid syntax\n'
        return answered(why, 400, fields=_NOSNIFF)
    if not asked.get("request"):
        return answered("request parameter not specified. <nil>\n", 400, fields=_NOSNIFF)
    protocol = asked.get("protocol", "")
    if protocol.lower() not in ("", "http", "udp"):
        return answered(f"unsupported protocol. {protocol}\n", 400, fields=_NOSNIFF)
    dial = Dial(asked.get("host", ""), asked.get("port", ""), asked["request"], protocol.lower(), int(tries))
    if why := dial.problem:
        return answered(f"host and/or port param are invalid. {why}\n", 400, fields=_NOSNIFF)
    return EchoAnswer(0, work=dial.run)


_PATHS: Mapping[str, Callable[[Request, Played, str], EchoAnswer]] = {
    "/clientip": _clientip,
    "/dial": _dial,
    "/echo": _echo,
    "/exit": _exit,
    "/healthz": _healthz,
    "/hostName": _hostname,
    "/hostname": _hostname,
    "/redirect": _redirect,
    "/shell": _shell,
    "/shutdown": _shutdown,
    "/upload": _upload,
}
