"""What a lab tells whoever looks on: whose an address is, which addresses an object has, how its places are joined."""

from __future__ import annotations

import asyncio
from typing import Any

from emulab.errors import UserError
from emulab.kinds.core.serviceview import Service, ingress_ips
from emulab.kinds.kind import WORKLOAD
from emulab.kinds.registry import KINDS, POD, SERVICE
from emulab.lab.supervisor.arguments import NAME, OWNERS, Arguments, listed, optional, takes
from emulab.lab.supervisor.reconciler import Progress
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.lab.supervisor.targets import find_pod
from emulab.model.selectors import label_selector_of, matches_selector
from emulab.plan.draft import FABRIC
from emulab.plan.links import Ipip, TunnelVxlan, Veth, Vxlan
from emulab.plan.rules.tracing import namespace_places
from emulab.plan.state import World


class Surveying:
    """The operations `owners`, `addresses` and `topology`."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def _world(self) -> World:
        if self._around.world is None:
            raise UserError("the lab is still being built")
        return self._around.world

    @takes(questions=OWNERS)
    async def owners(self, arguments: Arguments, _: Progress) -> Any:
        """`questions`: [[protocol, address, port], …], as `emulab.plan.owners` takes them.

        Result: `version`, that of the objects, and `owners`: [[protocol, address, port, owner], …] of those known.
        """
        questions = [(str(p), str(a), int(n)) for p, a, n in arguments["questions"]]
        version, world, objects = self._around.store.version, self._world(), self._around.store.objects()

        def found() -> list[list[Any]]:
            from emulab.plan.owners import owners  # here: a lab starts sooner so

            return [[*q, o.to_json()] for q, o in owners(objects, world, questions).items()]

        return {"version": version, "owners": await asyncio.to_thread(found)}

    @takes(targets=listed(NAME), namespace=optional(NAME))
    async def addresses(self, arguments: Arguments, _: Progress) -> Any:
        """`targets`: places, `pod/NAME`, `deploy/NAME`, `svc/NAME`, …: the addresses that each has now, in order.

        Of a workload those of all its pods, of a Service its own.
        """
        namespace = arguments.get("namespace") or "default"
        return [self._addresses(target, namespace) for target in arguments["targets"]]

    def _addresses(self, target: str, namespace: str) -> list[str]:
        place = self._world().places.get(target)
        if place is not None:
            return [str(a) for a in place.addresses]
        word, slash, name = target.partition("/")
        kind = KINDS.named(word) if slash else None
        store = self._around.store
        if kind is not None and (kind == SERVICE or WORKLOAD in kind.categories):
            o = store.get(kind.key(namespace, name))
            if o is None:
                raise UserError(f"{kind.singular} {name!r} not found in namespace {namespace}")
            if kind == SERVICE:
                service = Service.of(o)
                own = (*service.cluster_ips, *(o.spec.get("externalIPs") or ()), *ingress_ips(o))
                return list(dict.fromkeys(map(str, own)))
            selector = label_selector_of(o.spec)
            pods = [p for p in store.objects().kind(POD, namespace) if matches_selector(selector, p.labels)]
        else:
            pods = [find_pod(self._around, target, namespace)]
        return [entry["ip"] for pod in pods for entry in pod.status.get("podIPs") or ()]

    @takes()
    async def topology(self, _: Arguments, __: Progress) -> Any:
        """How places are joined. Those of one network namespace are one, which has the name of its node.

        Result: `places`, each with `name`, `kind`, `addresses` and `node` (of a pod: where it is); `links`: each with
        `ends` (place and interface; one alone where the other is a network's), `network` ("" for none) and `kind`;
        `networks`, by name.
        """
        return await asyncio.to_thread(topology, self._world(), self._nodes())

    def _nodes(self) -> dict[str, str]:
        """The node that each pod is on, by the pod's place."""
        pods = self._around.store.objects().kind(POD)
        return {f"{p.namespace}.{p.name}": p.spec.get("nodeName") or "" for p in pods}


def topology(world: World, nodes: dict[str, str]) -> dict[str, Any]:
    """A world as places and links between them. Pure. `nodes`: of pods, by place."""
    names = namespace_places(world)
    places = [
        {
            "name": place.name,
            "kind": place.kind,
            "addresses": [str(a) for a in place.addresses],
            "node": nodes.get(place.name, "") if place.kind == "pod" else "",
        }
        for place in world.places.values()
        if names[place.namespace] == place.name
    ]
    links: list[dict[str, Any]] = []
    for item in world.network.items:
        if isinstance(item, Veth):
            ends = [[names[n], link] for n, link in item.ends() if n in names]
            network = item.master if item.namespace == FABRIC else ""  # a node's bridge is a part of the node
            links.append({"kind": "veth", "network": network, "ends": ends})
        elif isinstance(item, Vxlan | TunnelVxlan | Ipip) and item.namespace in names:
            links.append(
                {"kind": item.word, "network": "overlay", "ends": [[names[item.namespace], item.name]]}
            )
    networks = sorted({link["network"] for link in links if link["network"]})
    links.sort(key=lambda link: (link["network"], link["ends"]))
    return {"places": places, "links": links, "networks": networks}
