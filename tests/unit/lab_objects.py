"""Short ways to write the objects that the tests of the lab need."""

from __future__ import annotations

from typing import Any

from emulab.cluster.store import Store
from emulab.kinds.registry import KINDS
from emulab.model.objects import Object, Position


def obj(kind: str, name: str = "x", namespace: str = "default", **fields: Any) -> Object:
    metadata: dict[str, Any] = {"name": name, **fields.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    version = KINDS.named(kind).api_version  # type: ignore[union-attr]
    return Object(
        {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}, Position("f.yaml", 3)
    )


def place(store: Store, o: Object) -> Object:
    """Puts an object into a store with its status, which are two writes."""
    stored = store.put(o)
    return store.put_status(o.key, o.status) or stored


def pod(name: str = "p", **fields: Any) -> Object:
    spec = {"containers": [{"name": "c", "image": "i"}], **fields.pop("spec", {})}
    return obj("Pod", name, spec=spec, **fields)


def conditions(ready: bool) -> list[dict[str, str]]:
    return [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": str(ready)}]
