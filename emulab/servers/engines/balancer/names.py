"""How frontends and targets are called in haproxy.cfg, whose names have letters, digits and `-_.:` alone. Pure."""

from __future__ import annotations

import re

REFUSED = "/refused"
"""Behind a frontend's key: the table of who was refused."""
OPEN = "/all"
"""Behind a frontend's key: the backend with all targets, healthy or not."""

_NO_NAME = re.compile(r"[^A-Za-z0-9_.:-]")


def proxy_name(key: str) -> str:
    """A frontend, and its backend, by the key of its socket: tcp:203.0.113.10:80."""
    return _NO_NAME.sub(":", key)


def server_name(target: str) -> str:
    """A target: nodes by their names, others by address and port."""
    return _NO_NAME.sub("", target)
