"""IPVS: which commands turn a table into another, and their bytes as another library reads them."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address

from pyroute2.netlink.generic.ipvs import ipvsmsg

from emulab.kernel.netlink.ipvs import IPVS
from emulab.kernel.rules import ipvs
from emulab.kernel.rules.ipvs import (
    IpvsCommand,
    RealServer,
    changes,
    differing_servers,
    message,
    name_of,
    real_server,
)
from emulab.plan.state import Ipvs, VirtualServer

ONE, TWO, THREE = ((ip_address(f"10.244.1.{n}"), 8080) for n in (1, 2, 3))


def server(
    port: int = 80, protocol: str = "tcp", scheduler: str = "rr", persistence: int = 0
) -> VirtualServer:
    return VirtualServer(protocol, ip_address("10.96.0.7"), port, scheduler, persistence)


def table(*targets: tuple[ip_address, int], of: VirtualServer | None = None) -> Ipvs:
    return Ipvs({of or server(): dict.fromkeys(targets, 1)})


def there(
    *targets: tuple[ip_address, int], connections: int = 0, weight: int = 1
) -> dict[ipvs.RealAddress, RealServer]:
    return dict.fromkeys(targets, RealServer(weight, connections))


def verbs(commands: list[IpvsCommand]) -> list[str]:
    return [c.what for c in commands]


def test_a_new_table_and_none() -> None:
    commands, draining = changes(Ipvs({}), table(ONE), {})
    assert verbs(commands) == [
        "add virtual server TCP 10.96.0.7:80, scheduler rr",
        "add real server 10.244.1.1:8080 of TCP 10.96.0.7:80",
    ]
    assert not draining
    assert verbs(changes(table(ONE), Ipvs({}), {})[0]) == [
        "remove virtual server TCP 10.96.0.7:80, scheduler rr"
    ]


def test_what_is_added_comes_before_what_goes() -> None:
    before, after = table(ONE), table(TWO)
    assert differing_servers(before, after) == [server()]
    commands, draining = changes(before, after, {server(): there(ONE)})
    assert verbs(commands) == [
        "add real server 10.244.1.2:8080 of TCP 10.96.0.7:80",
        "remove real server 10.244.1.1:8080 of TCP 10.96.0.7:80",
    ]
    assert not draining


def test_a_server_with_connections_stays_without_weight() -> None:
    commands, draining = changes(table(ONE, TWO), table(TWO), {server(): there(ONE, TWO, connections=1)})
    assert [(c.verb, c.target, c.weight) for c in commands] == [(ipvs.SET_DEST, ONE, 0)]
    assert draining == {name_of(server())}
    left = {**there(ONE, connections=1, weight=0), **there(TWO)}
    assert changes(table(TWO), table(TWO), {server(): left}) == ([], draining)
    gone = {**there(ONE, weight=0), **there(TWO)}
    commands, draining = changes(table(TWO), table(TWO), {server(): gone})
    assert [(c.verb, c.target) for c in commands] == [(ipvs.DEL_DEST, ONE)] and not draining


def test_a_server_that_comes_back_gets_its_weight_again() -> None:
    left = {server(): there(ONE, connections=1, weight=0)}
    commands, draining = changes(table(TWO), table(TWO, ONE), {**left})
    assert [(c.verb, c.target, c.weight) for c in commands] == [
        (ipvs.NEW_DEST, TWO, 1),
        (ipvs.SET_DEST, ONE, 1),
    ]
    assert not draining


def test_a_udp_server_goes_at_once() -> None:
    udp = server(protocol="udp")
    known = {udp: there(ONE, TWO, connections=7)}
    commands, draining = changes(table(ONE, TWO, of=udp), table(TWO, of=udp), known)
    assert [(c.verb, c.target) for c in commands] == [(ipvs.DEL_DEST, ONE)] and not draining


def test_a_tcp_server_goes_at_once_where_nobody_is_graceful() -> None:
    after = replace(table(TWO), graceful=False)
    commands, draining = changes(table(ONE, TWO), after, {server(): there(ONE, TWO, connections=1)})
    assert [(c.verb, c.target) for c in commands] == [(ipvs.DEL_DEST, ONE)] and not draining


def test_another_scheduler_changes_the_server_and_nothing_else() -> None:
    commands, _ = changes(table(ONE), table(ONE, of=server(scheduler="lc")), {})
    assert verbs(commands) == ["change virtual server TCP 10.96.0.7:80, scheduler lc"]
    assert changes(table(ONE), table(ONE), {}) == ([], set())


def decoded(command: IpvsCommand) -> tuple[dict[str, object], dict[str, object]]:
    """Command, service and real server as pyroute2 reads them."""
    sent = message(command, 0x20)
    data = struct.pack("=IHHII", len(sent.payload) + 16, sent.type, sent.flags, 1, 0) + sent.payload
    read = ipvsmsg(data)
    read.decode()
    assert read["cmd"] == command.verb and read["version"] == 1
    found = {}
    for kind in ("SERVICE", "DEST"):
        part = read.get_attr(f"IPVS_CMD_ATTR_{kind}")
        found[kind] = {k.rpartition("_ATTR_")[2]: v for k, v in part["attrs"]} if part else {}
    return found["SERVICE"], found["DEST"]


def test_the_bytes_of_a_virtual_server() -> None:
    service, _ = decoded(IpvsCommand(ipvs.NEW_SERVICE, server(scheduler="wlc", persistence=10800)))
    assert (service["AF"], service["PROTOCOL"], service["PORT"]) == (2, 6, 80)
    assert service["ADDR"] == "10.96.0.7" and service["SCHED_NAME"] == "wlc"
    assert service["TIMEOUT"] == 10800 and service["NETMASK"] == "255.255.255.255"
    assert service["FLAGS"]["flags"] == 1  # type: ignore[index]


def test_the_bytes_of_a_real_server() -> None:
    service, dest = decoded(IpvsCommand(ipvs.SET_DEST, server(), ONE, 0))
    assert service["PORT"] == 80 and "SCHED_NAME" not in service
    assert (dest["ADDR"], dest["PORT"], dest["WEIGHT"], dest["FWD_METHOD"]) == ("10.244.1.1", 8080, 0, 0)


def test_an_answer_is_read() -> None:
    connections = {"IPVS_DEST_ATTR_ACTIVE_CONNS": 2, "IPVS_DEST_ATTR_INACT_CONNS": 5}
    answer = IPVS.encode({"IPVS_CMD_ATTR_DEST": ipvs._real(ONE, 3) | connections})
    assert real_server(answer) == (ONE, RealServer(3, 7))


def test_who_is_known_by_a_mark_is_another_one_and_gets_packets_in_a_tunnel() -> None:
    plain, marked = server(), replace(server(), mark=0x1B0E)
    commands, _ = changes(table(ONE), table(ONE, of=marked), {})
    assert [c.verb for c in commands] == [ipvs.NEW_SERVICE, ipvs.NEW_DEST, ipvs.DEL_SERVICE]
    assert [c.server for c in commands] == [marked, marked, plain]
    service, real, _ = (IPVS.decode(ipvs.message(c, 30).payload) for c in commands)
    assert service["IPVS_CMD_ATTR_SERVICE"]["IPVS_SVC_ATTR_FWMARK"] == 0x1B0E
    assert "IPVS_SVC_ATTR_ADDR" not in service["IPVS_CMD_ATTR_SERVICE"]
    assert real["IPVS_CMD_ATTR_DEST"]["IPVS_DEST_ATTR_FWD_METHOD"] == 2
