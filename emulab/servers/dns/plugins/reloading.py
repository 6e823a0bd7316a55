"""What CoreDNS says of a Corefile that was changed: that it goes by it now, or why it goes on by the last one. Pure."""

from __future__ import annotations

from typing import NamedTuple

from emulab.servers.dns.settings import DnsSettings


class Reload(NamedTuple):
    """What became of a Corefile: lines for the log, and why it isn't followed."""

    lines: tuple[str, ...] = ()
    refused: str = ""


def reload(before: DnsSettings | None, now: DnsSettings) -> Reload | None:
    """None where nothing of it changed; `before` there was nothing when the server has just begun."""
    if now.refused and (before is None or now.refused != before.refused):
        told = "Corefile changed but reload failed" if before else "the Corefile is not followed"
        return Reload((f"[ERROR] plugin/reload: {told}: {now.refused}",), now.refused)
    if before is not None and now.given and not now.refused and now.given != before.given:
        return Reload(("[INFO] Reloading", "[INFO] Reloading complete"))
    return None
