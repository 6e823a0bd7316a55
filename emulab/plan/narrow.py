"""What a change of endpoints alone changes in a world that is planned already. Pure, but for what it remembers.

To plan a world takes as long as it has objects. What most often changes, though, are endpoints, and those of most
Services concern nobody but the nodes' proxies: then one Service's part of their tables is exchanged, however many
others there are. Where that isn't all that would change, `follow` says so and the world is planned anew; both
ways end in equal worlds. As it stands that holds for nftables mode with one family of addresses, and EndpointSlices
that no controller minds.

What Pods do means more than rules, so everything is planned anew, in the end. Where that takes long, the rules don't
wait for it: `anticipate` gives the world with them alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from emulab.cluster.controllers.endpointslices import is_foreign, with_pod
from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL, EndpointSlice
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.registry import ENDPOINT_SLICE, NODE, POD, SERVICE
from emulab.model.collection import Objects
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.persistent import Persistent
from emulab.plan.proxy.filters import TABLE, Words
from emulab.plan.proxy.intents import (
    Candidates,
    intents,
    service_candidates,
    udp_backends,
    udp_frontends,
    uses_local,
    viewer,
)
from emulab.plan.proxy.modes.mode import Proxies
from emulab.plan.proxy.modes.nftables import part
from emulab.plan.state import Rules, Ruleset, UdpBackends, World

_MANY = 200  # Services: a world of fewer is planned in some hundredths of a second
_AT_ONCE = 10  # Pods
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
        self._family = cluster.families[0]
        self._words = Words(cluster, self._family)
        self._key = f"{self._family.nft} {TABLE}"
        one = len(cluster.families) == 1
        self._tables = {node: table for (node, _), table in proxies.tables.items()} if one else {}
        self._asked = asked
        frontends = Counter(f for c in services for f in udp_frontends(c))
        self._contested = {f for f, count in frontends.items() if count > 1}  # several Services have it
        # Services that have fewer addresses than they ask for.
        self._curtailed = {(c.service.namespace, c.service.name) for c in services if c.curtailed}
        self._viewers = [viewer(o) for o in objects.kind(NODE)]
        self._slices: dict[Name, dict[Key, Object]] = {}
        self._of_pods: dict[Key, dict[Key, Object]] = {}  # the slices that a controller wrote about each Pod
        for o in objects.kind(ENDPOINT_SLICE):
            self._slices.setdefault(_service(o), {})[o.key] = o
            if not is_foreign(o):
                for pod in _pods(o):
                    self._of_pods.setdefault(pod, {})[o.key] = o

    def follow(
        self, before: Mapping[Key, Object | None], get: Callable[[Key], Object | None]
    ) -> World | None:
        """The world after changes of objects; None where it has to be planned anew.

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
        if any(self._is_told(get(SERVICE.key(*name)), slices) for name, slices in touched.items()):
            return None
        return self._world if self._exchange_all(touched, get) else None

    def anticipate(
        self, before: Mapping[Key, Object | None], get: Callable[[Key], Object | None]
    ) -> tuple[list[Object], World] | None:
        """The EndpointSlices, and the world but for all else, after Pods got ready, or unready, or began to end.

        None where other objects changed, too. The world has to be planned anew in either case.
        """
        if len(self._slices) < _MANY or len(before) > _AT_ONCE or not self._tables:
            return None
        touched: dict[Name, dict[Key, Object]] = {}
        changed: dict[Key, Object] = {}
        for key, old in before.items():
            pod = get(key)
            if key.type != POD or old is None or pod is None or not _stays(old, pod):
                return None
            for slice_key, known in self._of_pods.get(key, {}).items():
                name = _service(known)
                service = get(SERVICE.key(*name))
                new = service and with_pod(changed.get(slice_key, known), pod, service)
                if new is None:
                    return None
                changed[slice_key] = new
                touched.setdefault(name, dict(self._slices[name]))[slice_key] = new
        if not touched or not self._exchange_all(touched, get):
            return None
        return list(changed.values()), self._world

    def _exchange_all(
        self, touched: Mapping[Name, Mapping[Key, Object]], get: Callable[[Key], Object | None]
    ) -> bool:
        """Puts new slices in the place of the old ones; False where that changes more than rules.

        Some of the tables may be changed by then, so nothing can be done with them any more.
        """
        if not self._curtailed.isdisjoint(touched):
            return False
        for name, slices in touched.items():
            service = get(SERVICE.key(*name))
            if service is not None and not self._exchange(service, self._slices.get(name, {}), slices):
                self._tables = {}
                return False
            self._slices[name] = dict(slices)
        return True

    def _exchange(self, o: Object, before: Mapping[Key, Object], after: Mapping[Key, Object]) -> bool:
        """Puts a Service's new endpoints in the place of the old ones; False where that changes more than rules."""
        old, new = self._candidates(o, before), self._candidates(o, after)
        rulesets = dict(self._world.network.rulesets)
        was, will = intents(old, self._viewers), intents(new, self._viewers)
        done: dict[int, tuple[str, Ruleset]] = {}
        for node, table in self._tables.items():
            first, ruleset = done.get(id(table), ("", None))
            if ruleset is None:
                gone, come = ([part(one, self._words) for one in given[node]] for given in (was, will))
                ruleset = table.exchange(gone, come)
                if ruleset is None:
                    return False
                done[id(table)] = (node, ruleset)
            elif (was[node], will[node]) != (was[first], will[first]):
                return False  # these nodes have had the same table up to now
            rulesets[node, self._key] = ruleset
        was_flows, flows = udp_backends(old).frontends, udp_backends(new).frontends
        if was_flows != flows:
            if not self._contested.isdisjoint(flows):
                return False
            _exchange_flows(rulesets, flows)
        self._world = replace(self._world, network=replace(self._world.network, rulesets=rulesets))
        return True

    def _is_told(self, service: Object | None, slices: Mapping[Key, Object]) -> bool:
        """Whether nodes tell others how many endpoints of a Service they have."""
        found = self._candidates(service, slices) if service else ()
        return any(c.service.health_check_node_port or uses_local(c) for c in found)

    def _candidates(self, o: Object, slices: Mapping[Key, Object]) -> Sequence[Candidates]:
        return service_candidates(o, [EndpointSlice.of(s) for s in slices.values()], self._family)


def _service(o: Object) -> Name:
    return o.namespace, o.labels.get(SERVICE_NAME_LABEL, "")


def _pods(o: Object) -> set[Key]:
    """The Pods that a slice has as endpoints."""
    found = (e.get("targetRef") or {} for e in o.raw.get("endpoints") or ())
    return {POD.key(o.namespace, ref["name"]) for ref in found if ref.get("kind") == "Pod"}


def _stays(old: Object, new: Object) -> bool:
    """Whether a Pod is the one that it was, for Services: where it was, with its addresses and labels."""
    same = (old.metadata.get("uid"), old.labels, old.spec) == (new.metadata.get("uid"), new.labels, new.spec)
    return same and all(old.status.get(field) == new.status.get(field) for field in ("podIP", "podIPs"))


def _minds_nobody(old: Object, new: Object) -> bool:
    """Whether a change is one of endpoints in a slice that no controller has to do with."""
    slices = old.type == ENDPOINT_SLICE and is_foreign(old) and is_foreign(new)
    return slices and _service(old) == _service(new)


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
