"""Programs that serve as balancers in the place of emulab's own: whether they are here, and what they can't do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emulab.errors import UserError
from emulab.kernel.processes.installed import installed
from emulab.kinds.core.serviceview import Service
from emulab.kinds.emulab.balancing import BALANCER_ENGINES, OWN_ENGINE
from emulab.kinds.emulab.balancingview import Balancing
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.kinds.emulab.loadbalancerview import LoadBalancer
from emulab.kinds.emulab.servicebalancing import service_balancing
from emulab.kinds.registry import CLUSTER, LOAD_BALANCER, SERVICE
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.plan.balancers import balanced


def refuse_missing_programs(given: Sequence[Object]) -> None:
    """Raises UserError when a program of a balancer's engine that is asked for isn't installed."""
    for o in given:
        engine, where = _asked(o)
        for name in BALANCER_ENGINES[engine].programs if engine else ():
            if installed(name) is None:
                raise UserError(
                    f"{o.position}: {o.key} {where}: there is no {name} on this host; install it, for example "
                    f"with apt install {name}"
                )


def _asked(o: Object) -> tuple[str, str]:
    """The engine that an object asks for, "" for none, and where it does."""
    if o.type == CLUSTER:
        return Cluster.of(o).balancer_engine, "spec.balancers.engine"
    if o.type == LOAD_BALANCER:
        return LoadBalancer.of(o).balancing.engine, "spec.engine"
    if o.type == SERVICE and o.spec.get("type") == "LoadBalancer":
        return service_balancing(o).engine, "annotation balancer.emulab.dev/engine"
    return "", ""


def unfollowed_by_balancers(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """What of balancers their engines can't do: of those that are `given`, and of all with a new Cluster."""
    default = cluster_of(objects).balancer_engine
    everyone = any(o.type == CLUSTER for o in given)
    asked = given
    if everyone:
        asked = [*objects.kind(LOAD_BALANCER), *objects.facts(SERVICE, balanced).values()]
    for o in asked:
        if o.type == LOAD_BALANCER:
            balancer = LoadBalancer.of(o)
            balancing, datagrams = balancer.balancing, [*balancer.udp_ports]
        elif o.type == SERVICE and o.spec.get("type") == "LoadBalancer":
            balancing = service_balancing(o)
            datagrams = [p.port for p in Service.of(o).ports if p.protocol == "UDP"]
        else:
            continue
        for what in _unable(balancing, datagrams, balancing.engine or default):
            yield Finding(o, (), what)


def _unable(balancing: Balancing, datagrams: Sequence[int], engine: str) -> Iterator[str]:
    if engine == OWN_ENGINE:
        return
    if BALANCER_ENGINES[engine].replicas > 1 and balancing.replicas == 1:
        yield f"{engine} with one node: there is nobody to whom keepalived could move the address, so it isn't run"
    if balancing.mode == "nat":
        yield f"{engine} is a proxy: this balancer of mode nat is served by the engine {OWN_ENGINE}"
        return
    if balancing.workers > 1:
        yield f"haproxy has one process, with a thread for each processor: workers is of the engine {OWN_ENGINE}"
    if datagrams:
        ports = ", ".join(f"{port}/UDP" for port in datagrams)
        yield f"haproxy takes no datagrams: {ports} is served by nobody; engine: {OWN_ENGINE} does it"
