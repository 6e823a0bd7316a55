"""Nodes whose kube-proxy follows no more: what it wrote last is remembered for as long as it is so."""

from __future__ import annotations

from collections.abc import Iterable

from emulab.plan.state import Network, World


class Stuck:
    """What the proxies of nodes were like when they got stuck: all of it, or those rules `only`."""

    def __init__(self, only: str = "") -> None:
        self._only = only
        self._kept: dict[str, World] = {}
        self._before: World | None = None
        self._made: tuple[World, frozenset[str], World] | None = None

    def now(self, proxies: World, nodes: frozenset[str]) -> World:
        """What proxies have brought about, which for these nodes is what they had before; the very same without any."""
        if not nodes:
            self._kept.clear()
            self._made, self._before = None, proxies
            return proxies
        if self._made is not None and self._made[0] is proxies and self._made[1] == nodes:
            return self._made[2]
        before = self._before or proxies
        for name in self._kept.keys() - nodes:
            del self._kept[name]
        for name in nodes - self._kept.keys():
            self._kept[name] = _of(before, (name,), self._only)
        made = _without(proxies, nodes, self._only)
        for kept in self._kept.values():
            made = World(
                Network(
                    {**made.network.namespaces, **kept.network.namespaces},
                    made.network.items | kept.network.items,
                    {**made.network.rulesets, **kept.network.rulesets},
                ),
                {**made.servers, **kept.servers},
                {**made.places, **kept.places},
            )
        self._made, self._before = (proxies, nodes, made), made
        return made


def _of(world: World, names: Iterable[str], only: str) -> World:
    """What of a world is in these namespaces."""
    wanted, network = frozenset(names), world.network
    if only:
        keys = {key for key in network.rulesets if key[0] in wanted and key[1] == only}
        return World(Network(rulesets={key: network.rulesets[key] for key in keys}), {}, {})
    return World(
        Network(
            {name: n for name, n in network.namespaces.items() if name in wanted},
            frozenset(item for item in network.items if item.namespace in wanted),
            {key: rules for key, rules in network.rulesets.items() if key[0] in wanted},
        ),
        {name: server for name, server in world.servers.items() if server.namespace in wanted},
        {},
    )


def _without(world: World, names: frozenset[str], only: str) -> World:
    network = world.network
    if only:
        left = {key: r for key, r in network.rulesets.items() if key[0] not in names or key[1] != only}
        return World(Network(network.namespaces, network.items, left), world.servers, world.places)
    return World(
        Network(
            {name: n for name, n in network.namespaces.items() if name not in names},
            frozenset(item for item in network.items if item.namespace not in names),
            {key: rules for key, rules in network.rulesets.items() if key[0] not in names},
        ),
        {name: server for name, server in world.servers.items() if server.namespace not in names},
        world.places,
    )
