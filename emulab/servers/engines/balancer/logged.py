"""What HAProxy's log tells of a balancer: a JSON object a connection that has ended, and a line a server of which the
state has changed. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from emulab.servers.base import parse_socket_key, socket_name
from emulab.servers.engines.balancer.names import server_name
from emulab.servers.l4.config import FrontendConfig
from emulab.servers.l4.frontend import NOT_ALLOWED

_VALUES = {
    "client": "%ci",
    "client_port": "%cp",
    "server": "%s",
    "source": "%bi",
    "source_port": "%bp",
    "connect": "%Tc",
    "state": "%ts",
    "second": "%[var(sess.second)]",
    "microsecond": "%[var(sess.microsecond)]",
    "line": "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq",
}
SEEN = [
    "tcp-request session set-var(sess.second) date",
    "tcp-request session set-var(sess.microsecond) date_us",
]
"""By which a frontend keeps when a connection came, which its log tells to the millisecond alone."""
OUTSIDE, ABOVE, NOBODY = 1, 2, 3
"""Why a connection was refused: it isn't in the source ranges, or is above a limit, or no target is healthy."""
_REFUSAL = re.compile(r" key=(\S+/\d+) .*gpt0=(\d+)")
_STATE = re.compile(
    r"(?:Backup )?Server (?P<proxy>[^/ ]+)/(?P<server>\S+) is (?P<state>UP|DOWN)[,.]?"
    r"(?: reason: (?P<reason>.*?), (?:code: (?P<code>\d+), )?(?:info: \"(?P<info>.*?)\", )?check duration)?"
)


def log_format(name: str) -> str:
    """The parameter of a frontend's `log-format`."""
    values = {"frontend": name, **_VALUES, "healthy": f"%[nbsrv({name})]"}
    return "'{" + ",".join(f'"{key}":"{value}"' for key, value in values.items()) + "}'"


def told(datagram: bytes) -> Mapping[str, str] | None:
    """The object in a message of a connection; None where it was cut, or isn't one."""
    try:
        found: Any = json.loads(datagram.decode("utf-8", "replace"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def connection_records(
    said: Mapping[str, str], key: str, one: FrontendConfig, number: int
) -> Iterator[dict[str, Any]]:
    """What is told of a connection, as our own balancer tells it (see `servers.l4`)."""
    _, address, port = parse_socket_key(key)
    common = {
        "protocol": "tcp",
        "connection": number,
        "client": socket_name((said["client"], said["client_port"])),
        "local": socket_name((address, port)),
    }
    accepted = (int(said["second"]) * 1_000_000 + int(said["microsecond"])) * 1000
    yield {"event": "proxy-accept", **common, "time": accepted}
    target = next((t for t in one.targets if server_name(t.name) == said["server"]), None)
    if target is None or said["connect"].startswith("-"):
        who = "no target is healthy" if target is None else f"no target answers: {target.name}"
        yield {"event": "drop", **common, "reason": f"{who} (haproxy ended it as {said['state']})"}
        return
    reason = f"{one.balance}, {said['healthy']} of {len(one.targets)} targets healthy"
    if one.affinity:
        reason = reason.replace(one.balance, f"{one.balance}, client affinity", 1)
    if one.proxy_protocol:
        reason += f", PROXY protocol v{one.proxy_protocol}"
    yield {
        "event": "proxy-connect",
        **common,
        "upstream_source": socket_name((said["source"], said["source_port"])),
        "upstream": socket_name((target.address, target.port)),
        "target": target.name,
        "reason": reason,
    }


def refusals(table: str) -> dict[str, int]:
    """Who was refused, each `ADDRESS/PORT` with a number for why, by what a table shows."""
    return {client: int(reason) for client, reason in _REFUSAL.findall(table)}


def refusal_record(client: str, reason: int, key: str, one: FrontendConfig, number: int) -> dict[str, Any]:
    """What is told of a connection that was refused."""
    _, address, port = parse_socket_key(key)
    host, _, client_port = client.rpartition("/")
    usual = f"no target is healthy: 0 of {len(one.targets)}" if one.targets else "no target is configured"
    words = {OUTSIDE: NOT_ALLOWED, ABOVE: "more connections than its limits allow"}
    return {
        "event": "drop",
        "protocol": "tcp",
        "connection": number,
        "client": socket_name((host, client_port)),
        "local": socket_name((address, port)),
        "reason": words.get(reason, usual),
        **({"acl": list(one.source_ranges)} if reason == OUTSIDE else {}),
    }


def health_record(
    datagram: bytes, frontends: Mapping[str, tuple[str, FrontendConfig]]
) -> dict[str, Any] | None:
    """What is told of a target whose state has changed; `frontends` by their proxies' names."""
    found = _STATE.match(datagram.decode("utf-8", "replace"))
    if found is None or found["proxy"] not in frontends:
        return None
    key, one = frontends[found["proxy"]]
    target = next((t for t in one.targets if server_name(t.name) == found["server"]), None)
    if target is None:
        return None
    words = [word for word in (found["reason"], found["code"], found["info"]) if word]
    return {
        "event": "health",
        "frontend": key,
        "target": target.name,
        "address": socket_name((target.address, target.port)),
        "healthy": found["state"] == "UP",
        "check": ": ".join(words),
    }
