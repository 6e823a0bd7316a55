"""A plan as text and as data, for reading and for golden copies. Pure.

The order is stable, and a pod's namespace is called by its place, since its identity ends in a part of a uid
that differs from lab to lab when nobody but the store gave it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any

from emulab.model.addresses import socket_name
from emulab.plan.links import Item, rank
from emulab.plan.mesh import expanded
from emulab.plan.state import (
    Iptables,
    Ipvs,
    Mesh,
    PlannedServer,
    Rules,
    Ruleset,
    Translations,
    Tuning,
    UdpBackends,
    WireguardPeers,
    World,
)
from emulab.servers.configuration import to_json


class _Names:
    """Namespaces by the names that people know them by."""

    def __init__(self, world: World) -> None:
        self._places = {p.namespace: p.name for p in world.places.values() if p.kind == "pod"}
        # A pod on its node's network shares the node's namespace, which keeps its own name.
        self._places = {k: v for k, v in self._places.items() if k not in world.places}

    def __call__(self, namespace: str) -> str:
        return self._places.get(namespace, namespace)


def render(world: World) -> str:
    """The whole plan, a paragraph for each namespace, then the servers. What repeats is written out once."""
    name = _Names(world)
    items = _by_namespace(expanded(world.network))
    tables = _Once()
    configs = _Once()
    paragraphs = []
    for namespace in sorted(world.network.namespaces, key=name):
        settings = world.network.namespaces[namespace].sysctls
        lines = [f"namespace {name(namespace)}"]
        lines += [f"  sysctl {key} = {value}" for key, value in settings]
        lines += [f"  {item.line(name)}" for item in items.get(namespace, ())]
        for (owner, table), rules in sorted(world.network.rulesets.items()):
            if owner == namespace and not isinstance(rules, Mesh):
                text = tables(name(namespace), f"{_title(table)}: the same as in", rules_lines(rules))
                lines += [f"  {line}" for line in text]
        paragraphs.append("\n".join(lines))
    for server in sorted(world.servers.values(), key=lambda s: s.name):
        text = configs(server.name, "configuration: the same as of", _config_lines(server))
        paragraphs.append("\n".join([*_server(server, name), *(f"  {line}" for line in text)]))
    return "\n\n".join(paragraphs) + "\n"


class _Once:
    """Writes a text out where it first stands, and refers to that place afterwards."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def __call__(self, where: str, reference: str, lines: list[str]) -> list[str]:
        text = "\n".join(lines)
        first = self._first.setdefault(text, where)
        return lines if first == where or len(lines) < 3 else [f"{reference} {first}"]


def data(world: World) -> dict[str, Any]:
    """The whole plan as JSON-able data."""
    name = _Names(world)
    items = _by_namespace(expanded(world.network))
    namespaces = {}
    for namespace in sorted(world.network.namespaces, key=name):
        namespaces[name(namespace)] = {
            "sysctls": dict(world.network.namespaces[namespace].sysctls),
            "items": [{"kind": i.word, **_fields(i, name)} for i in items.get(namespace, ())],
            "rulesets": {
                table: _plain(rules)
                for (owner, table), rules in sorted(world.network.rulesets.items())
                if owner == namespace and not isinstance(rules, Mesh)
            },
        }
    return {
        "namespaces": namespaces,
        "servers": {
            server.name: {
                "kind": server.kind,
                "namespace": name(server.namespace),
                "config": to_json(server.config),
                "listen": {key: name(where) for key, where in sorted(server.listen.items())},
            }
            for server in sorted(world.servers.values(), key=lambda s: s.name)
        },
        "places": {
            place.name: {**_fields(place, name), "addresses": [str(a) for a in place.addresses]}
            for place in sorted(world.places.values(), key=lambda p: p.name)
        },
    }


def _title(key: str) -> str:
    return f"table {key}" if " " in key else key


