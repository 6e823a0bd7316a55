"""Graphs as text, against what reads them. `tests/e2e/test_toolbox_looks.py` has Graphviz read one."""

from __future__ import annotations

import json
import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from emulab.cli.output.graphs import FORMATS
from emulab.cli.output.graphs.dot import quoted
from emulab.cli.output.graphs.labels import carried, size
from emulab.cli.output.graphs.picture import _Layout
from emulab.observe.capture.counters import LinkCounters
from emulab.toolbox.graph import Graph, graph_of

SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'a"b<c>&\\#;é'


def place(name: str, kind: str, node: str = "", *addresses: str) -> dict[str, object]:
    return {"name": name, "kind": kind, "node": node, "addresses": list(addresses)}


def link(network: str, *ends: tuple[str, str], kind: str = "veth") -> dict[str, object]:
    return {"kind": kind, "network": network, "ends": [list(end) for end in ends]}


TOPOLOGY = {
    "places": [
        place("client", "client", "", "198.51.100.2", "2001:db8::2"),
        place(NASTY, "client"),
        place("router", "router"),
        place("public-lb", "balancer"),
        place("node1", "node", "", "10.0.0.11"),
        place("node2", "node"),
        *(place(f"default.web-{n}", "pod", "node1") for n in range(4)),
        place("default.by-plugin", "pod", "node2"),
        place("default.nowhere", "pod", ""),
    ],
    "networks": ["internet", "overlay", "vpc"],
    "links": [
        *(link("", ("node1", f"veth{n}"), (f"default.web-{n}", "eth0")) for n in range(4)),
        link("internet", ("client", "eth0")),
        link("internet", (NASTY, "eth0")),
        link("internet", ("router", "internet")),
        link("vpc", ("router", "vpc")),
        link("vpc", ("public-lb", "eth0")),
        link("vpc", ("node1", "eth0")),
        link("vpc", ("node2", "eth0")),
        link("overlay", ("node1", "flannel.1"), kind="vxlan"),
    ],
}
GRAPH = graph_of(TOPOLOGY)


def test_links_are_those_of_places() -> None:
    ends = {(n.place, n.interface, n.to, n.to_interface) for n in GRAPH.links}
    assert ("default.web-0", "eth0", "node1", "veth0") in ends
    assert ("default.by-plugin", "eth0", "node2", "") in ends
    assert ("router", "vpc", "vpc", "") in ends and len(ends) == 13


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_graph_has_a_form(name: str) -> None:
    assert FORMATS[name](Graph((), (), ()))


STRING = r'"(?:[^"\\]|\\.)*"'
ATTRIBUTES = rf"\[\w+=(?:{STRING}|[\w.-]+)(?:, \w+=(?:{STRING}|[\w.-]+))*\]"
DOT = re.compile(
    rf"graph lab \{{|\}}|(?:graph|node|edge) {ATTRIBUTES};|{STRING} {ATTRIBUTES};|{STRING} -- {STRING} {ATTRIBUTES};"
    rf"|subgraph cluster_\d+ \{{|label={STRING};"
)


def test_dot_is_of_its_grammar() -> None:
    for line in FORMATS["dot"](GRAPH).splitlines():
        assert DOT.fullmatch(line.strip()), line
    assert quoted(NASTY) == '"a\\"b<c>&\\\\#;é"'


MERMAID = re.compile(
    r'flowchart LR|subgraph s\w+ \["[^"]*"\]|end'
    r'|[pn]\d+(?:\{\{"[^"]*"\}\}|\[/"[^"]*"\\\]|\(\["[^"]*"\]\)|\("[^"]*"\)|\["[^"]*"\])'
    r'|p\d+ (?:---|-\.-)\|"[^"]*"\| [pn]\d+'
)


def test_mermaid_is_of_its_grammar() -> None:
    for line in FORMATS["mermaid"](GRAPH).splitlines():
        assert MERMAID.fullmatch(line.strip()), line
        assert not re.search(r"<(?!br/>)", line)


def test_a_picture_has_all_and_nothing_lies_on_another() -> None:
    root = ElementTree.fromstring(FORMATS["svg"](GRAPH))
    texts = {"".join(t.itertext()) for t in root.iter(f"{SVG}text")}
    assert {
        "client",
        NASTY,
        "2001:db8::2",
        "node1",
        "web-3",
        "by-plugin",
        "nowhere",
        "vpc",
        "overlay",
    } <= texts
    layout = _Layout(GRAPH)
    boxes = list(layout.boxes.values())
    assert len(boxes) == len(GRAPH.places)
    for a, b in combinations(boxes, 2):
        beside = a.x + a.width <= b.x or b.x + b.width <= a.x
        assert beside or a.y + a.height <= b.y or b.y + b.height <= a.y, (a, b)
    assert all(b.x >= 0 and b.x + b.width <= layout.right and b.y + b.height <= layout.bottom for b in boxes)


def test_numbers() -> None:
    assert [size(n) for n in (0, 999, 1000, 4_500_000)] == ["0 B", "999 B", "1 kB", "4.5 MB"]
    counters = LinkCounters(received=1, sent=2, received_bytes=3000, sent_bytes=40, dropped=6)
    assert carried(counters, 0) == "↑2 40 B ↓1 3 kB ✗6"
    assert carried(counters._replace(dropped=0), 5) == "↑2 40 B ↓1 3 kB in 5 s"
    told = json.loads(FORMATS["json"](GRAPH))
    assert told["places"][0]["addresses"] == ["198.51.100.2", "2001:db8::2"]
