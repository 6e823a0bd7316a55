"""What `describe` says of a node's Pods and of what they ask for (kubectl's `describeNodeResource`). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from emulab.kinds.cells import Raw
from emulab.kinds.fields import Fields, LinesBelow, aligned

if TYPE_CHECKING:
    from emulab.model.quantity import Quantity

_ALWAYS = ("cpu", "memory", "ephemeral-storage")
_PODS = (("cpu", "CPU"), ("memory", "Memory"))
_WARNING = "(Total limits may be over 100 percent, i.e., overcommitted.)"


def node_resources(node: Raw, pods: Sequence[Raw]) -> Fields:
    """`pods`: all of the lab, of which those count that are on the node and haven't ended."""
    from emulab.kinds.core.resources import (  # exact arithmetic, here alone
        Amounts,
        add,
        pod_limits,
        pod_requests,
    )
    from emulab.model.objects import Object
    from emulab.model.quantity import parse_quantity

    status = node.get("status") or {}
    given = status.get("allocatable") or status.get("capacity") or {}
    have = {name: parse_quantity(value) for name, value in given.items()}
    own = [pod for pod in pods if _runs_on(pod, node["metadata"]["name"])]
    asked: Amounts = {}
    bounded: Amounts = {}
    rows: list[list[str]] = []
    for pod in own:
        request, limit = pod_requests(Object(pod)), pod_limits(Object(pod))
        add(asked, request)
        add(bounded, limit)
        metadata = pod["metadata"]
        amounts = [_share(which, have, name) for name, _ in _PODS for which in (request, limit)]
        rows.append([metadata["namespace"], metadata["name"], *amounts])
    titles = [
        "Namespace",
        "Name",
        *(f"{word} {which}" for _, word in _PODS for which in ("Requests", "Limits")),
    ]
    more = sorted(name for name in have if name not in (*_ALWAYS, "pods"))
    totals = [[n, _share(asked, have, n), _share(bounded, have, n)] for n in (*_ALWAYS, *more)]
    return [
        ("Non-terminated Pods", LinesBelow(f"({len(own)} in total)", aligned(titles, rows))),
        (
            "Allocated resources",
            LinesBelow("", [_WARNING, *aligned(["Resource", "Requests", "Limits"], totals)]),
        ),
    ]


def _runs_on(pod: Raw, node: str) -> bool:
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return pod["spec"].get("nodeName") == node and not ended


def _share(amounts: Mapping[str, Quantity], have: Mapping[str, Quantity], name: str) -> str:
    """An amount, and which part of the node's that is. Of what isn't measured in parts kubectl says none."""
    amount = amounts.get(name)
    text = "0" if amount is None else str(amount)
    if name not in _ALWAYS and not name.startswith("hugepages-"):
        return text
    whole = have[name].value if name in have else 0
    return f"{text} ({int(amount.value / whole * 100) if amount is not None and whole else 0}%)"
