"""What is told of balancers: what a cloud's service controller says of Services (cloud-provider's words), and who of
their backends is healthy. Pure, but for what it remembers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.cluster.balanceraddresses import asked_addresses, sharing
from emulab.kinds.core.serviceview import ingress_ips, is_internal
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.emulab.servicebalancing import is_of_known_class
from emulab.kinds.registry import LOAD_BALANCER, SERVICE
from emulab.model.addresses import IPAddress
from emulab.model.collection import NORMAL, WARNING, Objects, Tell
from emulab.model.keys import Key
from emulab.model.objects import Object

SERVICE_CONTROLLER = "service-controller"
COMPONENT = "load-balancer"

Status = Mapping[str, Any]


class BalancerEvents:
    """What has been told of one lab's Services of type LoadBalancer."""

    def __init__(self) -> None:
        self._asked: Mapping[Key, Object] = {}
        self._told: dict[Key, str] = {}  # Service → its address, or why it has none

    def told(self, objects: Objects, cluster: Cluster) -> list[Tell]:
        """What is to be told of these objects."""
        asked = objects.facts(SERVICE, _of_somebody)
        if asked is self._asked:
            return []
        self._asked = asked
        found: list[Tell] = []
        known, self._told = self._told, {}
        for key, o in asked.items():
            addresses = ", ".join(ingress_ips(o))
            why = "" if addresses else _why_pending(o, objects, cluster)
            self._told[key] = addresses or why
            if known.get(key) == (addresses or why):
                continue
            if key not in known:
                found.append(_of_service(o, NORMAL, "EnsuringLoadBalancer", "Ensuring load balancer"))
            if addresses:
                found.append(_of_service(o, NORMAL, "EnsuredLoadBalancer", "Ensured load balancer"))
            elif why:
                failed = f"Error syncing load balancer: failed to ensure load balancer: {why}"
                found.append(_of_service(o, WARNING, "SyncLoadBalancerFailed", failed))
        return found


def _of_service(o: Object, type_: str, reason: str, message: str) -> Tell:
    return Tell(o, type_, reason, message, SERVICE_CONTROLLER)


def _of_somebody(o: Object) -> Object | None:
    """A Service that gets a balancer of its own from somebody here."""
    own = o.spec.get("type") == "LoadBalancer" and not is_internal(o) and is_of_known_class(o)
    return o if own else None


def _why_pending(o: Object, objects: Objects, cluster: Cluster) -> str:
    asked = asked_addresses(o, cluster)
    known = next(filter(None, (_who_has(o, one, objects) for one in asked)), "")
    return known or (f"{asked[0]} is in use by the lab itself" if asked else "")


def _who_has(o: Object, asked: IPAddress, objects: Objects) -> str:
    """Who has an address for which a Service waits, where an object has it."""
    for other in objects.kind(SERVICE):
        if other.key != o.key and str(asked) in ingress_ips(other):
            how = (
                "" if sharing(o, asked, objects) else "; they may share it where both say so and ports differ"
            )
            return f"{asked} is in use by {other.key}{how}"
    holder = next(
        (b for b in objects.kind(LOAD_BALANCER) if str(asked) in (b.status.get("vips") or ())), None
    )
    return f"{asked} is in use by {holder.key}" if holder else ""


def with_health(status: Status, record: Mapping[str, Any]) -> Status:
    """The status of a balancer's object after the news of a backend: those that aren't healthy are listed."""
    frontend, address = record["frontend"], record["address"]
    others = [
        one
        for one in status.get("unhealthyBackends") or ()
        if (one["frontend"], one["address"]) != (frontend, address)
    ]
    if not record["healthy"]:
        lacks = {"name": record["target"], "check": record.get("check", "")}
        others.append({"frontend": frontend, "address": address, **lacks})
    rest = {name: value for name, value in status.items() if name != "unhealthyBackends"}
    return {**rest, "unhealthyBackends": others} if others else rest


def without_health(status: Status) -> Status:
    """The status of an object whose balancer has begun anew, and takes all backends for healthy."""
    return {name: value for name, value in status.items() if name != "unhealthyBackends"}


def health_event(o: Object, record: Mapping[str, Any]) -> Tell:
    """What is told of a backend's change."""
    who = f"{record['target']} ({record['address']}) of {record['frontend']}"
    check = f": {record['check']}" if record.get("check") else ""
    if record["healthy"]:
        return Tell(o, NORMAL, "BackendHealthy", f"{who} is healthy{check}", COMPONENT)
    return Tell(o, WARNING, "BackendUnhealthy", f"{who} is not healthy{check}", COMPONENT)
