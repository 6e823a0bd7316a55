"""Programs that serve in the place of emulab's own servers: whether they are here, and what they can't do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from emulab.errors import UserError
from emulab.kernel.processes.installed import installed
from emulab.kernel.processes.programs import run_program
from emulab.kinds.emulab.clusterview import Cluster, cluster_of, cluster_to_be
from emulab.kinds.emulab.resolver import Resolver
from emulab.kinds.networking.destinations import DestinationRule
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingresscontrollers import controllers
from emulab.kinds.registry import CLUSTER, CONFIG_MAP, DESTINATION_RULE, INGRESS, IP_POOL, RESOLVER
from emulab.lab import nameserverengines
from emulab.lab.balancerengines import refuse_missing_programs
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.model.paths import FieldPath
from emulab.plan.cni import mode_of
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations.lacking import lacks_of_annotations, lacks_of_keys
from emulab.plan.l7.ingress import ingress_config
from emulab.plan.l7.spreading import spread
from emulab.plan.l7.wishes import NOTHING_WISHED
from emulab.servers.engines.haproxy import unable as haproxy
from emulab.servers.engines.nginx import unable as nginx
from emulab.servers.l7.config import L7Config, RequestRoute, Upstream

_OWN = "builtin"
_UNABLE: Mapping[
    str,
    tuple[Callable[[RequestRoute, L7Config], Iterator[str]], Callable[[Upstream], Iterator[tuple[str, str]]]],
] = {
    "nginx": (nginx.unable, nginx.balance),
    "haproxy": (haproxy.unable, haproxy.balance),
}
"""What of a route and of its upstreams an engine can't do."""


async def refuse_missing(given: Sequence[Object], there: Objects) -> None:
    """Raises UserError when an engine that is asked for isn't installed, or can't do what is asked of it."""
    refuse_missing_programs(given)
    _refuse_missing_of_network(given, there)
    for o in given:
        for field, name in _asked(o):
            if name == _OWN:
                continue
            place = f"{o.position}: {o.key} spec.{field}"
            if installed(name) is None:
                raise UserError(
                    f"{place}: there is no {name} on this host; install it, for example with apt install {name}"
                )
            if name == "haproxy" and (
                why := what_lacks((await run_program(["haproxy", "-vv"])).stdout.decode())
            ):
                raise UserError(f"{place}: the haproxy of this host {why}")


def _refuse_missing_of_network(given: Sequence[Object], there: Objects) -> None:
    saying = [o for o in given if o.type in (CLUSTER, IP_POOL)]
    if not saying:
        return
    cluster = cluster_to_be(given, there)
    own = [o for o in saying if o.type == CLUSTER and Cluster.of(o).network_mode == cluster.network_mode]
    o = next(iter(own), saying[-1])
    for name, package in mode_of(cluster).programs.items():
        if not cluster.chain and installed(name) is None:
            raise UserError(
                f"{o.position}: {o.key} spec: network mode {cluster.network_mode} needs {name}, which "
                f"isn't on this host; install it, for example with apt install {package}"
            )


def _asked(o: Object) -> Iterator[tuple[str, str]]:
    """The fields of an object that ask for an engine, and which."""
    if o.type == CLUSTER:
        yield "ingress.engine", Cluster.of(o).ingress_engine
        yield "dns.engine", Cluster.of(o).dns_engine
    if o.type == RESOLVER:
        yield "engine", Resolver.of(o).engine


def what_lacks(told: str) -> str:
    """What a HAProxy, which tells this of itself (`-vv`), would have to have; "" if it has all."""
    found = re.search(r"version (\d+)\.(\d+)", told)
    version = (int(found[1]), int(found[2])) if found is not None else (0, 0)
    if version < _HAPROXY:
        shown = ".".join(map(str, version)) if found is not None else "something else"
        return f"is {shown}, and 2.6 is the oldest that is configured here; install a newer one"
    return (
        "" if "+LUA" in told else "is built without Lua, which it takes; install one with it, as Debian's is"
    )


_HAPROXY = (2, 6)
"""The first HAProxy with `balance hash` and a client of HTTP for Lua."""


def unfollowed(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """What the engines can't do of what objects ask for."""
    yield from _of_ingresses(given, objects)
    yield from nameserverengines.unfollowed(given, objects)


def _of_ingresses(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """What of Ingresses, and of what else decides of them, the engine can't do: of what is `given`, and of all with a
    new Cluster."""
    cluster = cluster_of(objects)
    engine = cluster.ingress_engine
    if engine not in _UNABLE:
        return
    is_all = any(o.type == CLUSTER for o in given)
    ingresses = list(objects.kind(INGRESS)) if is_all else [o for o in given if o.type == INGRESS]
    yield from lacks_of_annotations(ingresses, IngressClasses.among(objects, cluster), engine)
    maps = {o.key for o in (objects.kind(CONFIG_MAP) if is_all else given) if o.type == CONFIG_MAP}
    for controller in controllers(objects) if maps else ():
        namespace, _, name = controller.flags.config_map.partition("/")
        config_map = objects.get(CONFIG_MAP.key(namespace, name)) if name else None
        if config_map is not None and config_map.key in maps:
            yield from lacks_of_keys(config_map, engine)
    for o in objects.kind(DESTINATION_RULE) if is_all else given:
        if o.type == DESTINATION_RULE:
            yield from _of_rule(o, engine)
    if ingresses:
        yield from _of_configuration(ingresses, objects, cluster)


def _of_configuration(ingresses: Sequence[Object], objects: Objects, cluster: Cluster) -> Iterator[Finding]:
    """What is no annotation's matter."""
    of_route, _ = _UNABLE[cluster.ingress_engine]
    there = {f"Ingress {o.namespace}/{o.name}": o for o in ingresses}
    source, told = PlanSource.of(objects), set[tuple[str, str]]()
    for controller in controllers(objects):
        config = ingress_config(source, cluster, controller.flags)
        for route in config.routes:
            for what in of_route(route, config):
                if route.origin in there and (route.origin, what) not in told:
                    told.add((route.origin, what))
                    yield Finding(there[route.origin], (), what)


def _of_rule(o: Object, engine: str) -> Iterator[Finding]:
    """What of a DestinationRule it can't do."""
    rule, of_upstream = DestinationRule.of(o), _UNABLE[engine][1]
    ports = enumerate(rule.ports)
    policies: list[tuple[FieldPath, DestinationRule]] = [((), rule)]
    policies += [(("portLevelSettings", at), rule.at(port)) for at, port in ports]
    for path, one in policies:
        for field, what in of_upstream(spread(NOTHING_WISHED, NOTHING_WISHED, one)):
            yield Finding(
                o, ("spec", "trafficPolicy", *path, field), f"{what}: requests are served as without it"
            )
