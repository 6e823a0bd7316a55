"""What a change of endpoints alone changes in a world that is planned already. Pure, but for what it remembers.

To plan a world takes as long as it has objects. What most often changes, though, are endpoints, and those of most
Services concern nobody but the nodes' proxies: then one Service's part of their tables is exchanged, however many
others there are. Where that isn't all that would change, `follow` says so and the world is planned anew; both
ways end in equal worlds. As it stands that holds for nftables mode, and EndpointSlices that no controller minds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from emulab.model.clusters import Cluster
from emulab.model.collection import Objects
from emulab.model.objects import Key, Object
from emulab.model.services import SERVICE_NAME_LABEL, EndpointSlice
from emulab.plan.controllers.endpointslices import is_foreign
from emulab.plan.persistent import Persistent
from emulab.plan.proxy.filters import TABLE, pods_set
from emulab.plan.proxy.intents import (
    Candidates,
    intents,
    service_candidates,
    udp_backends,
    udp_frontends,
    uses_local,
    viewer,
)
from emulab.plan.proxy.modes import Proxies
from emulab.plan.proxy.nftables import part
from emulab.plan.state import Rules, Ruleset, UdpBackends, World

KUBE_PROXY = f"ip {TABLE}"
Name = tuple[str, str]
"""Namespace and name of a Service."""
Frontend = tuple[str, int]


class Narrow:
    """A planned world, and what is needed to change it."""

    def __init__(
        self,
        world: World,
        objects: Objects,
        cluster: Cluster,
        services: Sequence[Candidates],
        proxies: Proxies,
        asked: set[Name],
    ) -> None:
        """`asked`: the Services whose endpoints others than proxies have looked at."""
        self._world = world
        self._tables = proxies.tables
        self._pods = pods_set(cluster)
        self._asked = asked
        frontends = Counter(f for c in services for f in udp_frontends(c))
        self._contested = {f for f, count in frontends.items() if count > 1}  # several Services have it
        self._curtailed = {(c.service.namespace, c.service.name) for c in services if c.curtailed}
        self._viewers = [viewer(o) for o in objects.kind("Node")]
        self._slices: dict[Name, dict[Key, Object]] = {}
        for o in objects.kind("EndpointSlice"):
            self._slices.setdefault(_service(o), {})[o.key] = o

    def follow(
        self, before: Mapping[Key, Object | None], get: Callable[[Key], Object | None]
    ) -> World | None:
        """The world after changes of objects; None where it has to be planned anew, and by nobody else then.

        `before`: what changed, as it was in the world that is planned; `get`: the object of a key as it is now.
        """
        touched: dict[Name, dict[Key, Object]] = {}
        for key, old in before.items():
            new = get(key)
            if old is None or new is None or not _minds_nobody(old, new):
                return None
            name = _service(new)
            touched.setdefault(name, dict(self._slices.get(name, {})))[key] = new
        if not touched or not self._tables or not self._asked.isdisjoint(touched):
            return None
        for name, slices in touched.items():
            service = get(Key("Service", *name))
            if name in self._curtailed:
                return None  # it has less than it asks for
            if service is not None and not self._exchange(service, self._slices.get(name, {}), slices):
                return None
            self._slices[name] = slices
        return self._world

    def _exchange(self, o: Object, before: Mapping[Key, Object], after: Mapping[Key, Object]) -> bool:
        """Puts a Service's new endpoints in the place of the old ones; False where that changes more than rules."""
        old, new = _candidates(o, before), _candidates(o, after)
        if any(c.service.health_check_node_port or uses_local(c) for c in new):
            return False  # nodes tell how many endpoints they have
        rulesets = dict(self._world.network.rulesets)
        was, will = intents(old, self._viewers), intents(new, self._viewers)
        done: dict[int, tuple[str, Ruleset]] = {}
        for node, table in self._tables.items():
            first, ruleset = done.get(id(table), ("", None))
            if ruleset is None:
                gone, come = ([part(one, self._pods) for one in given[node]] for given in (was, will))
                ruleset = table.exchange(gone, come)
                if ruleset is None:
                    return False
                done[id(table)] = (node, ruleset)
            elif (was[node], will[node]) != (was[first], will[first]):
                return False  # these nodes have had the same table up to now
            rulesets[node, KUBE_PROXY] = ruleset
        was_flows, flows = udp_backends(old).frontends, udp_backends(new).frontends
        if was_flows != flows:
            if not self._contested.isdisjoint(flows):
                return False
            _exchange_flows(rulesets, flows)
        self._world = replace(self._world, network=replace(self._world.network, rulesets=rulesets))
        return True


def _service(o: Object) -> Name:
    return o.namespace, o.labels.get(SERVICE_NAME_LABEL, "")


def _minds_nobody(old: Object, new: Object) -> bool:
    """Whether a change is one of endpoints in a slice that no controller has to do with."""
    slices = old.kind == "EndpointSlice" and is_foreign(old) and is_foreign(new)
    return slices and _service(old) == _service(new)


def _candidates(o: Object, slices: Mapping[Key, Object]) -> Sequence[Candidates]:
    return service_candidates(o, [EndpointSlice.of(s) for s in slices.values()])


def _exchange_flows(rulesets: dict[tuple[str, str], Rules], new: Mapping[Frontend, frozenset[str]]) -> None:
    """The same for those who may have UDP flows."""
    done: dict[int, UdpBackends] = {}
    for key, rules in rulesets.items():
        if not isinstance(rules, UdpBackends):
            continue
        if id(rules) not in done:
            known = rules.frontends
            flows = known if isinstance(known, Persistent) else Persistent(known)
            done[id(rules)] = UdpBackends(flows.changed((), new))
        rulesets[key] = done[id(rules)]
