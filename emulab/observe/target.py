"""What a trace sends to, as users write it. Pure; the command line and the tracing core read it alike.

http://HOST[:PORT][/PATH]   https://…   HOST   HOST/PATH   HOST:PORT/PATH     an HTTP request, as curl reads them
HOST:PORT   HOST:PORT/tcp   tcp://HOST:PORT                                   a TCP connection
HOST:PORT/udp               udp://HOST:PORT                                   a UDP datagram
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

from emulab.errors import UserError
from emulab.model.addresses import is_address, parse_address, socket_name, url_host

DEFAULT_PORTS = {"http": 80, "https": 443}
TRANSPORTS = ("tcp", "udp")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))  # a path is sent as it was written, as far as ASCII goes


class RequestTarget(NamedTuple):
    """Where a request goes to. `path` is an HTTP request's, with its query; "" for plain TCP and UDP."""

    protocol: str  # http | https | tcp | udp
    host: str  # a name, or an address
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What a Host field says: the port only where it isn't one of HTTP's own."""
        return (
            url_host(self.host) if self.port in DEFAULT_PORTS.values() else socket_name(self.host, self.port)
        )


def parse(text: str) -> RequestTarget:
    """The target that a URL, a HOST:PORT[/udp] or a bare host means. Raises UserError."""
    if re.search(r"[\x00-\x20\x7f]", text):
        raise UserError(f"{text!r}: there is a blank in it; write it as %20")
    match = _SCHEME.fullmatch(text)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", text)
    if scheme and scheme not in (*DEFAULT_PORTS, *TRANSPORTS):
        raise UserError(f"{text}: the scheme {scheme!r} is unknown; there are http, https, tcp and udp")
    place, path = _split(rest)
    if scheme in TRANSPORTS:
        if path.partition("#")[0] not in ("", "/"):
            raise UserError(f"{text}: {scheme} has no path; write {scheme}://HOST:PORT")
        return RequestTarget(scheme, *_needs_port(text, place), "")
    if not scheme:
        has_port = ":" in place.rpartition("]")[2]
        if has_port and path.lower() in ("", "/tcp", "/udp"):
            return RequestTarget(path[1:].lower() or "tcp", *_needs_port(text, place), "")
        if has_port and path.lower() == "/sctp":
            raise UserError(
                f"{text}: SCTP can't be sent, only tcp and udp (for the path {path}: http://{text})"
            )
        if path.lower() in ("/tcp", "/udp"):
            raise UserError(
                f"{text}: a port is missing: {place}:PORT{path} (for the path {path}: http://{place}{path})"
            )
    protocol = scheme or "http"
    host, port = _host_and_port(text, place)
    return RequestTarget(protocol, host, port or DEFAULT_PORTS[protocol], _path(path))


def _split(rest: str) -> tuple[str, str]:
    """HOST[:PORT] and what follows it."""
    found = re.search(r"[/?#]", rest)
    return (rest[: found.start()], rest[found.start() :]) if found else (rest, "")


def _needs_port(text: str, place: str) -> tuple[str, int]:
    host, port = _host_and_port(text, place)
    if not port:
        raise UserError(f"{text}: a port is missing; write {url_host(host)}:PORT")
    return host, port


def _host_and_port(text: str, place: str) -> tuple[str, int]:
    """The host, checked, and the port, 0 for none. Raises UserError."""
    if "@" in place:
        raise UserError(f"{text}: a user name can't be in it; write -H 'Authorization: …'")
    host, port = _in_brackets(text, place) if place.startswith("[") else _plain(text, place)
    if not port:
        return host.lower(), 0
    if not (port.isascii() and port.isdigit()):
        raise UserError(f"{text}: {port!r} is no port number")
    if len(port) > 5 or not 1 <= int(port) <= 65535:
        raise UserError(f"{text}: port {port} is out of range; ports are 1 to 65535")
    return host.lower(), int(port)


def _plain(text: str, place: str) -> tuple[str, str]:
    """A name or an address of IPv4, and what follows a colon."""
    if place.count(":") > 1:
        there, _, port = place.rpartition(":")
        example = f"[{place}]" if is_address(place) and not is_address(there) else f"[{there}]:{port}"
        raise UserError(f"{text}: an address of IPv6 stands in brackets, such as {example}")
    host, _, port = place.partition(":")
    _check_host(text, host)
    return host, port


def _in_brackets(text: str, place: str) -> tuple[str, str]:
    """An address of IPv6 (RFC 3986 section 3.2.2), and what follows a colon."""
    host, closed, rest = place[1:].partition("]")
    if (
        not closed
        or (rest and not rest.startswith(":"))
        or not is_address(host)
        or ":" not in host
        or "%" in host
    ):
        raise UserError(f"{text}: {place!r} is no IPv6 address in brackets, such as [2001:db8::1]:80")
    return str(parse_address(host)), rest[1:]


def _check_host(text: str, host: str) -> None:
    if not host:
        raise UserError(f"{text!r}: a host is missing; write a URL or HOST:PORT")
    if not host.isascii():
        raise UserError(f"{text}: {host!r} isn't ASCII; write the name as DNS has it (xn--…)")
    if re.fullmatch(r"[0-9.]+", host):
        octets = host.split(".")
        if len(octets) != 4 or not all(o and o == str(int(o)) and int(o) <= 255 for o in octets):
            raise UserError(f"{text}: {host!r} is no IPv4 address")
        return
    name = host.removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise UserError(f"{text}: {host!r} is no host name")


def _path(text: str) -> str:
    """The path and query to ask for: a fragment stays with the client (RFC 9110, 7.1)."""
    path = quote(text.partition("#")[0], safe=_AS_IT_IS)
    return path if path.startswith("/") else f"/{path}"
