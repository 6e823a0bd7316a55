"""What kube-proxy tells about itself: numbers as Prometheus reads them, health by the clock, answers over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from typing import Any

import pytest
from loopback import bound
from patience import soon
from server_records import Told

from emulab.servers.base import Informed, parse_socket_key, socket_key
from emulab.servers.exposition import Histogram, number
from emulab.servers.kubeproxy import pages
from emulab.servers.kubeproxy.metrics import FAMILIES, PROGRAMMING_BUCKETS, Metrics
from emulab.servers.kubeproxy.proxy import HEALTH_TIMEOUT, Proxy
from emulab.servers.kubeproxy.server import KubeProxyServer, create

ONE = {
    "seconds": 0.003,
    "conntrack": 0.0015,
    "forgotten": 2,
    "full": True,
    "written": {"nat": 12, "filter": 3},
}
SYNC: dict[str, Any] = {"failed": False, "families": {"IPv4": ONE}}
FOUR, BOTH = ("IPv4",), ("IPv4", "IPv6")
CHANGES = {"services": 3, "endpoints": 5, "queued": 1000.25}


def samples(metrics: Metrics) -> dict[str, str]:
    """Name and labels → value, without the prefix."""
    lines = [line for line in metrics.text().splitlines() if not line.startswith("#")]
    return dict(line.removeprefix("kubeproxy_").rsplit(" ", 1) for line in lines)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.001, "0.001"),
        (16.384, "16.384"),
        (0.00001, "1e-05"),
        (999999.0, "999999"),
        (1000000.0, "1e+06"),
        (1795234329.747, "1.795234329747e+09"),
        (float("inf"), "+Inf"),
    ],
)
def test_numbers_are_written_as_go_does(value: float, written: str) -> None:
    assert number(value) == written


def test_histograms_are_cumulative() -> None:
    histogram = Histogram((0.5, 1.0))
    for value in (0.1, 0.5, 0.7, 3.0):
        histogram.observe(value)
    histogram.observe(1.0, 2)
    assert list(histogram.lines("x", (("a", "b"),))) == [
        'x_bucket{a="b",le="0.5"} 2',
        'x_bucket{a="b",le="1"} 5',
        'x_bucket{a="b",le="+Inf"} 6',
        'x_sum{a="b"} 6.3',
        'x_count{a="b"} 6',
    ]


def test_programming_buckets_are_those_of_kubernetes() -> None:
    assert PROGRAMMING_BUCKETS[:5] == (0.0, 0.25, 0.5, 1.0, 2.0)
    assert PROGRAMMING_BUCKETS[61:63] == (59.0, 60.0) and PROGRAMMING_BUCKETS[-8:-6] == (115.0, 120.0)
    assert PROGRAMMING_BUCKETS[-1] == 300.0 and len(PROGRAMMING_BUCKETS) == 81
    assert list(PROGRAMMING_BUCKETS) == sorted(set(PROGRAMMING_BUCKETS))


@pytest.mark.parametrize("mode", ["nftables", "iptables", "ipvs", "userspace"])
def test_every_family_is_there_in_order_and_its_lines_are_well_formed(mode: str) -> None:
    lines = Metrics(mode, BOTH).text().splitlines()
    helps = [line.split()[2] for line in lines if line.startswith("# HELP ")]
    assert helps == sorted(helps) == [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    sample = re.compile(r'kubeproxy_[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9+.e-]+')
    written = [line for line in lines if not line.startswith("#")]
    assert all(sample.fullmatch(line) for line in written)
    assert all(any(line.startswith(name) for line in written) for name in helps)
    assert ("iptables_total" in " ".join(helps)) is (mode == "iptables")
    assert ("nftables_sync_failures_total" in " ".join(helps)) is (mode == "nftables")
    assert ("iptables_restore_failures_total" in " ".join(helps)) is (mode in ("iptables", "ipvs"))


def test_no_family_is_there_twice() -> None:
    assert len({f.name for f in FAMILIES}) == len(FAMILIES)


def test_a_sync_is_counted() -> None:
    proxy = Proxy("iptables", FOUR)
    proxy.changed(CHANGES)
    proxy.synced(SYNC, {"0.03": 2, "12": 1}, 1001.0)
    partial = {**ONE, "full": False, "conntrack": 0.0, "written": {}}
    proxy.synced({**SYNC, "families": {"IPv4": partial}}, {}, 1002.0)
    proxy.configure({"IPv4": {"internal": 1, "external": 2}}, {"IPv4": {"nat": 40}})
    family = '{ip_family="IPv4"}'
    nat, external = (
        f'{{ip_family="IPv4",{label}}}' for label in ('table="nat"', 'traffic_policy="external"')
    )
    wanted = {
        f"sync_proxy_rules_duration_seconds_count{family}": "2",
        f"sync_full_proxy_rules_duration_seconds_count{family}": "1",
        f"sync_partial_proxy_rules_duration_seconds_count{family}": "1",
        f"conntrack_reconciler_sync_duration_seconds_count{family}": "1",
        f"conntrack_reconciler_deleted_entries_total{family}": "4",
        f"network_programming_duration_seconds_count{family}": "3",
        f"network_programming_duration_seconds_sum{family}": "12.06",
        f"sync_proxy_rules_last_timestamp_seconds{family}": "1002",
        f"sync_proxy_rules_last_queued_timestamp_seconds{family}": "1000.25",
        "sync_proxy_rules_service_changes_total": "3",
        "sync_proxy_rules_endpoint_changes_total": "5",
        f"sync_proxy_rules_no_local_endpoints_total{external}": "2",
        f"sync_proxy_rules_iptables_total{nat}": "40",
        f"sync_proxy_rules_iptables_last{nat}": "12",
    }
    found = samples(proxy.metrics)
    assert {name: found[name] for name in wanted} == wanted


def test_families_are_told_apart() -> None:
    """As kube-proxy's two proxies tell of themselves: what one had nothing to do with took it no time."""
    proxy = Proxy("iptables", BOTH)
    proxy.configure({"IPv6": {"external": 2}}, {"IPv4": {"nat": 40}, "IPv6": {"nat": 30}})
    proxy.synced({"failed": False, "families": {"IPv6": ONE}}, {"0.03": 2}, 1001.0)
    proxy.failed(1002.0)
    found = samples(proxy.metrics)

    def of(name: str, *labels: str) -> list[str]:
        return [found[f"{name}{{{','.join((f'ip_family={chr(34)}{f}{chr(34)}', *labels))}}}"] for f in BOTH]

    assert of("conntrack_reconciler_deleted_entries_total") == ["0", "2"]
    assert of("sync_full_proxy_rules_duration_seconds_count") == ["0", "1"]
    assert of("sync_proxy_rules_duration_seconds_count") == ["1", "1"]
    assert of("sync_proxy_rules_iptables_total", 'table="nat"') == ["40", "30"]
    assert of("sync_proxy_rules_iptables_last", 'table="nat"') == ["0", "12"]
    assert of("sync_proxy_rules_no_local_endpoints_total", 'traffic_policy="external"') == ["0", "2"]
    assert of("sync_proxy_rules_iptables_restore_failures_total") == ["1", "1"]
    lines = proxy.metrics.text().splitlines()
    told = [line for line in lines if line.startswith("kubeproxy_conntrack_reconciler_deleted")]
    assert [line.partition("}")[0].rpartition("{")[2] for line in told] == [
        'ip_family="IPv4"',
        'ip_family="IPv6"',
    ]
    shown = json.loads(pages.health("/healthz", proxy, 1002.0).body)
    assert list(shown["status"]) == ["IPv4", "IPv6"]


