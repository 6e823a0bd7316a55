"""The sequence diagram, against the grammar that Mermaid reads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from trace_paths import INGRESS_POD, refused, secure, shop

from emulab.cli.output.mermaid import escape, render
from emulab.observe.path import Connection, Failure, Path

# What Mermaid's own grammar (sequenceDiagram.jison) allows of what we write. A text ends at `#` or `;`, unless
# they are of an entity; a participant's alias ends at them too, and isn't to hold a colon.
TEXT = r"(?:[^#;\n]|\#\w+;)+"
ALIAS = r"(?:[^#;:\n]|\#\w+;)+"
GRAMMAR = re.compile(
    rf"""
    title\ (?P<title>{TEXT})
    | (?P<autonumber>autonumber)
    | participant\ (?P<id>p\d+)\ as\ (?P<alias>{ALIAS})
    | Note\ over\ (?P<over>p\d+(?:,p\d+)?):\ (?P<note>{TEXT})
    | (?P<start>p\d+)(?P<arrow>->>|-->>|-x|--x)(?P<end>p\d+):\ (?P<message>{TEXT})
    """,
    re.VERBOSE,
)


def parsed(text: str) -> list[dict[str, str]]:
    """Every statement; fails at the first that Mermaid wouldn't take."""
    first, *lines = text.splitlines()
    assert first == "sequenceDiagram"
    statements = []
    declared: set[str] = set()
    for line in lines:
        match = GRAMMAR.fullmatch(line.strip())
        assert match, line
        found = {k: v for k, v in match.groupdict().items() if v}
        if "id" in found:
            assert found["id"] not in declared
            declared.add(found["id"])
        used = {found[k] for k in ("start", "end") if k in found} | set(found.get("over", "").split(",")) - {
            ""
        }
        assert used <= declared
        for shown in ("note", "message", "alias", "title"):
            assert not re.search(r"<(?!br/>)|\"", found.get(shown, ""))
        statements.append(found)
    return statements


def plain(text: str) -> str:
    return re.sub(r"#(\d+);", lambda m: chr(int(m[1])), text).replace("<br/>", " ")


def aliases(statements: list[dict[str, str]]) -> dict[str, str]:
    return {s["id"]: plain(s["alias"]) for s in statements if "id" in s}


@pytest.mark.parametrize("make", [shop, refused, secure])
def test_mermaid_can_read_it(make: Callable[[], Path]) -> None:
    statements = parsed(render(make(), "GET"))
    assert sum("autonumber" in s for s in statements) == 1


def test_participants_stand_in_the_order_of_the_way() -> None:
    names = list(aliases(parsed(render(shop()))).values())
    assert names == [
        *("client", "router", "public-lb", "node1", INGRESS_POD, "node2", "product-hdvnlsjrnv-kqbh4"),
        *("resolver", "dns"),
    ]


def test_an_arrow_for_each_step_of_each_flight() -> None:
    path = shop()
    statements = parsed(render(path))
    names = aliases(statements)
    arrows = [
        (names[s["start"]], s["arrow"], names[s["end"]], plain(s["message"]))
        for s in statements
        if "arrow" in s
    ]
    steps = 0
    for flight in {(h.connection, h.direction, h.flight) for h in path.hops}:
        places = [h.place for h in path.hops if (h.connection, h.direction, h.flight) == flight]
        steps += sum(a != b for a, b in pairwise(places))
    assert len(arrows) == steps
    assert arrows[0] == ("client", "->>", "resolver", "DNS A? shop.example.com")
    assert ("node1", "->>", "node2", "GET /products/42 (in VXLAN 1)") in arrows
    assert ("public-lb", "-->>", "router", "HTTP 200 (640 bytes)") in arrows


def test_arrows_stand_in_the_order_of_time() -> None:
    statements = parsed(render(shop()))
    messages = [plain(s["message"]) for s in statements if "message" in s]
    assert messages.index("HTTP 200 (612 bytes)") > messages.index("GET /products/42")
    assert messages[-1] == "TCP FIN, ACK"


def test_notes_tell_decisions_with_their_objects() -> None:
    statements = parsed(render(shop()))
    names = aliases(statements)
    notes = [(names[s["over"].split(",")[0]], plain(s["note"])) for s in statements if "note" in s]
    assert ("node1", "DNAT: Service default/product-service port 80 → pod default/product-hdvnlsjrnv-kqbh4 "
            "10.244.1.3:43586 → 10.244.2.3:8080") in notes  # fmt: skip
    assert any(place == "public-lb" and "round robin" in note for place, note in notes)
    assert any("Ingress default/shop-ingress" in note for _, note in notes)


def test_what_is_dropped_ends_in_a_cross() -> None:
    statements = parsed(render(refused()))
    assert [s["arrow"] for s in statements if "arrow" in s] == ["-x"] * 3
    notes = [plain(s["note"]) for s in statements if "note" in s]
    assert "no ready endpoint" in notes[-1] and any(n.startswith("DROP") for n in notes)


def test_what_is_dropped_before_it_left_is_lost_at_its_sender() -> None:
    path = refused()
    sent = replace(path, hops=[replace(path.hops[0], event="drop")], places=["office"])
    arrows = [s for s in parsed(render(sent)) if "arrow" in s]
    assert [(s["start"], s["arrow"], s["end"]) for s in arrows] == [("p0", "-x", "p0")]


def test_what_means_something_to_mermaid_is_shown_as_it_is() -> None:
    strange = 'end; note #1: "a" <b> %% {x} \\n é'
    path = shop()
    hops = [replace(h, detail=strange, place=strange if h.place == "node2" else h.place) for h in path.hops]
    titles = [Connection(0, strange, "client", strange, "udp")]
    failure = Failure(strange, "odd", strange, strange, object=strange)
    statements = parsed(
        render(replace(path, hops=hops, url=strange, connections=titles, places=[], failure=failure), "GET")
    )
    assert strange in aliases(statements).values()
    assert all(plain(s["message"]).startswith(strange) for s in statements if "message" in s)
    assert any(strange in plain(s["note"]) for s in statements if "note" in s)
    assert plain(escape(strange)) == strange
    assert not re.search(r"[\n\x1b]", escape("a\n\x1b[2J"))


def test_a_request_that_never_left_is_a_diagram() -> None:
    failure = Failure("client", "nxdomain", "no such name", "check it")
    statements = parsed(render(Path("client", "http://x/", None, 0.0, [], [], failure=failure)))
    assert list(aliases(statements).values()) == ["client"]
    assert "no such name" in statements[-1]["note"]
