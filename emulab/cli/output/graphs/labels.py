"""What stands at places and links, whatever draws them."""

from __future__ import annotations

from emulab.observe.capture.counters import LinkCounters
from emulab.observe.telling.escapes import printable
from emulab.toolbox.graph import GraphLink, GraphPlace

_UNITS = ("B", "kB", "MB", "GB", "TB")


def place_lines(place: GraphPlace) -> list[str]:
    """A place's name and addresses, a line each."""
    return [printable(place.name.removeprefix("default.")), *place.addresses]


def link_lines(link: GraphLink) -> list[str]:
    """A link's interface, and what it has carried."""
    return [printable(link.interface), *([carried(link.counters, link.seconds)] if link.counters else [])]


def carried(counters: LinkCounters, seconds: float) -> str:
    """Packets and bytes out of the place and into it, `↑` and `↓`; by the second where it was so long."""
    by = f" in {seconds:g} s" if seconds else ""
    text = f"↑{counters.sent} {size(counters.sent_bytes)} ↓{counters.received} {size(counters.received_bytes)}{by}"
    return text + (f" ✗{counters.dropped}" if counters.dropped else "")


def size(number: float) -> str:
    """Bytes in a unit that fits."""
    for unit in _UNITS[:-1]:
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} {_UNITS[-1]}"