def test_a_proxy_is_ill_when_a_change_waits_for_too_long() -> None:
    proxy = Proxy("nftables", FOUR)
    assert proxy.healthy(0.0)
    proxy.synced(SYNC, {}, 100.0)
    proxy.failed(200.0)
    proxy.failed(230.0)
    assert proxy.healthy(200.0 + HEALTH_TIMEOUT - 1) and not proxy.healthy(200.0 + HEALTH_TIMEOUT)
    failures = 'sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"}'
    assert samples(proxy.metrics)[failures] == "2"
    proxy.synced(SYNC, {}, 300.0)
    assert proxy.healthy(1e6)


def test_health_pages() -> None:
    proxy = Proxy("nftables", FOUR)
    fresh = json.loads(pages.health("/healthz", proxy, 1000.0).body)
    assert fresh == {
        "lastUpdated": "1970-01-01T00:16:40Z",
        "currentTime": "1970-01-01T00:16:40Z",
        "nodeEligible": True,
        "healthy": True,
    }
    proxy.synced(SYNC, {}, 990.5)
    live = pages.health("/livez", proxy, 1000.0)
    assert live.status == 200 and json.loads(live.body) == {
        "lastUpdated": "1970-01-01T00:16:40Z",
        "currentTime": "1970-01-01T00:16:40Z",
        "healthy": True,
        "status": {"IPv4": {"lastUpdated": "1970-01-01T00:16:30.500000Z", "healthy": True}},
    }
    proxy.failed(1000.0)
    ill = pages.health("/healthz", proxy, 1100.0)
    assert ill.status == 503 and json.loads(ill.body)["lastUpdated"] == "1970-01-01T00:16:30.500000Z"
    assert pages.health("/", proxy, 0.0) == pages.NOT_FOUND
    found = samples(proxy.metrics)
    assert found['proxy_healthz_total{code="200"}'] == found['proxy_healthz_total{code="503"}'] == "1"
    assert found['proxy_livez_total{code="200"}'] == "1"


def test_the_page_of_a_service() -> None:
    proxy = Proxy("nftables", FOUR)
    page = pages.service("app", "web", 2, proxy, 0.0)
    assert page.status == 200 and page.kind == "application/json"
    assert page.body == (
        '{\n\t"service": {\n\t\t"namespace": "app",\n\t\t"name": "web"\n\t},\n'
        '\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
    )
    assert dict(page.headers) == {
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": "2",
    }
    assert pages.service("app", "web", 0, proxy, 0.0).status == 503
    proxy.failed(1.0)
    ill = pages.service("app", "web", 2, proxy, 1000.0)
    assert ill.status == 503 and json.loads(ill.body)["serviceProxyHealthy"] is False


