"""What a container may be told of its Pod and of ConfigMaps and Secrets, as texts. Pure."""

from __future__ import annotations

import base64

from emulab.kinds.core.podspec import PodSpec
from emulab.kinds.registry import SECRET
from emulab.model.objects import Object


def downward_fields(pod: Object, spec: PodSpec) -> dict[str, str]:
    """What `fieldRef` may name (Kubernetes: downward API)."""
    fields = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": str(pod.metadata.get("uid", "")),
        "spec.nodeName": spec.node_name,
        "spec.serviceAccountName": str(pod.spec.get("serviceAccountName") or "default"),
        "status.podIP": str(pod.status.get("podIP", "")),
        "status.podIPs": ",".join(e["ip"] for e in pod.status.get("podIPs") or ()),
        "status.hostIP": str(pod.status.get("hostIP", "")),
    }
    fields |= {f"metadata.labels['{k}']": v for k, v in pod.labels.items()}
    fields |= {f"metadata.annotations['{k}']": v for k, v in pod.annotations.items()}
    return fields


def texts(o: Object) -> dict[str, str]:
    """The entries of a ConfigMap or Secret as text."""
    data = o.raw.get("data") or {}
    if o.type == SECRET:
        data = {k: base64.b64decode(v).decode(errors="replace") for k, v in data.items()}
        data |= o.raw.get("stringData") or {}
    return {k: str(v) for k, v in data.items()}
