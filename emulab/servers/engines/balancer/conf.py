"""haproxy.cfg of a balancer. Pure.

Who may not come in, and who comes when no target is healthy, is reset before a session is made of the connection, as
our own balancer does it; HAProxy logs nothing of those, so that a table has the last ones. A rate is one of connections
that were let in: it is kept in a table with one row. Who is healthy goes from one process to the next by a file, and
who is to stay where by `control`: HAProxy's own way, a peer of its own, brings nothing over here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from emulab.dataclass import dataclass
from emulab.servers.engines.balancer.logged import ABOVE, NOBODY, OUTSIDE, SEEN, log_format
from emulab.servers.engines.balancer.names import OPEN, REFUSED, proxy_name, server_name
from emulab.servers.engines.haproxy.text import CfgLines, in_format, milliseconds, quoted
from emulab.servers.engines.shared import places
from emulab.servers.health.checks import kind_of
from emulab.servers.health.config import HealthPolicy
from emulab.servers.l4.config import FrontendConfig, L4Config, TargetConfig

FOLDER = "/etc/haproxy"
PLACES = places(FOLDER)
CFG = f"{FOLDER}/haproxy.cfg"
ADMIN = f"{PLACES.state}/admin.sock"
MASTER = f"{PLACES.state}/master-{{number}}.sock"
STATES = f"{PLACES.state}/servers.state"

_FOR_EVER = "24d"  # HAProxy's timers end there
_CONNECT = 1.0
_SPREAD = "1s"  # within which each target is asked first, where HAProxy would take a whole interval for it
_REFUSED = proxy_name(REFUSED)
_BALANCES: Mapping[str, CfgLines] = {
    "roundrobin": ["balance roundrobin"],
    "leastconn": ["balance leastconn"],
    "source": ["balance source", "hash-type consistent"],
}


@dataclass(frozen=True, slots=True)
class BalancerPlace:
    """What isn't in the configuration: the descriptors of the sockets that are handed over, and a number that tells
    which configuration is in use."""

    descriptors: Mapping[str, int]  # by the key in `listen`
    generation: int


def balancer_cfg(config: L4Config, place: BalancerPlace) -> str:
    """The text of haproxy.cfg."""
    sections: list[CfgLines] = [
        [f"# Configuration {place.generation}, of a balancer of the lab"],
        _global(),
        _defaults(),
    ]
    for key in config.listen:
        if key in place.descriptors and key not in config.metrics:
            # A socket without a frontend resets its clients.
            one = config.frontends.get(key) or FrontendConfig("roundrobin", ())
            sections += [
                *_tables(key, one),
                _frontend(key, one, place.descriptors[key]),
                *_backends(key, one),
            ]
    sections += _own(config.metrics, place)
    text = ("\n".join([head, *(f"    {line}" for line in lines)]) for head, *lines in sections)
    return "\n\n".join(text) + "\n"


def _global() -> CfgLines:
    return [
        "global",
        f"log {PLACES.log} len 8192 format raw local0",
        f"stats socket {ADMIN} mode 600 level admin",
        f"server-state-file {STATES}",
        f"max-spread-checks {_SPREAD}",
    ]


def _defaults() -> CfgLines:
    return [
        "defaults",
        "mode tcp",
        "log global",
        "load-server-state-from-file global",
        "option redispatch 1",
        f"timeout connect {milliseconds(_CONNECT)}",
    ]


def _own(metrics: Collection[str], place: BalancerPlace) -> Iterator[CfgLines]:
    """What is answered of itself: which configuration is in use, and its numbers."""
    answers = "http-request return status 200 content-type text/plain string"
    begin = ["mode http", "no log", "timeout client 10s"]
    yield ["frontend generation", f"bind unix@{PLACES.status}", *begin, f"{answers} {place.generation}"]
    binds = [f"bind fd@{place.descriptors[key]}" for key in metrics if key in place.descriptors]
    if binds:
        numbers = "http-request use-service prometheus-exporter if { path /metrics }"
        yield ["frontend metrics", *binds, *begin, numbers, "http-request return status 404"]


def _tables(key: str, one: FrontendConfig) -> Iterator[CfgLines]:
    """Who was refused, and what is counted of clients for the limits."""
    name, limits = proxy_name(key), one.limits
    yield [f"backend {name}{_REFUSED}", "stick-table type string len 64 size 256 expire 1m store gpt0"]
    if limits.connections_per_source:
        kind = f"stick-table type {_kind(key)} size 100k expire 1h store conn_cur"
        yield [f"backend {name}:sources", kind]
    if limits.rate:
        yield [f"backend {name}:rate", "stick-table type integer size 1 expire 1h store gpc0,gpc0_rate(1s)"]


def _kind(key: str) -> str:
    """The type of addresses in a table."""
    return "ipv6" if ":" in key else "ip"


def _frontend(key: str, one: FrontendConfig, descriptor: int) -> CfgLines:
    name = proxy_name(key)
    idle = milliseconds(one.idle_timeout) if one.idle_timeout else _FOR_EVER
    lines = [
        f"frontend {name}",
        f"bind fd@{descriptor}",
        f"log-format {log_format(name)}",
        f"timeout client {idle}",
        "tcp-request connection set-var(sess.port) src_port",
    ]
    if one.source_ranges:
        lines.append(f"acl allowed src {' '.join(one.source_ranges)}")
        lines += _refused(name, OUTSIDE, "!allowed")
    lines += _limits(name, one)
    # A worker that leaves counts nobody, and has connections that it took just before.
    empty = f"{{ nbsrv({name}) eq 0 }} !{{ stopping }}"
    if one.fail_open:
        lines += [*SEEN, f"use_backend {name}{_plain_open()} if {empty}"]
    else:
        lines += [*_refused(name, NOBODY, empty), *SEEN]
    return [*lines, f"default_backend {name}"]


def _refused(name: str, reason: int, condition: str) -> Iterator[str]:
    """Who is reset, and is noted in the table of those who were."""
    rule = "tcp-request connection"
    yield f"{rule} track-sc2 src,concat(/,sess.port) table {name}{_REFUSED} if {condition}"
    yield f"{rule} sc-set-gpt0(2) {reason} if {condition}"
    yield f"{rule} reject if {condition}"


def _limits(name: str, one: FrontendConfig) -> Iterator[str]:
    limits = one.limits
    if limits.connections:
        yield from _refused(name, ABOVE, f"{{ fe_conn gt {limits.connections} }}")
    if limits.connections_per_source:
        yield f"tcp-request connection track-sc0 src table {name}:sources"
        yield from _refused(name, ABOVE, f"{{ sc0_conn_cur gt {limits.connections_per_source} }}")
    if limits.rate:
        yield f"tcp-request connection track-sc1 int(1) table {name}:rate"
        yield from _refused(name, ABOVE, f"{{ sc1_gpc0_rate ge {limits.rate} }}")
        yield "tcp-request connection sc-inc-gpc0(1)"


def _plain_open() -> str:
    return proxy_name(OPEN)


def _backends(key: str, one: FrontendConfig) -> Iterator[CfgLines]:
    """The backend with the healthy targets, and, failing open, one that looks at nobody's health."""
    name = proxy_name(key)
    idle = milliseconds(one.idle_timeout) if one.idle_timeout else _FOR_EVER
    usable = sum(target.weight > 0 for target in one.targets)
    common = [*_BALANCES[one.balance], f"retries {max(0, usable - 1)}", f"timeout server {idle}"]
    if one.affinity:
        table = f"stick-table type {_kind(key)} size 100k expire {round(one.affinity)}s"
        common += [table, "stick on src"]
    checks = [*_asked(one.health), f"timeout check {milliseconds(one.health.timeout)}"] if one.health else []
    yield [f"backend {name}", *common, *checks, *(_server(target, one, one.health) for target in one.targets)]
    if one.fail_open:
        yield [
            f"backend {name}{_plain_open()}",
            *common,
            *(_server(target, one, None) for target in one.targets),
        ]


