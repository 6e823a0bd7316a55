"""Modules of servers that run as machine code where they have been compiled, and interpreted everywhere else.

What decides how fast a server is are a few modules that are called for each request. mypyc, of which mypy itself is
made, compiles them as they are: the ingress then takes a sixth less of a processor for a request. Nothing depends on
it: without a C compiler, or once a source has changed, the same modules are interpreted.

`scripts/compile` writes them beside the packages of the interpreter's environment, with the digest of the sources that
they are made of; `use` finds them there. `EMULAB_COMPILED=0` has all of them interpreted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "emulab_servers__mypyc"
"""The module that has the code of all others, as mypyc names it."""

_DNS, _L4, _L7, _HTTP1 = (
    *("emulab.servers.dns", "emulab.servers.l4", "emulab.servers.l7"),
    "emulab.servers.wire.http1",
)
MODULES = (
    *(f"{_HTTP1}.{name}" for name in ("framing", "head", "reader")),
    *(f"{_L7}.messages.{name}" for name in ("compose", "http2response", "request", "response")),
    *(f"{_L7}.engine.{name}" for name in ("admitting", "answering", "connection", "ending", "erring")),
    *(f"{_L7}.engine.{name}" for name in ("balance.group", "exchange", "records", "routes")),
    *(f"{_L7}.engine.{name}" for name in ("surroundings", "trying")),
    *(f"{_L7}.engine.http2.{name}" for name in ("bounds", "connection", "exchange", "heads", "stream")),
    *(
        f"{_L7}.personalities.ingress_nginx.{name}"
        for name in ("fields", "forwarding", "heads", "metrics", "series")
    ),
    *(f"{_L7}.shell.{name}" for name in ("client", "fresh", "http2", "http2upstream", "outbox")),
    *(f"{_L7}.shell.{name}" for name in ("spread", "upstream", "upstreamside")),
    *(f"{_DNS}.{name}" for name in ("datagrams", "hot", "udpport")),
    *(f"{_L4}.{name}" for name in ("acceptor", "balance", "frontend", "limits", "pump", "tcp")),
    f"{_L4}.algorithms.roundrobin",
    *(f"emulab.servers.streams.{name}" for name in ("accepting", "epollset")),
    *(f"emulab.servers.streams.{name}" for name in ("handshakes", "listening", "plain", "secure")),
    "emulab.servers.journal",
)
"""What is worth it.

A class here has its subclasses here, too. Dataclasses, asyncio's protocols, what is copied (`copy`) and named tuples
with types that only a type checker imports stay outside: mypyc has ways of its own with them, or none.
"""


class Compiled(NamedTuple):
    """What there is. `why`: why the modules are interpreted, "" where they aren't."""

    files: dict[str, str]
    why: str = ""


def source(module: str) -> Path:
    """The file of one of the modules."""
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def folder() -> Path:
    """Where compiled modules are, for the interpreter that runs."""
    return Path(sys.prefix, "lib", f"emulab-compiled-{sys.implementation.cache_tag}")


def digest() -> str:
    """Of the modules' sources. Raises OSError when one can't be read."""
    return digest_of(map(source, MODULES))


def digest_of(files: Iterable[Path]) -> str:
    """Of these files, and of their names. Raises OSError when one can't be read."""
    found = sha256()
    for file in files:
        text = file.read_bytes()
        found.update(f"{file.relative_to(ROOT)} {len(text)}\n".encode() + text)
    return found.hexdigest()


def look() -> Compiled:
    """What there is to use."""
    if os.environ.get("EMULAB_COMPILED") == "0":
        return Compiled({}, "EMULAB_COMPILED=0 says so")
    made = folder()
    try:
        lines = (made / "made").read_text().splitlines()
        if not lines or lines[0] != digest():
            return Compiled({}, "their sources have changed since they were compiled")
    except OSError:
        return Compiled({}, "they haven't been compiled here")
    return Compiled(dict(line.split(" ", 1) for line in lines[1:]))


class CompiledFinder(MetaPathFinder):
    """Finds compiled modules before Python finds their sources."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = {name: str(folder() / file) for name, file in files.items()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        file = self._files.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, file))


def use() -> None:
    """Modules that are imported from now on are the compiled ones, where there are such."""
    if any(isinstance(one, CompiledFinder) for one in sys.meta_path):
        return
    if files := look().files:
        sys.meta_path.insert(0, CompiledFinder(files))
