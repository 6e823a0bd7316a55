"""What Pods ask for of resources: by container, and all together (component-helpers' resource.PodRequests).

And what objects use of what a ResourceQuota may name (pkg/quota/v1/evaluator/core).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from emulab.model.objects import Object
from emulab.model.quantity import NOTHING, Quantity, count, parse_quantity

Amounts = dict[str, Quantity]
_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def containers(pod: Object) -> Iterator[Mapping[str, Any]]:
    for field in ("containers", "initContainers"):
        yield from pod.spec.get(field) or ()


def limits(container: Mapping[str, Any]) -> Amounts:
    given = (container.get("resources") or {}).get("limits") or {}
    return {name: parse_quantity(value) for name, value in given.items()}


def requests(container: Mapping[str, Any]) -> Amounts:
    """What it asks for, which is its limit where it doesn't say (`SetDefaults_Pod`)."""
    given = (container.get("resources") or {}).get("requests") or {}
    return {**limits(container), **{name: parse_quantity(value) for name, value in given.items()}}


def pod_requests(pod: Object) -> Amounts:
    return _of_pod(pod, "requests")


def pod_limits(pod: Object) -> Amounts:
    return _of_pod(pod, "limits")


def _of_pod(pod: Object, which: str) -> Amounts:
    """Its containers and sidecars together, or what the largest of those needs that run before them."""
    ask = requests if which == "requests" else limits
    whole: Amounts = {}
    for container in pod.spec.get("containers") or ():
        add(whole, ask(container))
    beside: Amounts = {}
    most: Amounts = {}
    for container in pod.spec.get("initContainers") or ():
        own = dict(beside)
        add(own, ask(container))
        if container.get("restartPolicy") == "Always":  # a sidecar goes on running (KEP-753)
            beside = own
            add(whole, ask(container))
        _largest(most, own)
    _largest(whole, most)
    given = (pod.spec.get("resources") or {}).get(which) or {}
    whole |= {name: parse_quantity(value) for name, value in given.items()}
    overhead = {name: parse_quantity(value) for name, value in (pod.spec.get("overhead") or {}).items()}
    # To what has no limit it adds none.
    add(whole, {n: a for n, a in overhead.items() if which == "requests" or n in whole})
    return whole


def add(total: Amounts, more: Amounts) -> None:
    """Adds to `total`, which is changed."""
    for name, quantity in more.items():
        total[name] = total.get(name, NOTHING) + quantity


def _largest(total: Amounts, more: Amounts) -> None:
    for name, quantity in more.items():
        if name not in total or quantity.value > total[name].value:
            total[name] = quantity


# What a quota counts


def used_by_pod(pod: Object) -> Amounts:
    """Nothing, once it has ended."""
    if pod.status.get("phase") in ("Succeeded", "Failed"):
        return {}
    found: Amounts = {"pods": count(1)}
    for name, amount in pod_requests(pod).items():
        found[f"requests.{name}"] = amount
        if name in _COMPUTE or name.startswith("hugepages-"):
            found[name] = amount
    for name, amount in pod_limits(pod).items():
        found[f"limits.{name}"] = amount
    return found


def used_by_service(service: Object) -> Amounts:
    """Node ports are those that will be allocated; where none are, those that are asked for by number."""
    type_, ports = service.spec.get("type") or "ClusterIP", service.spec.get("ports") or ()
    balanced = type_ == "LoadBalancer"
    if balanced and not service.spec.get("allocateLoadBalancerNodePorts", True):
        ports = [port for port in ports if port.get("nodePort")]
    return {
        "services.loadbalancers": count(int(balanced)),
        "services.nodeports": count(len(ports) if balanced or type_ == "NodePort" else 0),
    }


def used_by_claim(claim: Object) -> Amounts:
    asked = ((claim.spec.get("resources") or {}).get("requests") or {}).get("storage")
    found = {"requests.storage": parse_quantity(asked)} if asked is not None else {}
    annotated = claim.annotations.get("volume.beta.kubernetes.io/storage-class")
    if name := annotated or claim.spec.get("storageClassName"):
        of_class = f"{name}.storageclass.storage.k8s.io"
        found |= {f"{of_class}/{what}": amount for what, amount in found.items()}
        found[f"{of_class}/persistentvolumeclaims"] = count(1)
    return found
