"""What CoreDNS says of a Corefile that was changed: that it goes by it now, or why it goes on by the last one. Pure."""

from __future__ import annotations

from typing import NamedTuple

from emulab.servers.dns.settings import DnsSettings


class Reload(NamedTuple):
    """What became of a Corefile: lines for the log, and why it isn't followed; it may be that nobody looked."""

    lines: tuple[str, ...] = ()
    refused: str = ""
    unread: bool = False


def reload(before: DnsSettings | None, now: DnsSettings) -> Reload | None:
    """None where nothing of it changed; `before` there was nothing when the server has just begun."""
    if now.refused and (before is None or now.refused != before.refused):
        line = f"[ERROR] plugin/reload: Corefile changed but reload failed: {now.refused}"
        return Reload((line,), now.refused)
    if now.unread and not (before and before.unread):
        return Reload(unread=True)
    if before is not None and now.given and not now.refused and now.given != before.given:
        return Reload(("[INFO] Reloading", "[INFO] Reloading complete"))
    return None
