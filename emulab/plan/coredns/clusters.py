"""The cluster of a Corefile, of which several server blocks may have the names. Pure.

They are answered alike, by the options of the first block; each asks for its own zones of reverse names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from emulab.plan.coredns.drafting import BlockDraft

_TTL = 5
_WORDS = {
    "domain": "the zone",
    "pods": "pods",
    "ttl": "ttl",
    "fallthrough": "fallthrough",
    "ignore_empty": "ignore",
    "exposed": "namespaces",
    "endpoint_pod_names": "endpoint_pod_names",
    "labels": "labels",
    "namespace_labels": "namespace_labels",
    "noendpoints": "noendpoints",
}


def merged(drafts: Iterable[BlockDraft]) -> dict[str, Any]:
    """How the cluster's names are answered."""
    given = [draft.cluster for draft in drafts if draft.cluster]
    if not given:
        return {}
    reverse = dict.fromkeys(zone for cluster in given for zone in cluster["reverse"])
    return given[0] | {"reverse": tuple(reverse)}


def differing(drafts: Iterable[BlockDraft]) -> Iterator[tuple[int, str]]:
    """What blocks say otherwise than the first, and where."""
    given = [draft for draft in drafts if draft.cluster]
    for draft in given[1:]:
        first, own = _options(given[0]), _options(draft)
        if words := [word for option, word in _WORDS.items() if first[option] != own[option]]:
            where = f"of the first, in line {given[0].cluster_line}"
            yield draft.cluster_line, f"kubernetes: all server blocks have {', '.join(words)} {where}"


def _options(draft: BlockDraft) -> dict[str, Any]:
    told, chosen = draft.cluster, draft.chosen
    return {
        "domain": told["domain"],
        "pods": (told["pods"], draft.verified),
        "ttl": told.get("ttl", _TTL),
        "fallthrough": told["fallthrough"],
        "ignore_empty": told.get("ignore_empty", False),
        "exposed": told.get("exposed"),
        "endpoint_pod_names": draft.pod_names,
        "labels": chosen.labels,
        "namespace_labels": chosen.namespaces,
        "noendpoints": chosen.endpoints,
    }
