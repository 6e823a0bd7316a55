"""The ladder: nothing of a trace is left out, nothing is wider than the terminal, and a repetition is one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from trace_paths import INGRESS_POD, PRODUCT, RULE, refused, secure, shop

from emulab.observe.path import Connection, Failure, Hop, Path
from emulab.observe.telling.escapes import printable
from emulab.observe.telling.folding import DECISIONS, sections
from emulab.observe.telling.ladder import render
from emulab.observe.telling.texts import ellipsis, wrap
from emulab.observe.telling.timespans import apportion, span, totals_line

PATHS = [shop, refused, secure]
ROW = re.compile(r" *([\d.]+ (?:µs|ms)) +\+([\d.]+ (?:µs|ms)) ([→←]) (.*)")


def squeezed(text: str) -> str:
    """A text without any blanks: however it was broken into lines."""
    return "".join(text.split())


def rows(text: str) -> list[re.Match[str]]:
    return [m for line in text.splitlines() if (m := ROW.fullmatch(line))]


@pytest.mark.parametrize("make", PATHS)
@pytest.mark.parametrize("width", [60, 72, 80, 100, 160])
@pytest.mark.parametrize("every_packet", [False, True])
def test_no_line_is_wider_than_the_terminal(make: Callable[[], Path], width: int, every_packet: bool) -> None:
    for line in render(make(), width=width, every_packet=every_packet, method="GET").splitlines():
        assert len(line) <= width, line
        assert line == line.rstrip()


@pytest.mark.parametrize("make", PATHS)
@pytest.mark.parametrize("every_packet", [False, True])
def test_every_hop_is_in_one_row(make: Callable[[], Path], every_packet: bool) -> None:
    path = make()
    told = sections(path.hops, every_packet)
    indexes = [h.index for section in told.values() for row in section for h in row.hops]
    assert sorted(indexes) == [h.index for h in path.hops]
    count = sum(len(section) for section in told.values())
    text = render(path, every_packet=every_packet)
    assert len(rows(text)) == count
    folded = sum(int(n) for n in re.findall(r"same way, (\d+) hops", text))
    unfolded = sum(not row.folded for section in told.values() for row in section)
    assert folded + unfolded == len(path.to_json()["hops"])


@pytest.mark.parametrize("width", [60, 100])
def test_all_evidence_is_there_whatever_the_width(width: int) -> None:
    path = shop()
    text = squeezed(render(path, width=width))
    for hop in path.hops:
        pairs = (hop.conntrack or {}).values()
        tunnel = hop.encapsulation
        outer = [f"VXLAN {tunnel.vni}, {tunnel.outer_source} → {tunnel.outer_destination}"] if tunnel else []
        for evidence in (hop.detail, hop.object, hop.rule, hop.route, hop.event, *pairs, *outer):
            assert squeezed(evidence) in text
    for piece in (*path.places, *(c.title for c in path.connections), *path.notes):
        assert squeezed(piece) in text


def test_addresses_are_shown_where_they_change() -> None:
    lines = render(shop()).splitlines()
    before = next(i for i, line in enumerate(lines) if line.endswith("10.104.128.166:80 → 10.244.1.3:43586"))
    assert "veth46696d9501d" in lines[before - 1] and "←" in lines[before - 1]  # translated back on its way


def test_a_repeated_flight_is_one_line_and_says_what_it_carried() -> None:
    text = render(shop())
    assert re.search(
        r"→ GET /products/42   client → router → public-lb, same way, 4 hops in 9\.3 µs$", text, re.MULTILINE
    )
    assert "same way" not in render(shop(), every_packet=True)


def test_decisions_and_new_evidence_are_never_folded() -> None:
    path = refused()
    for row in sections(path.hops)[1]:
        assert not row.folded or not any(h.event in DECISIONS for h in row.hops)
    assert render(path).count("tcp dport 30090 drop") == 3
    # The same crossings by another route: that hop is told.
    changed = [
        replace(h, route="10.9.0.0/16 dev eth9") if h.index == 4 else h for h in path.hops
    ]  # the second SYN's arrival
    assert "10.9.0.0/16 dev eth9" in render(replace(path, hops=changed))


def test_a_flight_that_ends_elsewhere_is_told_in_full() -> None:
    path = refused()
    shorter = [h for h in path.hops if not (h.flight == 2 and h.place == "node1")]
    assert "same way" in render(replace(path, hops=shorter))  # the third is as the first
    assert len([r for r in sections(shorter)[1] if r.hops[0].flight == 2]) == 1


def test_deltas_are_since_the_latest_moment_that_was_told() -> None:
    for section in sections(shop().hops).values():
        assert all(row.delta >= 0 for row in section)
        for one, two in pairwise(section):
            assert two.delta == pytest.approx(two.first.time - one.hops[-1].time)


def test_a_long_pause_names_the_connections_that_it_was_for() -> None:
    text = render(shop())
    assert "⋮ meanwhile [2] [3]" in text and text.count("meanwhile") == 2


def test_flights_under_way_at_once_have_no_negative_deltas() -> None:
    path = refused()
    mixed = (
        [path.hops[i] for i in (0, 1, 2, 3)]
        + [replace(h, time=path.hops[3].time + n) for n, h in enumerate(path.hops[6:], 1)]
        + [replace(h, time=path.hops[3].time + 10 + n) for n, h in enumerate(path.hops[4:6])]
    )
    told = sections(mixed)[1]
    assert sorted(h.index for row in told for h in row.hops) == list(range(9))
    assert all(row.delta >= 0 for row in told)


def test_the_head_says_how_it_ended() -> None:
    assert render(shop(), method="GET").startswith(
        "GET http://shop.example.com/products/42 from client: 200 in 1.479 ms\nclient → router → public-lb"
    )
    assert render(refused()).startswith(
        "10.0.0.11:30090 from office: failed at node1 after 3000.025 ms (no-endpoints)"
    )
    unavailable = replace(refused(), status=503)
    assert "from office: 503 in 3000.025 ms, failed at node1 (no-endpoints)" in render(unavailable)
    assert "from office: answered in 3000.025 ms" in render(replace(refused(), failure=None))


def test_a_failure_says_where_why_and_what_to_do() -> None:
    text = render(refused())
    block = text[text.index("FAILED") :].splitlines()
    assert block[0] == "FAILED at node1: node1 dropped the connection: Service app/web has no ready endpoint"
    assert [line.split()[0] for line in block[1:]] == ["reason", "object", "kernel", "mend"]
    assert "NETFILTER_DROP" in block[3] and "get pods -n app" in block[4]


def test_the_certificate_is_told() -> None:
    head = " ".join(render(secure()).partition("\n\n")[0].split())
    assert "TLSv1.3 TLS_AES_256_GCM_SHA384, server name shop.example.com" in head
    assert "by CN=shop CA, valid 2026-01-01 00:00 UTC to 2027-01-01 00:00 UTC" in head


@pytest.mark.parametrize("make", PATHS)
def test_colour_adds_codes_and_nothing_else(make: Callable[[], Path]) -> None:
    plain, coloured = render(make()), render(make(), colour=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    stripped = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()
    for line in coloured.splitlines():  # no colour runs over a line's end
        assert not re.search(r"\x1b\[[\d;]+m", line) or line.rstrip().rfind("\x1b[0m") > line.rfind("\x1b[1")


def test_what_came_from_the_wire_cannot_command_the_terminal() -> None:
    path = shop()
    evil = replace(path.hops[0], detail="DNS A? \x1b]0;owned\x07\r\n\u202e", object="x\x9b2J")
    text = render(replace(path, hops=[evil, *path.hops[1:]], url="http://x/\x1b[2J", notes=["\x1b[2J"]))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "^[]0;owned^G" in text


def test_a_request_that_never_left_is_told() -> None:
    failure = Failure("client", "nxdomain", "no such name", "check it")
    text = render(Path("client", "http://x/", None, 0.0, [], [], failure=failure))
    assert "failed at client" in text and "FAILED at client: no such name" in text and "mend" in text


def test_hops_of_a_connection_without_a_title_are_told() -> None:
    path = replace(shop(), connections=[Connection(1, "the first", "client", "public-lb", "tcp")])
    text = render(path)
    assert "[0] name resolution" in text and "[1] the first" in text and "[3] connection" in text


def test_long_names_keep_their_ends_and_stay_apart() -> None:
    def hop(index: int, place: str) -> Hop:
        return Hop(
            index, index, 1, "request", place, "veth46696d9501d", "forward", "tcp", "a:1", "b:2", "x", flight=index
        )  # fmt: skip

    places = [f"team-{word}-in-production.database-primary-0" for word in ("alpha", "omega")]
    text = render(Path("client", "x:1", None, 1.0, [hop(i, p) for i, p in enumerate(places)], []), width=60)
    columns = [row[4].split()[0] for row in rows(text)]
    assert len(set(columns)) == 2 and all("…" in c for c in columns)


def test_many_packets_are_counted() -> None:
    path = shop()
    text = render(replace(path, hops=[replace(h, packets=40) for h in path.hops[:2]]))
    assert text.count("DNS A? shop.example.com (40 packets)") == 1


def test_the_rule_is_broken_between_words() -> None:
    text = render(shop())
    start = text.index("rule ")
    lines = text[start : text.index("conntrack", start)].splitlines()
    assert " ".join(" ".join(lines).split()) == f"rule {RULE}"


# --- times ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("us", "text"),
    [(0, "0.0 µs"), (12.34, "12.3 µs"), (999.94, "999.9 µs"), (999.96, "1.000 ms"), (2310.4, "2.310 ms")],
)
def test_spans(us: float, text: str) -> None:
    assert span(us) == text


def test_totals_add_up_as_they_are_shown() -> None:
    path = shop()
    text = totals_line(path)
    whole, _, parts = text.partition(" = ")
    outside = re.sub(r" \(.*?\)", "", parts)
    assert float(whole.split()[0]) == 1.48
    assert sum(float(n) for n in re.findall(r" (\d+\.\d+) ms", outside)) == pytest.approx(1.48)
    kernel = re.search(r"kernel ([\d.]+) ms \((.*?)\)", parts)
    assert kernel is not None
    inner = [float(n) for n in re.findall(r"\d+\.\d+", kernel[2])]
    assert sum(inner) == pytest.approx(float(kernel[1]))
    assert "container product-hdvnlsjrnv-kqbh4" in parts and PRODUCT not in parts
    assert ellipsis(INGRESS_POD, 32) in parts


def test_totals_of_a_quick_request_are_in_microseconds() -> None:
    path = replace(
        shop(), duration=30.0, totals={"dns_us": 10.05, "client_us": 0.0, "kernel_us": {"veth": 19.95}}
    )
    assert totals_line(path) in (
        "30.0 µs = DNS 10.1 µs · kernel 19.9 µs (veth 19.9)",
        "30.0 µs = DNS 10.0 µs · kernel 20.0 µs (veth 20.0)",
    )
    assert totals_line(replace(path, totals={})) == ""


@pytest.mark.parametrize(("values", "shares"), [([1.5, 1.5], [2, 1]), ([], []), ([0.4, 0.4, 0.4], [1, 0, 0])])
def test_shares_add_up(values: list[float], shares: list[int]) -> None:
    assert apportion(values, 1.0) == shares


# --- texts ------------------------------------------------------------------------------------------------


def test_an_ellipsis_stands_in_the_middle() -> None:
    assert ellipsis("product-hdvnlsjrnv-kqbh4", 13) == "produc…-kqbh4"
    assert ellipsis("node1", 5) == "node1"
    assert all(len(ellipsis("product-hdvnlsjrnv-kqbh4", n)) == n for n in range(2, 20))


def test_a_number_stays_with_its_unit() -> None:
    assert wrap("it took 9.3 µs", 12) == ["it took", "9.3 µs"]
    assert printable("a\tb") == "a\\tb"
