"""A lab's graph as text: for Mermaid, for Graphviz, as a picture, for programs. A module each, a line in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emulab.cli.output.graphs import dot, mermaid, picture, record
from emulab.toolbox.graph import Graph

FORMATS: Mapping[str, Callable[[Graph], str]] = {
    "mermaid": mermaid.render,
    "dot": dot.render,
    "svg": picture.render,
    "json": record.render,
}
