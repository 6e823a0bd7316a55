"""A graph in Graphviz' language: `emulab graph -o dot | dot -Tpng > lab.png`."""

from __future__ import annotations

from collections.abc import Sequence

from emulab.cli.output.graphs.labels import link_lines, place_lines
from emulab.toolbox.graph import OVERLAY, Graph, GraphPlace

_SHAPES = {"router": "diamond", "balancer": "trapezium", "client": "oval"}


def render(graph: Graph) -> str:
    """The graph's source."""
    lines = [
        "graph lab {",
        '    graph [rankdir=LR, fontname="sans-serif", nodesep=0.3, ranksep=1.2];',
        '    node [shape=box, fontname="sans-serif", fontsize=11];',
        '    edge [fontname="sans-serif", fontsize=9];',
    ]
    lines += [
        f"    {quoted(f'network {name}')} [label={quoted(name)}, shape=ellipse, style=filled];"
        for name in graph.networks
    ]
    lines += [f"    {_place(p)}" for p in graph.places if p.kind not in ("node", "pod")]
    for number, node in enumerate(p for p in graph.places if p.kind == "node"):
        lines += [f"    subgraph cluster_{number} {{", f"        label={quoted(node.name)};"]
        lines += [f"        {_place(p)}" for p in graph.places if p is node or p.node == node.name]
        lines.append("    }")
    nodes = {p.name for p in graph.places if p.kind == "node"}
    lines += [f"    {_place(p)}" for p in graph.places if p.kind == "pod" and p.node not in nodes]
    for link in graph.links:
        end = f"network {link.to}" if link.to in graph.networks else link.to
        style = ", style=dashed" if link.to == OVERLAY else ""
        lines.append(f"    {quoted(link.place)} -- {quoted(end)} [label={_label(link_lines(link))}{style}];")
    return "\n".join([*lines, "}"])


def _place(place: GraphPlace) -> str:
    shape = f", shape={_SHAPES[place.kind]}" if place.kind in _SHAPES else ""
    return f"{quoted(place.name)} [label={_label(place_lines(place))}{shape}];"


def quoted(text: str) -> str:
    """A string of the language. Of its labels' own escapes (`\\n`, `\\N`) none is meant."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _label(lines: Sequence[str]) -> str:
    return '"' + "\\n".join(quoted(line)[1:-1] for line in lines) + '"'
