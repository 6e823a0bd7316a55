"""What stand-ins say that play an image's program: each in the program's own words.

`SAYS` are what HTTP requests are answered with, `DATAGRAMS` what UDP is, and `GREETINGS` what a TCP connection is told
that is closed then, each by the name that a socket's configuration gives (`config.PortConfig.says`). All are pure but
for the clock. A module an image, and a line here; which image says what is known to who plans (`kinds.standins`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emulab.servers.echo.answers import EchoAnswer, Played
from emulab.servers.echo.images import echo_basic, liveness, netexec, nginx, texts, whoami
from emulab.servers.wire.http1.requests import Request

SAYS: Mapping[str, Callable[[Request, Played, str], EchoAnswer]] = {
    "echo-basic": echo_basic.answer,
    "hostname": texts.hostname,
    "http-echo": texts.http_echo,
    "liveness": liveness.answer,
    "netexec": netexec.answer,
    "nginx": nginx.answer,
    "text": texts.text,
    "whoami": whoami.answer,
}

DATAGRAMS: Mapping[str, Callable[[bytes, Played, str], bytes | None]] = {
    "hostname": texts.hostname_datagram,
    "netexec": netexec.datagram,
    "text": texts.text_datagram,
}
"""None for what isn't answered."""

GREETINGS: Mapping[str, Callable[[Played], bytes]] = {"hostname-raw": texts.greeting}
