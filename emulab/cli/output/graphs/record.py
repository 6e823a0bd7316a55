"""A graph for programs."""

from __future__ import annotations

from emulab.observe.telling.escapes import as_json
from emulab.toolbox.graph import Graph


def render(graph: Graph) -> str:
    """One JSON document."""
    places = [
        {"name": p.name, "kind": p.kind, "addresses": p.addresses, "node": p.node} for p in graph.places
    ]
    links = [
        {
            "place": link.place,
            "interface": link.interface,
            "to": link.to,
            "toInterface": link.to_interface,
            "counters": link.counters._asdict() if link.counters else None,
            "seconds": link.seconds,
        }
        for link in graph.links
    ]
    return as_json({"places": places, "networks": graph.networks, "links": links})