def _server(target: TargetConfig, one: FrontendConfig, health: HealthPolicy | None) -> str:
    host = f"[{target.address}]" if ":" in target.address else target.address
    words = [f"server {server_name(target.name)} {host}:{target.port} weight {target.weight}"]
    if one.proxy_protocol:
        words.append("send-proxy" if one.proxy_protocol == 1 else "send-proxy-v2")
    return " ".join([*words, *(_checked(health) if health else ())])


def _checked(health: HealthPolicy) -> Iterator[str]:
    """How often, and where."""
    yield f"check inter {milliseconds(health.interval)}"
    if health.down_interval is not None:
        yield f"downinter {milliseconds(health.down_interval)}"
    yield f"rise {health.rise} fall {health.fall}"
    if health.port is not None:
        yield f"port {health.port}"
    if kind_of(health) == "https":
        yield "check-ssl verify none"
        name = health.host.partition(":")[0]
        if any(c.isalpha() for c in name):
            yield f"check-sni {quoted(name)}"


def _asked(health: HealthPolicy) -> CfgLines:
    """What is asked over the connection of a check."""
    if kind_of(health) == "tcp":
        return []
    host = f" hdr Host {in_format(health.host)}" if health.host else ""
    asks = f"http-check send meth GET uri {quoted(health.path or '/')} ver HTTP/1.0"
    codes = "".join(health.codes.split())
    return [
        "option httpchk",
        f"{asks}{host} hdr User-Agent emulab-health-check hdr Connection close",
        f"http-check expect status {codes}",
    ]
