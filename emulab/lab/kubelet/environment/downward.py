"""What a container may be told of its Pod and of its resources: the downward API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Any

from emulab.kinds.core.accounts import account_of
from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.core.resources import containers, limits, requests
from emulab.model.objects import Object
from emulab.model.quantity import Quantity, parse_quantity

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}


def downward_fields(pod: Object, spec: PodSpec) -> dict[str, str]:
    """What `fieldRef` may name (Kubernetes: downward API)."""
    host = str(pod.status.get("hostIP", ""))
    fields = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": str(pod.metadata.get("uid", "")),
        "metadata.labels": listed(pod.labels),
        "metadata.annotations": listed(pod.annotations),
        "spec.nodeName": spec.node_name,
        "spec.serviceAccountName": account_of(pod.spec),
        "status.podIP": str(pod.status.get("podIP", "")),
        "status.podIPs": ",".join(e["ip"] for e in pod.status.get("podIPs") or ()),
        "status.hostIP": host,
        "status.hostIPs": ",".join(e["ip"] for e in pod.status.get("hostIPs") or ()) or host,
    }
    fields |= {f"metadata.labels['{k}']": v for k, v in pod.labels.items()}
    fields |= {f"metadata.annotations['{k}']": v for k, v in pod.annotations.items()}
    return fields


def listed(pairs: Mapping[str, str]) -> str:
    """Labels or annotations as a file of them has them: `key="value"`, a line each (pkg/fieldpath's `FormatMap`)."""
    return "\n".join(f"{key}={_quoted(str(value))}" for key, value in sorted(pairs.items()))


def _quoted(text: str) -> str:
    """As Go's %q: letters of all languages stay as they are."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if letter.isprintable():
        return letter
    number = ord(letter)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def resource_value(selector: Mapping[str, Any], pod: Object, own: str, allocatable: Mapping[str, Any]) -> str:
    """What `resourceFieldRef` says of a container, `own` where it names none, in units of its divisor, rounded up.

    A limit that there isn't is all that the node has (`MergeContainerResourceLimits`), a request none.
    """
    name = selector.get("containerName") or own
    container: Mapping[str, Any] = next((c for c in containers(pod) if c["name"] == name), {})
    which, _, resource = str(selector["resource"]).partition(".")
    amounts = limits(container) if which == "limits" else requests(container)
    amount = amounts.get(resource)
    if amount is None and which == "limits" and resource in allocatable:
        amount = parse_quantity(allocatable[resource])
    divisor = parse_quantity(selector.get("divisor") or "1")
    scale = 1000 if resource == "cpu" else 1
    return str(
        ceil(Fraction(_units(amount, scale), _units(divisor, scale) or scale)) if amount is not None else 0
    )


def _units(quantity: Quantity, scale: int) -> int:
    """As `Quantity.MilliValue` or `Value` has it."""
    return ceil(quantity.value * scale)
