"""What a balancer of another engine does otherwise than emulab's own, and why: the tests of behaviour look it up here.

A difference that has gone away fails, too: what stands here is what is expected.
"""

from __future__ import annotations

import json
from typing import TypeVar

T = TypeVar("T")

ENGINES = ("builtin", "haproxy")

DIFFERENCES: dict[tuple[str, str], tuple[object, str]] = {
    ("haproxy", "word for a frontend in numbers and logs"): (
        "tcp:203.0.113.51:80",
        "names of HAProxy's proxies have no slashes",
    ),
    ("haproxy", "how a drained connection ends"): (
        "closed",
        "`shutdown session` of HAProxy's master ends it in order, with a FIN",
    ),
    ("haproxy", "datagrams"): (False, "HAProxy takes no UDP but for logs and QUIC"),
}
"""By engine and what it is about: what there is, and the reason."""


def balanced_by(engine: str, **spec: object) -> str:
    """A Cluster whose balancers are of this engine."""
    whole = {**spec, "balancers": {"engine": engine}}
    cluster = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": whole}
    return json.dumps(cluster) + "\n---\n"


def expected(engine: str, about: str, usual: T) -> T:
    """What is expected of an engine, where `usual` is what the others do."""
    there, _ = DIFFERENCES.get((engine, about), (usual, ""))
    assert isinstance(there, type(usual))
    return there
