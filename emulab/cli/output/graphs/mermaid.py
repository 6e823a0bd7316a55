"""A flow chart of Mermaid. Places have plain identifiers, as a name of theirs may be a word of Mermaid's."""

from __future__ import annotations

from emulab.cli.output.graphs.labels import link_lines, place_lines
from emulab.cli.output.mermaid import escape
from emulab.toolbox.graph import OVERLAY, Graph, GraphPlace

_SHAPES = {"router": ("{{", "}}"), "balancer": ("[/", "\\]"), "pod": ("(", ")"), "client": ("([", "])")}


def render(graph: Graph) -> str:
    """The chart's source."""
    ids = {place.name: f"p{number}" for number, place in enumerate(graph.places)}
    networks = {name: f"n{number}" for number, name in enumerate(graph.networks)}
    lines = ["flowchart LR"]
    lines += [f'    {networks[name]}{{{{"{escape(name)}"}}}}' for name in graph.networks]
    outside = [place for place in graph.places if place.kind not in ("node", "pod")]
    lines += [f"    {_place(place, ids)}" for place in outside]
    for node in (place for place in graph.places if place.kind == "node"):
        lines.append(f'    subgraph s{ids[node.name]} ["{escape(node.name)}"]')
        pods = [place for place in graph.places if place.node == node.name]
        lines += [f"        {_place(place, ids)}" for place in (node, *pods)]
        lines.append("    end")
    homeless = (p for p in graph.places if p.kind == "pod" and p.node not in ids)
    lines += [f"    {_place(place, ids)}" for place in homeless]
    for link in graph.links:
        end = networks.get(link.to) or ids.get(link.to)
        line = "-.-" if link.to == OVERLAY else "---"
        if link.place in ids and end:
            text = "<br/>".join(map(escape, link_lines(link)))
            lines.append(f'    {ids[link.place]} {line}|"{text}"| {end}')
    return "\n".join(lines)


def _place(place: GraphPlace, ids: dict[str, str]) -> str:
    opening, closing = _SHAPES.get(place.kind, ("[", "]"))
    text = "<br/>".join(map(escape, place_lines(place)))
    return f'{ids[place.name]}{opening}"{text}"{closing}'
