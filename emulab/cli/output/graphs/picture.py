"""A graph as a picture: SVG that needs nothing beside it, neither a font nor a network.

Networks are upright bars. Left of the internet's bar is who is on it alone, between it and the vpc's who is on both,
and right of that the vpc with its nodes, each with its pods beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from emulab.cli.output.graphs.labels import link_lines, place_lines
from emulab.dataclass import dataclass
from emulab.toolbox.graph import OVERLAY, Graph, GraphLink, GraphPlace

_LETTER, _LINE = 7.2, 14  # pixels of a letter's width at the most, and of a line's height
_PAD, _GAP, _WIRE = 8, 18, 190  # within a box, between boxes, and of a column with wires
_MARGIN = 20
_COLOURS = {
    "client": "#fff3d6",
    "dns": "#e8e0f5",
    "resolver": "#e8e0f5",
    "router": "#f5d9d9",
    "balancer": "#d9ecf5",
    "node": "#dff0df",
    "pod": "#ffffff",
}
_STYLE = (
    "text{font:11px monospace;fill:#222}.small{font-size:9px;fill:#555}.name{font-weight:bold}"
    "rect{stroke:#666;rx:4}.wire{stroke:#888;stroke-width:1.2}.overlay{stroke-dasharray:5 4}"
    ".bar{stroke:#444;stroke-width:6;stroke-linecap:round}"
)


@dataclass(frozen=True, slots=True)
class Box:
    """A place with its position in pixels."""

    place: GraphPlace
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def render(graph: Graph) -> str:
    """The picture's source."""
    layout = _Layout(graph)
    width, height = layout.right + _MARGIN, layout.bottom + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        "<title>the lab's places and links</title>",
        f"<style>{_STYLE}</style>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fafafa" stroke="none"/>',
        *layout.bars(),
        *layout.wires(),
        *(line for box in layout.boxes.values() for line in _drawn(box)),
        "</svg>",
    ]
    return "\n".join(parts)


def _drawn(box: Box) -> Iterator[str]:
    yield (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
        f' fill="{_COLOURS.get(box.place.kind, "#eeeeee")}"/>'
    )
    for number, text in enumerate(place_lines(box.place)):
        style = ' class="name"' if number == 0 else ""
        at = box.y + _PAD + _LINE * (number + 0.75)
        yield f'<text x="{box.x + _PAD:.1f}" y="{at:.1f}"{style}>{escape(text)}</text>'


def _size(place: GraphPlace) -> tuple[float, float]:
    lines = place_lines(place)
    return max(map(len, lines)) * _LETTER + 2 * _PAD, len(lines) * _LINE + 2 * _PAD


class _Layout:
    """Where everything is."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.boxes: dict[str, Box] = {}
        on = {p.name: {link.to for link in graph.of(p.name)} for p in graph.places}
        pods = [p for p in graph.places if p.kind == "pod"]
        others = [p for p in graph.places if p.kind != "pod"]
        internet = [p for p in others if on[p.name] == {"internet"}]
        both = [p for p in others if {"internet", "vpc"} <= on[p.name]]
        rest = sorted(
            (p for p in others if p not in internet and p not in both), key=lambda p: p.kind == "node"
        )
        self._bars: dict[str, float] = {}
        x = self._column(internet, _MARGIN)
        x = self._bar("internet", x, bool(internet))
        x = self._column(both, x)
        x = self._bar("vpc", x, True)
        x = self._inside(rest, pods, x)
        self.right = x
        self.bottom = max((box.y + box.height for box in self.boxes.values()), default=_MARGIN)

    def _bar(self, network: str, x: float, wired: bool) -> float:
        """Puts a network's bar right of what is there, and says where what is right of it begins."""
        if network not in self._graph.networks:
            return x
        self._bars[network] = x + (_WIRE if wired else 0)
        return self._bars[network] + _WIRE

    def _column(self, places: Sequence[GraphPlace], x: float) -> float:
        """Puts places one below the other; returns where they end."""
        y, right = float(_MARGIN), x
        for place in places:
            width, height = _size(place)
            self.boxes[place.name] = Box(place, x, y, width, height)
            y, right = y + height + _GAP + _LINE, max(right, x + width)
        return right

    def _inside(self, places: Sequence[GraphPlace], pods: Sequence[GraphPlace], x: float) -> float:
        """The vpc's places, each as high as its pods beside it, and where all of it ends."""
        of_node: dict[str, list[GraphPlace]] = {}
        for pod in pods:
            of_node.setdefault(pod.node, []).append(pod)
        own = max((_size(p)[0] for p in places), default=0.0)
        if OVERLAY in self._graph.networks:
            self._bars[OVERLAY] = x + own + _WIRE
        beside = x + own + _WIRE + (_GAP if OVERLAY in self._bars else 0)
        y, right = float(_MARGIN), x + own
        homeless = [p for p in pods if p.node not in {place.name for place in places}]
        for place, its in [*((p, of_node.get(p.name, [])) for p in places), (None, homeless)]:
            top = y
            for pod in its:
                width, height = _size(pod)
                self.boxes[pod.name] = Box(pod, beside + _WIRE, y, width, height)
                y, right = y + height + _GAP, max(right, beside + _WIRE + width)
            if place is not None:
                width, height = _size(place)
                self.boxes[place.name] = Box(place, x, max(top, (top + y - _GAP - height) / 2), width, height)
                y = max(y, self.boxes[place.name].y + height + _GAP + _LINE)
        return right

    def bars(self) -> Iterator[str]:
        """The networks."""
        for network, x in self._bars.items():
            dashed = " overlay" if network == OVERLAY else ""
            yield f'<line class="bar{dashed}" x1="{x:.1f}" y1="{_MARGIN}" x2="{x:.1f}" y2="{self.bottom:.1f}"/>'
            yield f'<text class="name" x="{x + 6:.1f}" y="{_MARGIN - 6}">{escape(network)}</text>'

    def wires(self) -> Iterator[str]:
        """The links."""
        count: dict[tuple[str, bool], int] = {}
        for link in self._graph.links:
            box = self.boxes.get(link.place)
            end = self._end(link)
            if box is None or end is None:
                continue
            side = end[0] > box.x
            number = count[link.place, side] = count.get((link.place, side), -1) + 1
            yield from self._wire(link, box, end, number)

    def _end(self, link: GraphLink) -> tuple[float, float | None] | None:
        """Where a link ends: at a bar, at whatever height, or at another box."""
        if link.to in self._bars:
            return self._bars[link.to], None
        other = self.boxes.get(link.to)
        return (other.x + other.width, other.middle) if other else None

    def _wire(self, link: GraphLink, box: Box, end: tuple[float, float | None], number: int) -> Iterator[str]:
        right = end[0] > box.x
        x, y = (box.x + box.width if right else box.x), box.middle + number * _LINE * 1.6
        if link.to == OVERLAY:  # below those of the pods
            y = box.y + box.height - 3
        to = y if end[1] is None else end[1]
        style = "wire overlay" if link.to == OVERLAY else "wire"
        yield f'<line class="{style}" x1="{x:.1f}" y1="{y:.1f}" x2="{end[0]:.1f}" y2="{to:.1f}"/>'
        anchor, at = ("start", x + 4) if right else ("end", x - 4)
        for line, text in enumerate(link_lines(link)):
            below = y - 3 if line == 0 else y + 9
            yield (
                f'<text class="small" text-anchor="{anchor}" x="{at:.1f}" y="{below:.1f}">{escape(text)}</text>'
            )
