"""What HAProxy is told of a balancer, and what its log and its numbers say of one."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from emulab.servers.engines.balancer import conf
from emulab.servers.engines.balancer.conf import BalancerPlace, balancer_cfg
from emulab.servers.engines.balancer.logged import (
    connection_records,
    health_record,
    refusal_record,
    refusals,
    told,
)
from emulab.servers.engines.balancer.names import proxy_name, server_name
from emulab.servers.engines.balancer.statistics import frontend_status, read_rows
from emulab.servers.health.config import HealthPolicy
from emulab.servers.l4.config import FrontendConfig, FrontendLimits, L4Config, TargetConfig

KEY, KEY6 = "tcp/203.0.113.10/80", "tcp/2001:db8:2::10/80"
HEALTH = HealthPolicy(interval=1.0, down_interval=0.1, timeout=1.0, rise=1, fall=2)
NODES = (TargetConfig("node1", "10.0.0.11", 30080, 3), TargetConfig("node2", "10.0.0.12", 30080))
PLAIN = FrontendConfig("roundrobin", NODES, HEALTH)
EVERYTHING = FrontendConfig(
    "source",
    (*NODES, TargetConfig.nameless("fd00::3", 8080)),
    replace(HEALTH, path="/health?a=#1", host="shop.test", codes="200-299, 301", protocol="https", port=9),
    ("10.0.0.0/8", "fd00::/8"),
    idle_timeout=5,
    affinity=60,
    fail_open=True,
    drain=3,
    proxy_protocol=1,
    limits=FrontendLimits(10, 5, 50),
)


def cfg(one: FrontendConfig, key: str = KEY) -> str:
    return balancer_cfg(L4Config.at({key: one}, ("tcp/10.0.0.10/8404",)), BalancerPlace({key: 7}, 3))


def lines(one: FrontendConfig, key: str = KEY) -> list[str]:
    return [line.strip() for line in cfg(one, key).splitlines()]


def test_a_plain_balancer() -> None:
    found = lines(PLAIN)
    assert "bind fd@7" in found and "balance roundrobin" in found and "retries 1" in found
    checks = "check inter 1000ms downinter 100ms rise 1 fall 2"
    assert f"server node1 10.0.0.11:30080 weight 3 {checks}" in found
    assert "tcp-request connection reject if { nbsrv(tcp:203.0.113.10:80) eq 0 } !{ stopping }" in found
    assert not [line for line in found if line.startswith(("stick on", "option httpchk"))]
    assert "max-spread-checks 1s" in found, (
        "or the last target is asked after a whole interval, and `up` waits"
    )


def test_all_that_can_be_asked_for() -> None:
    found = lines(EVERYTHING, KEY6)
    for line in (
        "acl allowed src 10.0.0.0/8 fd00::/8",
        "tcp-request connection reject if !allowed",
        "tcp-request connection reject if { fe_conn gt 10 }",
        "tcp-request connection reject if { sc0_conn_cur gt 5 }",
        "tcp-request connection reject if { sc1_gpc0_rate ge 50 }",
        "use_backend tcp:2001:db8:2::10:80:all if { nbsrv(tcp:2001:db8:2::10:80) eq 0 } !{ stopping }",
        "hash-type consistent",
        "stick-table type ipv6 size 100k expire 60s",
        "timeout client 5000ms",
        "http-check expect status 200-299,301",
        "server fd00::3:8080 [fd00::3]:8080 weight 1 send-proxy",  # of the backend that looks at nobody's health
    ):
        assert line in found, line
    [checked] = [line for line in found if line.startswith("server node1") and "check " in line]
    assert "send-proxy" in checked and checked.endswith("port 9 check-ssl verify none check-sni shop.test")


@pytest.mark.parametrize("key", [KEY, KEY6])
@pytest.mark.parametrize("one", [PLAIN, EVERYTHING, FrontendConfig("leastconn", ())])
def test_haproxy_takes_it(one: FrontendConfig, key: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the path of a socket has 108 octets at most
        text = cfg(one, key).replace("bind fd@7", "bind 127.0.0.1:1").replace(conf.FOLDER, folder)
        Path(folder, "haproxy.cfg").write_text(text)
        Path(folder, "run").mkdir()
        Path(folder, "run", "servers.state").write_text("1\n")
        done = subprocess.run(
            ["haproxy", "-c", "-f", f"{folder}/haproxy.cfg"], capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr


def said(**more: str) -> dict[str, str]:
    plain = {"client": "198.51.100.2", "client_port": "4711", "server": "node1", "source": "10.0.0.10"}
    times = {"connect": "0", "state": "--", "healthy": "2", "second": "10", "microsecond": "5"}
    return {**plain, **times, "source_port": "999", **more}


def test_what_is_told_of_a_connection() -> None:
    accept, connect = connection_records(said(), KEY, replace(PLAIN, proxy_protocol=2, affinity=9), 1)
    assert accept["event"] == "proxy-accept" and accept["time"] == 10_000_005_000
    assert (accept["client"], accept["local"]) == ("198.51.100.2:4711", "203.0.113.10:80")
    assert (connect["upstream_source"], connect["upstream"]) == ("10.0.0.10:999", "10.0.0.11:30080")
    assert connect["reason"] == "roundrobin, client affinity, 2 of 2 targets healthy, PROXY protocol v2"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            {"server": "<NOSRV>", "connect": "-1", "state": "SC"},
            "no target is healthy (haproxy ended it as SC)",
        ),
        ({"connect": "-1", "state": "sC"}, "no target answers: node1 (haproxy ended it as sC)"),
    ],
)
def test_what_is_told_of_a_connection_that_came_to_nothing(more: dict[str, str], reason: str) -> None:
    _, drop = connection_records(said(**more), KEY, PLAIN, 1)
    assert (drop["event"], drop["reason"]) == ("drop", reason)


def test_messages_are_of_connections_or_of_health() -> None:
    assert told(json.dumps(said()).encode()) == said()
    assert told(b'{"client": "198.51') is None and told(b"Proxy f stopped.") is None
    known = {proxy_name(KEY): (KEY, PLAIN)}
    down = (
        b'Server tcp:203.0.113.10:80/node2 is DOWN, reason: Layer4 connection problem, info: "Connection refused",'
        b" check duration: 0ms. 1 active and 0 backup servers left. 0 sessions active, 0 requeued.\n"
    )
    record = health_record(down, known)
    assert record == {
        "event": "health",
        "frontend": KEY,
        "target": "node2",
        "address": "10.0.0.12:30080",
        "healthy": False,
        "check": "Layer4 connection problem: Connection refused",
    }
    up = b"Server tcp:203.0.113.10:80/node1 is UP, reason: Layer7 check passed, code: 200, check duration: 1ms."
    assert (health_record(up, known) or {})["check"] == "Layer7 check passed: 200"
    assert health_record(up.replace(b"node1", b"node9"), known) is None


def test_numbers_are_those_of_our_own_status() -> None:
    name = proxy_name(KEY)
    text = (
        "# pxname,svname,scur,stot,bin,bout,dcon,econ,status,weight,check_status,check_code,check_duration,chkfail,"
        "chkdown,last_chk,\n"
        f"{name},FRONTEND,1,9,100,200,2,,OPEN,,,,,,,,\n"
        f"{name},node1,1,6,60,120,,1,UP,3,L7OK,200,2,0,0,,\n"
        f"{name},node2,0,3,40,80,,0,DOWN,1,* L4CON,,0,5,1,Connection refused,\n"
        f"{name},BACKEND,1,9,100,200,,1,UP,4,,,,,,,\n"
    )
    found = frontend_status(KEY, PLAIN, read_rows(text))
    assert (found["open"], found["total"], found["denied"], found["dropped"]) == (1, 9, 2, 3)
    one, two = found["targets"]["node1"], found["targets"]["node2"]
    assert (one["healthy"], one["total"], one["errors"], one["check"]["detail"]) == (True, 6, 1, "200")
    assert (two["healthy"], two["check"]["word"], two["check"]["detail"]) == (
        False,
        "L4CON",
        "Connection refused",
    )
    assert frontend_status(KEY, PLAIN, {})["targets"]["node1"]["check"] is None


def test_who_was_refused_and_why() -> None:
    table = (
        "# table: tcp:203.0.113.10:80:refused, type: string, size:256, used:2\n"
        "0x5591953ed818: key=198.51.100.2/51786 use=0 exp=59999 gpt0=1\n"
        "0x7f33c403de58: key=2001:db8::2/51800 use=0 exp=60000 gpt0=3\n"
    )
    found = refusals(table)
    assert found == {"198.51.100.2/51786": 1, "2001:db8::2/51800": 3}
    outside, nobody = (refusal_record(client, why, KEY, EVERYTHING, 1) for client, why in found.items())
    assert (outside["client"], outside["acl"]) == ("198.51.100.2:51786", ["10.0.0.0/8", "fd00::/8"])
    assert (nobody["client"], nobody["reason"]) == ("[2001:db8::2]:51800", "no target is healthy: 0 of 3")


def test_names_are_those_that_haproxy_takes() -> None:
    assert proxy_name(KEY) == "tcp:203.0.113.10:80"
    assert server_name("[fd00::1]:80") == "fd00::1:80"
