"""What a node has, as its Cluster declares it: the machine itself is shared by all nodes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

MAX_PODS = 110
"""The kubelet's default of maxPods, whatever room for addresses a node has."""

DEFAULT_CAPACITY: Mapping[str, str] = {
    "cpu": "32",
    "ephemeral-storage": "100Gi",
    "hugepages-1Gi": "0",
    "hugepages-2Mi": "0",
    "memory": "128Gi",
    "pods": str(MAX_PODS),
}


def capacity(given: Mapping[str, object], addresses: int) -> Mapping[str, str]:
    """The capacity of a node, by the names of resources. `addresses`: how many Pods can have one there."""
    return _capacity(tuple((name, str(amount)) for name, amount in given.items()), addresses)


@cache  # a lab may have two thousand nodes, most of them alike
def _capacity(given: tuple[tuple[str, str], ...], addresses: int) -> Mapping[str, str]:
    from emulab.model.quantity import parse_quantity  # exact arithmetic, here alone

    whole = {name: str(parse_quantity(value)) for name, value in {**DEFAULT_CAPACITY, **dict(given)}.items()}
    whole["pods"] = str(min(int(parse_quantity(whole["pods"]).value), addresses))
    return dict(sorted(whole.items()))
