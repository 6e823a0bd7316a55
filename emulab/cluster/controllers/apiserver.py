"""The endpoint of the Service `kubernetes`, which an API server writes of itself (pkg/controlplane/reconcilers).

It is the first node, where a control plane would listen. Nothing does in a lab: whoever asks for the API is refused, as
in a cluster whose API server is down.
"""

from __future__ import annotations

from typing import Any

from emulab.cluster.controllers.names import new_uid
from emulab.cluster.controllers.world import WorkingCopy
from emulab.kinds.core.serviceview import Service
from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL
from emulab.kinds.installed import API_NAMESPACE, API_PORT, API_SERVICE
from emulab.kinds.registry import ENDPOINT_SLICE, NODE, SERVICE
from emulab.kinds.underlay import underlay_addresses
from emulab.model.families import family_of
from emulab.model.objects import Object


def announce(world: WorkingCopy) -> None:
    """Writes the EndpointSlice, unless the Service is a user's with a selector, or gone."""
    key = ENDPOINT_SLICE.key(API_NAMESPACE, API_SERVICE)
    old, o = world.get(key), world.get(SERVICE.key(API_NAMESPACE, API_SERVICE))
    addresses = next((a for node in world.kind(NODE) if (a := underlay_addresses(node))), ())
    if o is None or Service.of(o).selector or not addresses:
        if old is not None and o is None:
            world.delete(old)
        return
    metadata: dict[str, Any] = {
        **(old.metadata if old else {"uid": new_uid(key, "")}),
        "name": key.name,
        "namespace": key.namespace,
        "labels": {SERVICE_NAME_LABEL: API_SERVICE},
    }
    world.put(
        Object(
            {
                "apiVersion": ENDPOINT_SLICE.api_version,
                "kind": ENDPOINT_SLICE.kind,
                "metadata": metadata,
                "addressType": family_of(addresses[0]).name,
                "endpoints": [{"addresses": [str(addresses[0])], "conditions": {"ready": True}}],
                "ports": [{"name": "https", "protocol": "TCP", "port": API_PORT}],
            }
        )
    )
