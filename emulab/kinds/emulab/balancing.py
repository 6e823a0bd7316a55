"""How a balancer balances, whatever asked for it: fields of a LoadBalancer's spec, and a Service's annotations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from emulab.model.checks import (
    Check,
    Problems,
    boolean,
    count,
    integer,
    mapping,
    one_of,
    pattern,
    port,
    show,
    wrong,
)

MODES = ("proxy", "nat")
ALGORITHMS = ("roundrobin", "leastconn", "source")
"""HAProxy's names."""
PROXY_PROTOCOLS = ("none", "v1", "v2")


class BalancerEngine(NamedTuple):
    """What serves as a balancer of mode proxy."""

    server: str  # as `servers.kinds` calls it
    programs: tuple[str, ...] = ()  # that have to be installed; their Debian packages are called the same
    vrrp: str = "vrrp"  # the server that moves the address between nodes
    replicas: int = 1  # nodes, where nobody says how many


BALANCER_ENGINES: Mapping[str, BalancerEngine] = {
    "builtin": BalancerEngine("l4"),
    "haproxy": BalancerEngine("l4-by-haproxy", ("haproxy",)),
    "haproxy+keepalived": BalancerEngine(
        "l4-by-haproxy", ("haproxy", "keepalived"), "vrrp-by-keepalived", replicas=2
    ),
}
OWN_ENGINE = "builtin"
MOST_WORKERS = 16
_MOST_SECONDS = 86400
_CODES = re.compile(r"\s*[1-5]\d\d(-[1-5]\d\d)?\s*(,\s*[1-5]\d\d(-[1-5]\d\d)?\s*)*")


def _seconds(value: Any) -> Problems:
    if type(value) in (int, float) and 0.05 <= value <= _MOST_SECONDS:
        return ()
    return wrong(f"{show(value)} is not a number of seconds (0.05-{_MOST_SECONDS})")


def _advertised(value: Any) -> Problems:
    if type(value) in (int, float) and 0.05 <= value <= 40:
        return ()
    return wrong(f"{show(value)} is not a number of seconds between advertisements (0.05-40)")


def _whole_seconds(vrrp: dict[str, Any]) -> Problems:
    interval = vrrp.get("interval", 1)
    if vrrp.get("version") == 2 and interval != int(interval):
        return wrong(f"{show(interval)}: version 2 has whole seconds", "interval")
    return ()


def _codes(value: Any) -> Problems:
    if type(value) is int and 100 <= value <= 599:
        return ()
    if type(value) is str and _CODES.fullmatch(value):
        ranges = (part.split("-") for part in value.split(","))
        backwards = ["-".join(ends).strip() for ends in ranges if int(ends[0]) > int(ends[-1])]
        return wrong(f"{backwards[0]} ends before it begins") if backwards else ()
    return wrong(
        f"{show(value)} is not a status of HTTP, a range such as 200-399, or several of them with commas"
    )


def _weights(value: Any) -> Problems:
    if type(value) is not dict:
        return wrong(f"{show(value)} is not a mapping")
    weight = integer(0, 256, "a weight")
    found: list[Any] = []
    for name, number in value.items():
        found += [((name, *path), text) for path, text in weight(number)]
    return found


def asks_by_http(spec: dict[str, Any]) -> Problems:
    if spec.get("protocol") == "TCP":
        for field in ("path", "host", "codes"):
            if field in spec:
                return wrong("needs protocol: HTTP or HTTPS", field)
    return ()


HEALTH_CHECK: dict[str, Check] = {
    "protocol": one_of("TCP", "HTTP", "HTTPS"),
    "path": pattern(r"/[!-~]*", "a path that begins with /", 1024),
    "host": pattern(r"[!-~]+", "a host", 255),
    "port": port,
    "codes": _codes,
    "interval": _seconds,
    "timeout": _seconds,
    "rise": integer(1, 100, "a number of checks"),
    "fall": integer(1, 100, "a number of checks"),
}
"""What a check may say."""

health_check = mapping(HEALTH_CHECK, rules=(asks_by_http,), closed=True)

BALANCING: dict[str, Check] = {
    "mode": one_of(*MODES),
    "engine": one_of(*BALANCER_ENGINES),
    "replicas": integer(1, 2, "a number of nodes"),
    "vrrp": mapping(
        {"version": integer(2, 3, "a version of VRRP"), "interval": _advertised, "preempt": boolean},
        rules=(_whole_seconds,),
        closed=True,
    ),
    "preserveClientIP": boolean,
    "algorithm": one_of(*ALGORITHMS),
    "weights": _weights,
    "stickiness": integer(0, _MOST_SECONDS, "a number of seconds"),
    "healthCheck": health_check,
    "failOpen": boolean,
    "draining": integer(0, _MOST_SECONDS, "a number of seconds"),
    "deny": one_of("reject", "drop"),
    "proxyProtocol": one_of(*PROXY_PROTOCOLS),
    "limits": mapping(
        {"connections": count, "connectionsPerSource": count, "rate": count},
        closed=True,
    ),
    "idleTimeout": integer(1, _MOST_SECONDS, "a number of seconds"),
    "workers": integer(1, MOST_WORKERS, "a number of processes"),
}
"""The fields, each with what it may say."""

_PROXYS_ALONE = {
    "algorithm": ("leastconn", "the kernel doesn't count connections by target"),
    "proxyProtocol": (None, "no bytes are added to what is forwarded"),
    "draining": (None, "what is forwarded goes on until it ends"),
    "workers": (None, "the kernel forwards on all CPUs as it is"),
    "limits.connectionsPerSource": (None, "the kernel's limits here are of all clients together"),
}


def modes_agree(spec: dict[str, Any]) -> Problems:
    """What only one of the modes can do."""
    if spec.get("mode") != "nat":
        return (
            wrong("needs mode: nat; a proxy has PROXY headers for it (proxyProtocol)", "preserveClientIP")
            if (spec.get("preserveClientIP"))
            else ()
        )
    if spec.get("engine") not in (None, OWN_ENGINE):
        return wrong(f"{spec['engine']} is a proxy: mode nat is of the engine {OWN_ENGINE}", "engine")
    for path, (value, why) in _PROXYS_ALONE.items():
        outer, _, inner = path.partition(".")
        given = spec.get(outer)
        if inner:
            given = (given or {}).get(inner)
        says_nothing = given in (None, "none") or (not given and path != "draining")  # draining: 0 is at once
        if not says_nothing and value in (None, given):
            return wrong(f"{show(given)} needs mode: proxy: {why}", *path.split("."))
    return ()


def balancer_port(value: Any) -> Problems:
    """`443`, or `53/UDP`."""
    if type(value) is not str:
        return port(value)
    number, _, protocol = value.partition("/")
    if protocol not in ("TCP", "UDP") or not number.isdecimal():
        return wrong(f'{show(value)} is not a port (443, or "53/UDP")')
    return port(int(number))
