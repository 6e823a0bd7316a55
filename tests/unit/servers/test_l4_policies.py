"""The balancer's weights, consistent hash, limits, checks and what it adds to a connection, by themselves."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulab.servers.health.checks import probe
from emulab.servers.health.checks.http import ranges_of
from emulab.servers.health.config import HealthPolicy
from emulab.servers.l4.algorithms import STRATEGIES
from emulab.servers.l4.balance import BalancedTarget
from emulab.servers.l4.config import FrontendConfig, FrontendLimits, TargetConfig
from emulab.servers.l4.frontend import Frontend
from emulab.servers.l4.limits import ConnectionCount
from emulab.servers.l4.metrics import exposition
from emulab.servers.l4.spec import checked_spec
from emulab.servers.l4.tcplog import EndedConnection, ended_line
from emulab.servers.wire.proxyheader import proxy_header


def targets(*weights: int) -> list[BalancedTarget]:
    return [BalancedTarget(f"n{n}", f"10.0.0.{n}", 80, weight) for n, weight in enumerate(weights)]


def firsts(balance: str, given_targets: list[BalancedTarget], count: int) -> list[str]:
    strategy = STRATEGIES[balance]()
    return [strategy.order(given_targets, f"10.1.{n >> 8}.{n & 255}")[0].name for n in range(count)]


def test_turns_are_by_weight_and_spread() -> None:
    assert firsts("roundrobin", targets(3, 1), 8) == ["n0", "n0", "n1", "n0"] * 2
    assert set(firsts("roundrobin", targets(1, 0, 1), 4)) == {"n0", "n2"}
    assert STRATEGIES["roundrobin"]().order(targets(0, 0), "c") == []


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_in_as_many_turns_as_all_weights_each_has_its_own(weights: list[int]) -> None:
    seen = Counter(
        firsts("roundrobin", targets(*weights), sum(weights) if len(set(weights)) > 1 else len(weights))
    )
    expected = weights if len(set(weights)) > 1 else [1] * len(weights)
    assert [seen[f"n{n}"] for n in range(len(weights))] == expected


def test_the_fewest_connections_for_its_weight() -> None:
    two = targets(3, 1)
    two[0].open, two[1].open = 5, 2
    assert firsts("leastconn", two, 1) == ["n0"], "5/3 is less than 2/1"
    two[0].open = 7
    assert firsts("leastconn", two, 1) == ["n1"]


def test_of_n_targets_one_that_goes_moves_its_own_clients_alone() -> None:
    five = targets(*[1] * 5)
    before = firsts("source", five, 2000)
    five[2].health.healthy = False
    after = firsts("source", five, 2000)
    moved = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert {a for a, _ in moved} == {"n2"} and {b for _, b in moved} == {"n0", "n1", "n3", "n4"}
    assert 0.15 < len(moved) / 2000 < 0.25
    five[2].health.healthy = True
    assert firsts("source", five, 2000) == before


def test_limits_by_a_clock() -> None:
    gate = ConnectionCount(FrontendLimits(connections=3, connections_per_source=2, rate=2))
    assert gate.refusal("a", 0.0) == "" and gate.refusal("a", 0.0) == ""
    assert gate.refusal("a", 0.1) == "too many new connections: 2 a second"
    assert gate.refusal("a", 0.6) == ""
    for _ in range(2):
        gate.enter("a")
    assert gate.refusal("a", 9.0).startswith("too many connections of one source")
    assert gate.refusal("b", 9.0) == ""
    gate.enter("b")
    assert gate.refusal("c", 9.0) == "too many connections: 3 are open"
    gate.leave("a")
    assert gate.refusal("a", 20.0) == "" and gate.open == 2
    gate.leave("a")
    gate.leave("b")
    assert gate.open == 0


def frontend(**fields: Any) -> Frontend:
    own = (TargetConfig("n0", "10.0.0.1", 80), TargetConfig("n1", "10.0.0.2", 80))
    config = FrontendConfig(**{"balance": "roundrobin", "targets": own, **fields})
    return Frontend(checked_spec("tcp/203.0.113.10/80", config))


def test_failing_open_is_for_when_nobody_is_healthy() -> None:
    policy = HealthPolicy(1.0, 1.0, 1, 1)
    for fail_open, expected in ((True, ["n0", "n1"]), (False, [])):
        one = frontend(fail_open=fail_open, health=policy)
        for target in one.targets:
            target.health.healthy = False
        assert sorted(t.name for t in one.order("c", 0.0)) == expected
        assert ("failing open, 0 of 2" in one.explain(2)) is fail_open
        one.targets[1].health.healthy = True
        assert [t.name for t in one.order("c", 0.0)] == ["n1"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"proxy_protocol": 3}, "version 3"),
        ({"health": HealthPolicy(1.0, 1.0, 1, 1, codes="99")}, "99"),
        ({"health": HealthPolicy(1.0, 1.0, 1, 1, protocol="icmp")}, "icmp"),
    ],
)
def test_what_no_frontend_can_do_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frontend(**fields)


def test_headers_of_the_proxy_protocol() -> None:
    ends = ("192.0.2.1", 1000), ("203.0.113.10", 80)
    assert proxy_header(1, *ends) == b"PROXY TCP4 192.0.2.1 203.0.113.10 1000 80\r\n"
    assert proxy_header(1) == b"PROXY UNKNOWN\r\n"
    start = bytes.fromhex("0d0a0d0a000d0a515549540a")
    assert proxy_header(2, *ends) == start + bytes.fromhex("2111000c c0000201 cb00710a 03e8 0050")
    assert proxy_header(2) == start + bytes.fromhex("20000000")
    six = ("2001:db8::1", 1, 0, 0), ("2001:db8::2", 2, 0, 0)
    assert proxy_header(1, *six) == b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"
    assert proxy_header(2, *six)[12:16] == bytes.fromhex("21210024") and len(proxy_header(2, *six)) == 16 + 36
    mapped = ("::ffff:192.0.2.1", 1, 0, 0), ("203.0.113.10", 80)
    assert proxy_header(1, *mapped).startswith(b"PROXY TCP4 192.0.2.1 ")


@pytest.mark.parametrize(
    ("codes", "ranges"),
    [("200", ((200, 200),)), ("200,301-302", ((200, 200), (301, 302))), ("200-399", ((200, 399),))],
)
def test_codes(codes: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert ranges_of(codes) == ranges


@pytest.mark.parametrize("codes", ["", "99", "600", "400-300", "x"])
def test_what_is_no_codes(codes: str) -> None:
    with pytest.raises(ValueError):
        ranges_of(codes)


async def asked(answer: bytes, policy: HealthPolicy, header: int = 0) -> tuple[Any, bytes]:
    """A check of a server that answers so, and what it was sent."""
    got = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        got = await reader.readuntil(b"\r\n\r\n") if answer else b""
        if got.endswith(b"UNKNOWN\r\n\r\n"):
            got += await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        return await probe("127.0.0.1", port, policy, header), got
    finally:
        server.close()


OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def test_a_check_asks_as_it_is_told() -> None:
    async def run() -> None:
        policy = HealthPolicy(1.0, 5.0, 1, 1, path="/ready", host="shop.example.com", codes="200-299")
        result, got = await asked(OK, policy)
        assert result[:3] == (True, "L7OK", "204")
        assert got.startswith(b"GET /ready HTTP/1.0\r\nHost: shop.example.com\r\n")
        result, got = await asked(OK, HealthPolicy(1.0, 5.0, 1, 1, path="/"), header=1)
        assert result[:3] == (False, "L7STS", "204") and got.startswith(b"PROXY UNKNOWN\r\nGET / ")
        result, _ = await asked(b"", HealthPolicy(1.0, 5.0, 1, 1))
        assert result[:2] == (True, "L4OK") and result.seconds > 0
        result, _ = await asked(b"nonsense\r\n\r\n", HealthPolicy(1.0, 5.0, 1, 1, path="/"))
        assert result[:2] == (False, "L7RSP")

    asyncio.run(run())


def test_a_check_of_nobody() -> None:
    async def run() -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            result = await probe("127.0.0.1", held.getsockname()[1], HealthPolicy(1.0, 5.0, 1, 1))
        assert result[:3] == (False, "L4CON", "Connection refused")

    asyncio.run(run())


def test_numbers_have_haproxys_names() -> None:
    one = frontend()
    one.targets[0].total, one.targets[1].health.healthy = 7, False
    lines = exposition([one], 5.5).splitlines()
    proxy = 'proxy="tcp/203.0.113.10/80"'
    for expected in (
        "haproxy_process_uptime_seconds 5",
        f'haproxy_server_sessions_total{{{proxy},server="n0"}} 7',
        f'haproxy_server_status{{{proxy},server="n1",state="DOWN"}} 1',
        f'haproxy_server_status{{{proxy},server="n1",state="UP"}} 0',
        f'haproxy_backend_status{{{proxy},state="UP"}} 1',
        f"haproxy_backend_active_servers{{{proxy}}} 1",
        f"haproxy_frontend_current_sessions{{{proxy}}} 0",
    ):
        assert expected in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) and all(name.startswith("haproxy_") for name in names)


def test_a_line_is_haproxys_tcplog() -> None:
    one = frontend()
    line = ended_line(EndedConnection("192.0.2.1:1000", one, one.targets[0], 0.0021, 1.5, 212, "--", 1))
    client, when, *rest = line.split(" ")
    assert client == "192.0.2.1:1000" and when[0] + when[-1] == "[]"
    key = "tcp/203.0.113.10/80"
    assert rest == [key, f"{key}/n0", "0/2/1500", "212", "--", "0/0/0/0/1", "0/0"]
    line = ended_line(EndedConnection("192.0.2.1:1000", one, None, -1.0, 0.0, 0, "SC", 2))
    assert f" {key}/<NOSRV> -1/-1/0 0 SC 0/0/0/0/2 0/0" in line
