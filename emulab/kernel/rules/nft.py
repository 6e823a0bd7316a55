"""nftables through the official binding (libnftables), one context a namespace.

A context's netlink socket is made with the context, so it is made inside the namespace and used from
outside. Debian ships the binding for its own Python only; it is pure ctypes over `libnftables.so.1`, so any
Python can load it from there.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from emulab.errors import KernelError
from emulab.kernel import netns

_INSTALL = "install Debian's python3-nftables"
_HANDLE = re.compile(r"(.*?) # handle (\d+)")


@cache
def binding() -> ModuleType:
    """The `nftables` module, wherever it is installed. Raises KernelError when it isn't."""
    places = [*sys.path, "/usr/lib/python3/dist-packages", sysconfig.get_path("purelib")]
    for place in places:
        source = Path(place) / "nftables" / "nftables.py"
        if source.is_file():
            spec = importlib.util.spec_from_file_location("nftables_binding", source)
            if spec is None or spec.loader is None:
                continue
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise KernelError("load the nftables binding", remedy=_INSTALL)


class Nft:
    """nftables of one namespace. Calls block; each is one transaction."""

    def __init__(self, namespace: str, fd: int) -> None:
        self.namespace = namespace
        self._context: Any = netns.inside(fd, self._make)

    @staticmethod
    def _make() -> Any:
        if (fd := os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)) >= netns.FD_SETSIZE:
            os.close(fd)
            remedy = "make the lab smaller: fewer containers that run programs"
            raise KernelError(
                "open nftables: libnftables has no use for more open files", "", errno.EMFILE, remedy
            )
        os.close(fd)
        try:
            return binding().Nftables()
        except OSError:
            raise KernelError("load libnftables.so.1", remedy=_INSTALL) from None

    def run(self, script: str) -> str:
        """Runs commands as one transaction and returns their output. Raises KernelError, having changed nothing."""
        code, output, error = self._context.cmd(script)
        if code:
            first = next((line for line in str(error).splitlines() if line.strip()), "unknown error")
            raise KernelError(f"nft: {first}", self.namespace)
        return str(output)

    def rules(self, family: str, table: str, chain: str) -> dict[int, str]:
        """The rules of a chain by handle, as nft writes them. Raises KernelError."""
        self._context.set_handle_output(True)
        try:
            listing = self.run(f"list chain {family} {table} {chain}")
        finally:
            self._context.set_handle_output(False)
        found = (_HANDLE.fullmatch(line.strip()) for line in listing.splitlines())
        return {int(m[2]): m[1] for m in found if m and not m[1].endswith("{")}
