"""Programs that serve in the place of emulab's own servers: whether they are here, and what they can't do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from emulab.errors import UserError
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.kinds.emulab.resolver import Resolver
from emulab.kinds.networking.ingresscontrollers import controllers
from emulab.kinds.registry import CLUSTER, INGRESS, RESOLVER
from emulab.lab import nameserverengines
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.plan.l7.ingress import ingress_config
from emulab.servers.engines.haproxy import unable as haproxy
from emulab.servers.engines.nginx import unable as nginx
from emulab.servers.l7.config import RequestRoute, Upstream

_OWN = "builtin"
_UNABLE: Mapping[str, tuple[Callable[[RequestRoute], Iterator[str]], Callable[[Upstream], Iterator[str]]]] = {
    "nginx": (nginx.unable, nginx.balance),
    "haproxy": (haproxy.unable, haproxy.balance),
}
"""What of a route and of its upstreams an engine can't do."""


def refuse_missing(given: Sequence[Object]) -> None:
    """Raises UserError when an engine that a Cluster or a Resolver asks for isn't installed."""
    for o in given:
        for field, name in _asked(o):
            if name != _OWN and shutil.which(name) is None:
                raise UserError(
                    f"{o.position}: {o.key} spec.{field}: there is no {name} on this host; install it, for example "
                    f"with apt install {name}"
                )


def _asked(o: Object) -> Iterator[tuple[str, str]]:
    """The fields of an object that ask for an engine, and which."""
    if o.type == CLUSTER:
        yield "ingress.engine", Cluster.of(o).ingress_engine
        yield "dns.engine", Cluster.of(o).dns_engine
    if o.type == RESOLVER:
        yield "engine", Resolver.of(o).engine


def unfollowed(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """What the engines can't do of what objects ask for."""
    yield from _of_ingresses(given, objects)
    yield from nameserverengines.unfollowed(given, objects)


def _of_ingresses(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """What of Ingresses the engine can't do: of those that are `given`, and of all with a new Cluster."""
    cluster = cluster_of(objects)
    if cluster.ingress_engine not in _UNABLE or not any(o.type in (CLUSTER, INGRESS) for o in given):
        return
    of_route, of_upstream = _UNABLE[cluster.ingress_engine]
    asked = given if not any(o.type == CLUSTER for o in given) else objects.kind(INGRESS)
    ingresses = {f"Ingress {o.namespace}/{o.name}": o for o in asked if o.type == INGRESS}
    source, told = PlanSource.of(objects), set[tuple[str, str]]()
    for controller in controllers(objects):
        config = ingress_config(source, cluster, controller.flags)
        for route in config.routes:
            upstreams = (config.upstreams.get(one.upstream, Upstream()) for one in route.backends)
            locked = haproxy.certificates(config, route) if cluster.ingress_engine == "haproxy" else ()
            for what in chain(of_route(route), locked, *map(of_upstream, upstreams)):
                if route.origin in ingresses and (route.origin, what) not in told:
                    told.add((route.origin, what))
                    then = "" if ": " in what else ": requests are served as without it"
                    yield Finding(ingresses[route.origin], (), f"{what}{then}")
