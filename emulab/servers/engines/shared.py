"""What every make of program has to know. Pure."""

from __future__ import annotations

STATE = "/tmp"
"""The folder in which programs write, which is their own."""
LOG, STATUS = f"{STATE}/log.sock", f"{STATE}/status.sock"
"""Where a program sends what it logs, and where it tells which configuration it uses."""


def is_named(server: str) -> bool:
    """Whether a server is a name with a port, not an address."""
    return "[" not in server and any(c.isalpha() for c in server.rpartition(":")[0])
