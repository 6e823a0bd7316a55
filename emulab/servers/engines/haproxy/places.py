"""Where HAProxy's files are. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from emulab.servers.engines.shared import places

FOLDER = "/etc/haproxy"
PLACES = places(FOLDER)
CFG = f"{FOLDER}/haproxy.cfg"
CERTIFICATES, MAPS, PAGES, LUA = (f"{FOLDER}/{name}" for name in ("ssl", "maps", "pages", "lua"))
UNREACHABLE = f"{PAGES}/unreachable.http"
PROGRAM = f"{LUA}/ingress.lua"


def list_file(entries: Iterable[str]) -> str:
    """The path of a file with these lines: networks, say, of which a line of the configuration holds but 64."""
    return f"{MAPS}/list-{digest(list_text(entries))}.txt"


def list_text(entries: Iterable[str]) -> str:
    """Its text."""
    return "".join(f"{one}\n" for one in entries)


def digest(text: str) -> str:
    """A short name for a text."""
    return sha256(text.encode()).hexdigest()[:16]