def _by_namespace(items: Iterable[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.namespace, []).append(item)
    for members in found.values():
        members.sort(key=_sort_key)
    return found


def _sort_key(item: Item) -> tuple[Any, ...]:
    """Kind by kind; within a kind by name, and addresses in the order of numbers."""
    return (rank(item), *item.reading_order())


def rules_lines(rules: Rules) -> list[str]:
    """Rules in the words of the tool that lists them: nft, iptables-save, ipvsadm."""
    match rules:
        case Ruleset():
            return _nft_lines(rules)
        case Iptables():
            return [line for table, chains in rules.tables.items() for line in _iptables_lines(table, chains)]
        case Ipvs():
            return _ipvs_lines(rules)
        case Translations():
            return _translation_lines(rules)
        case UdpBackends():
            return _udp_lines(rules)
        case Mesh():
            return [f"mesh on {rules.link}, {len(rules.ways)} nodes"]
        case WireguardPeers():
            return [
                f"wireguard {rules.link} port {rules.port}",
                *(
                    f"  peer {peer.public_key} endpoint {peer.address} allowed-ips {peer.network}"
                    for _, peer in rules.to_others()
                ),
            ]
        case Tuning():
            return [f"sysctl {key} = {value}" for key, value in rules.sysctls]


def _iptables_lines(table: str, chains: Mapping[str, tuple[str, ...]]) -> list[str]:
    lines = [f"*{table}", *(f"  :{chain}" for chain in chains)]
    return lines + [f"  -A {chain} {rule}" for chain, rules in chains.items() for rule in rules]


def _translation_lines(rules: Translations) -> list[str]:
    lines = ["ebpf", *(f"  sysctl {key} = {value}" for key, value in rules.sysctls)]
    lines.append(f"  pods {' '.join(map(str, rules.pods))}")
    lines.append(f"  local {' '.join(map(str, rules.local))}")
    for frontend in sorted(rules.services, key=attrgetter("order")):
        choice = rules.services[frontend]
        flags = [f"affinity {choice.affinity}s"] if choice.affinity else []
        flags += ["masquerade"] if choice.masquerade else []
        flags += [f"from {' '.join(map(str, choice.sources))}"] if choice.sources else []
        lines.append(f"  {' '.join([str(frontend), *flags])}")
        lines += [f"    -> {socket_name(*endpoint)}" for endpoint in choice.endpoints]
    return lines


def _ipvs_lines(rules: Ipvs) -> list[str]:
    lines = ["ipvs", *(f"  sysctl {key} = {value}" for key, value in rules.sysctls)]
    for server, members in rules.servers.items():
        kept = f" persistent {server.persistence}" if server.persistence else ""
        own = socket_name(server.address, server.port)
        name = f"FWM {server.mark:#x} ({own})" if server.mark else f"{server.protocol.upper()} {own}"
        lines.append(f"  {name} {server.scheduler}{kept}")
        how = "Tunnel" if server.mark else "Masq"
        lines += [f"    -> {socket_name(*target)} {how} {weight}" for target, weight in members.items()]
    return lines


def _udp_lines(rules: UdpBackends) -> list[str]:
    lines = [
        f"  {socket_name(address or '*', port)} {' '.join(sorted(members))}".rstrip()
        for (address, port), members in sorted(rules.frontends.items())
    ]
    return ["udp-backends", *lines] if lines else []


def _nft_lines(rules: Ruleset) -> list[str]:
    """A table as nft would list it: collections with their elements, then chains with their rules."""
    lines = [f"table {rules.family} {rules.table} {{"]
    for name, collection in sorted(rules.collections.items()):
        lines.append(f"  {collection.kind} {name} {collection.declaration}".rstrip())
        for key, value in sorted(collection.elements.items()):
            lines.append(f"    {key} : {value}" if value else f"    {key}")
    for name, chain in rules.chains.items():
        declaration, *body = chain or ("",)
        lines.append(f"  chain {name} {declaration}".rstrip())
        lines += [f"    {rule}" for rule in body]
    return [*lines, "}"]


def _server(server: PlannedServer, name: _Names) -> list[str]:
    where = f" in {name(server.namespace)}" if server.namespace else ""
    lines = [f"server {server.name} ({server.kind}){where}"]
    return lines + [
        f"  listen {key} in {name(namespace)}" for key, namespace in sorted(server.listen.items())
    ]


def _config_lines(server: PlannedServer) -> list[str]:
    """A server's configuration without the sockets, which stand above it."""
    config = to_json(server.config)
    return _tree({k: v for k, v in config.items() if k not in ("listen", "tls_listen")})


def _tree(value: Any) -> list[str]:
    """Nested data as indented lines: `key: value`, `- item` in lists, scalars of a list in one line."""
    lines: list[str] = []
    pairs = value.items() if isinstance(value, dict) else (("", entry) for entry in value)
    for key, entry in pairs:
        label = f"{key}:" if isinstance(value, dict) else "-"
        if not isinstance(entry, dict | list) or not entry:
            lines.append(f"{label} {_scalar(entry)}")
        elif isinstance(entry, list) and not any(isinstance(e, dict | list) for e in entry):
            lines.append(f"{label} {'  '.join(_scalar(e) for e in entry)}")
        elif isinstance(value, dict):
            lines += [label, *(f"  {line}" for line in _tree(entry))]
        else:
            first, *rest = _tree(entry)
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, str) and value:
        return value.replace("\n", "\\n")
    return json.dumps(value)


def _fields(value: Any, name: _Names) -> dict[str, Any]:
    found = {f.name: getattr(value, f.name) for f in fields(value)}
    for key in ("namespace", "peer_namespace"):
        if key in found:
            found[key] = name(found[key])
    return {key: _plain(entry) for key, entry in found.items()}


def _plain(value: Any) -> Any:
    """Anything a plan holds as JSON-able data."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return sorted(str(entry) for entry in value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
