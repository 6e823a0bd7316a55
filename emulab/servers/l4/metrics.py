"""Numbers of a balancer, by the names that HAProxy's own exporter has (addons/promex in its sources). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from emulab.servers.exposition import Labels, heading, sample
from emulab.servers.l4.balance import BalancedTarget
from emulab.servers.l4.frontend import Frontend

_Value = Callable[[Frontend], float]
_TargetValue = Callable[[BalancedTarget], float]


class _Family(NamedTuple):
    name: str
    kind: str
    help: str


_FRONTEND: list[tuple[_Family, _Value]] = [
    (
        _Family("current_sessions", "gauge", "Number of current sessions on the frontend"),
        lambda f: f.gate.open,
    ),
    (
        _Family("sessions_total", "counter", "Total number of sessions since process started"),
        lambda f: f.total,
    ),
    (
        _Family("connections_total", "counter", "Total number of new connections accepted on this frontend"),
        lambda f: f.total + f.denied,
    ),
    (
        _Family("denied_connections_total", "counter", "Total number of connections denied by rules"),
        lambda f: f.denied,
    ),
    (
        _Family("limit_sessions", "gauge", "Frontend's limit of sessions, 0 for none"),
        lambda f: f.gate.limits.connections,
    ),
    (_Family("bytes_in_total", "counter", "Total number of request bytes"), lambda f: f.bytes_in),
    (_Family("bytes_out_total", "counter", "Total number of response bytes"), lambda f: f.bytes_out),
]
_BACKEND: list[tuple[_Family, _Value]] = [
    (_Family("active_servers", "gauge", "Number of servers that are UP"), lambda f: f.healthy),
    (
        _Family("current_sessions", "gauge", "Number of current sessions"),
        lambda f: sum(t.open for t in f.targets),
    ),
    (
        _Family("connection_errors_total", "counter", "Total number of failed connections to servers"),
        lambda f: sum(t.errors for t in f.targets),
    ),
]
_SERVER: list[tuple[_Family, _TargetValue]] = [
    (_Family("weight", "gauge", "Server's weight"), lambda t: t.weight),
    (_Family("current_sessions", "gauge", "Number of current sessions"), lambda t: t.open),
    (_Family("sessions_total", "counter", "Total number of sessions"), lambda t: t.total),
    (
        _Family("connection_errors_total", "counter", "Total number of failed connections to the server"),
        lambda t: t.errors,
    ),
    (_Family("bytes_in_total", "counter", "Total number of request bytes"), lambda t: t.bytes_in),
    (_Family("bytes_out_total", "counter", "Total number of response bytes"), lambda t: t.bytes_out),
    (
        _Family("check_failures_total", "counter", "Total number of failed checks"),
        lambda t: t.checked.failures,
    ),
    (
        _Family("check_up_down_total", "counter", "Total number of failed checks causing UP to DOWN changes"),
        lambda t: t.checked.flips,
    ),
    (
        _Family("check_duration_seconds", "gauge", "How long the last check took"),
        lambda t: t.checked.last.seconds if t.checked.last else 0.0,
    ),
]
_STATES = ("DOWN", "UP")


def exposition(frontends: Iterable[Frontend], uptime: float) -> str:
    """All numbers of a balancer."""
    there = list(frontends)
    lines = [*heading("haproxy_process_uptime_seconds", "gauge", "How long ago this process was started")]
    lines.append(sample("haproxy_process_uptime_seconds", (), int(uptime)))
    for kind, families in (("frontend", _FRONTEND), ("backend", _BACKEND)):
        for (name, type_, text), value in families:
            lines += heading(f"haproxy_{kind}_{name}", type_, text)
            lines += [sample(f"haproxy_{kind}_{name}", _proxy(f), value(f)) for f in there]
    lines += [*_backend_states(there), *_servers(there)]
    return "\n".join(lines) + "\n"


def _proxy(frontend: Frontend) -> Labels:
    return (("proxy", frontend.key),)


def _backend_states(frontends: list[Frontend]) -> Iterator[str]:
    yield from heading(
        "haproxy_backend_status", "gauge", "Current status of the backend, per state label value"
    )
    for one in frontends:
        up = any(target.usable for target in one.targets)
        yield from _by_state("haproxy_backend_status", _proxy(one), _STATES[up])


def _servers(frontends: list[Frontend]) -> Iterator[str]:
    known = [((*_proxy(one), ("server", t.name)), t) for one in frontends for t in one.targets]
    yield from heading(
        "haproxy_server_status", "gauge", "Current status of the server, per state label value"
    )
    for labels, target in known:
        yield from _by_state("haproxy_server_status", labels, _STATES[target.health.healthy])
    yield from heading(
        "haproxy_server_check_status", "gauge", "Status of the last check, per state label value"
    )
    for labels, target in known:
        if target.checked.last is not None:
            state = ("state", target.checked.last.word)
            yield sample("haproxy_server_check_status", (*labels, state), 1)
    for (name, type_, text), value in _SERVER:
        yield from heading(f"haproxy_server_{name}", type_, text)
        for labels, target in known:
            yield sample(f"haproxy_server_{name}", labels, value(target))


def _by_state(name: str, labels: Labels, now: str) -> Iterator[str]:
    for state in _STATES:
        yield sample(name, (*labels, ("state", state)), int(state == now))
