"""Who asks, where somebody in front says so: nginx's realip module, as ingress-nginx sets it up. Pure.

Rules:

* The address is believed of those in `proxy-real-ip-cidr` alone, whose default has no network of IPv6. It is the one in
  `forwarded-for-header`, or with `use-proxy-protocol` the one of the PROXY header; with both, the header's field counts
  where the address of the PROXY header is one of those that are believed, too.
* A list is read from its end, as far as those are believed who are in it (`real_ip_recursive`).
* X-Forwarded-Proto, -Host and -Port are believed of everybody, with `use-forwarded-headers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from emulab.servers.l7.config import Options
from emulab.servers.l7.engine.addresses import Networks
from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.l7.personalities.ingress_nginx.forwarding import forwarding_lines
from emulab.servers.l7.personalities.personality import Ends, Front, FrontReader

_TRUSTED = ("0.0.0.0/0",)
"""`proxy-real-ip-cidr` where nobody says it. It is what ingress-nginx has: nobody is believed who comes over IPv6."""

_LAST = re.compile(rb"(?:^|[ ,])([^ ,]+)[ ,]*$")
_WITH_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::\d+)?")


def real_address(peer: str, field: bytes, trusted: Networks) -> str:
    """Whose address it is that the one in front tells (`ngx_http_get_forwarded_addr`)."""
    address = peer
    while address in trusted and (match := _LAST.search(field)):
        found = _address(match[1].decode("latin-1"))
        if found is None:
            break
        address, field = found, field[: match.start()]
    return address


def _address(text: str) -> str | None:
    match = _WITH_PORT.fullmatch(text)
    bare = (match[1] or match[2]) if match is not None else text
    try:
        return str(ip_address(bare))
    except ValueError:
        return None


def _field(header: str) -> Callable[[RequestHead], bytes]:
    name = header.lower().encode()
    if name == b"x-forwarded-for":
        return lambda head: head.forwarded_for
    if name == b"x-real-ip":
        return lambda head: head.real_ip
    return lambda head: head.field(name).encode("latin-1")


class _Reader:
    """What reads of a request who asks."""

    def __init__(self, options: Options) -> None:
        self._forwarded, self._proxied = options.trust_forwarded, options.proxy_protocol
        self._trusted = Networks(_TRUSTED if options.trusted is None else options.trusted)
        self._full = self._forwarded and options.full_forwarded_for
        self.field = _field(options.forwarded_for_header)
        self.constant = self._proxied and not self._forwarded

    def __call__(self, head: RequestHead, ends: Ends) -> Front:
        forwarded, trusted = self._forwarded, self._trusted
        told, before = ends.proxied, ends.address
        if self._proxied:
            before = told.source if told is not None else ""
            field = self.field(head) if forwarded and before in trusted else before.encode()
        else:
            field = self.field(head)
        address = real_address(ends.address, field, trusted)
        scheme, host = ends.scheme, b""
        port = str(told.destination_port) if told is not None else ends.port
        if forwarded:
            scheme = head.forwarded_proto.decode("latin-1") or scheme
            port = head.forwarded_port.decode("latin-1") or port
            host = head.forwarded_host.split(b",")[0].strip()
        if told is not None and told.destination_port == 443:
            scheme = "https"  # whoever has ended TLS in front
        chain = b""
        if self._full:
            chain = b", ".join(one for one in (head.forwarded_for, before.encode()) if one)
        lines = forwarding_lines(address, port, scheme, chain.decode("latin-1"))
        return Front(host, lines, scheme, address, chain)


def front(options: Options) -> FrontReader | None:
    """What reads of a request who asks. None: nobody in front is asked at all."""
    asked = options.trust_forwarded or options.proxy_protocol or options.real_ip
    return _Reader(options) if asked else None