def test_metrics_pages() -> None:
    proxy = Proxy("userspace", FOUR)
    assert pages.metrics("/proxyMode", proxy).body == "userspace"
    assert pages.metrics("/healthz", proxy).body == "ok"
    assert pages.metrics("/metrics", proxy).kind == "text/plain; version=0.0.4; charset=utf-8"
    assert pages.metrics("/nothing", proxy).status == 404


def test_keys_of_sockets_with_a_place() -> None:
    key = socket_key("tcp", "127.0.0.1", 10249, "node1")
    assert key == "tcp/127.0.0.1/10249@node1" and parse_socket_key(key) == ("tcp", "127.0.0.1", 10249)
    assert parse_socket_key(socket_key("udp", "10.0.0.1", 53)) == ("udp", "10.0.0.1", 53)


class Bench:
    """A server with the three sockets of one node, at 127.0.0.1."""

    def __init__(self) -> None:
        self.server = create(Told())
        self.sockets: dict[str, socket.socket] = {}
        self.ports: dict[str, int] = {}
        self.config: dict[str, Any] = {"mode": "nftables", "families": ["IPv4"], "sockets": {}, "listen": []}
        for page in ("metrics", "healthz", "service"):
            sock = bound()
            self.ports[page] = sock.getsockname()[1]
            key = f"tcp/127.0.0.1/{self.ports[page]}@node1"
            self.sockets[key] = sock
            self.config["sockets"][key] = {"node": "node1", "page": page, "service": "app/web"}
        self.config["listen"] = list(self.config["sockets"])
        self.config["nodes"] = {"node1": self.node(1)}

    @staticmethod
    def node(endpoints: int) -> dict[str, Any]:
        return {"endpoints": {"app/web": endpoints}} if endpoints else {}

    async def open(self) -> None:
        await self.server.configure(self.config, self.sockets)

    async def change(self, **config: Any) -> None:
        self.config = {**self.config, **config}
        await self.server.configure(self.config, {})

    async def get(self, page: str, path: str, method: str = "GET") -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[page])
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await soon(reader.read())).decode().partition("\r\n\r\n")
        writer.close()
        return int(head.split()[1]), body


async def test_the_server_follows_its_configuration() -> None:
    made = Bench()
    await made.open()
    assert await made.get("metrics", "/proxyMode") == (200, "nftables")
    assert await made.get("metrics", "/proxyMode", "HEAD") == (200, "")
    assert (await made.get("service", "/any/path"))[0] == 200
    await made.change(nodes={"node1": Bench.node(0)})
    assert (await made.get("service", "/"))[0] == 503
    await made.change(mode="userspace")
    assert await made.get("metrics", "/proxyMode") == (200, "userspace")
    left = [key for key in made.config["listen"] if made.config["sockets"][key]["page"] != "service"]
    await made.change(listen=left)
    with pytest.raises(ConnectionRefusedError):
        await made.get("service", "/")
    assert made.server.status()["sockets"] == 2
    await made.server.close()
    with pytest.raises(ConnectionRefusedError):
        await made.get("metrics", "/")


async def test_a_connection_is_kept_and_one_that_is_no_http_is_ended() -> None:
    made = Bench()
    await made.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", made.ports["metrics"])
    for _ in range(3):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await soon(reader.readuntil(b"\r\n\r\n"))
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and await reader.readexactly(2) == b"ok"
    writer.write(b"\x16\x03\x01 no HTTP\r\n\r\n")
    assert (await soon(reader.read())).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await made.server.close()


async def test_messages_reach_the_metrics_and_another_mode_begins_anew() -> None:
    made = Bench()
    await made.open()
    server = made.server
    assert isinstance(server, KubeProxyServer) and isinstance(server, Informed)
    nothing = {**CHANGES, "at": 1001.0, "programmed": {}, "nodes": {}}
    for nodes in ({}, {"node1": SYNC}, {"node1": {**SYNC, "failed": True}}, {"other": SYNC}):
        server.tell({**nothing, "nodes": nodes})
    name = 'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"}'
    _, told = await made.get("metrics", "/metrics")
    assert f"{name} 3\n" in told, (
        "a change is a sync for everyone, whether or not there was anything to write"
    )
    assert 'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 1\n' in told
    await made.change(nodes={"node1": Bench.node(5)})
    assert f"{name} 3\n" in (await made.get("metrics", "/metrics"))[1]
    await made.change(mode="ipvs")
    assert f"{name} 0\n" in (await made.get("metrics", "/metrics"))[1]
    await made.server.close()


async def test_a_missing_socket_is_an_error_and_changes_nothing() -> None:
    made = Bench()
    await made.open()
    with pytest.raises(ValueError, match="no socket was given for tcp"):
        await made.change(
            mode="ipvs",
            listen=["tcp/127.0.0.1/1"],
            sockets={"tcp/127.0.0.1/1": {"node": "node1", "page": "metrics"}},
        )
    assert await made.get("metrics", "/proxyMode") == (200, "nftables")
    await made.server.close()
