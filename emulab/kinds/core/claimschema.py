"""What a PersistentVolumeClaim may say, or a template of one: core/v1's `ValidatePersistentVolumeClaimSpec`."""

from __future__ import annotations

from typing import Any

from emulab.kinds.checks import label_selector
from emulab.kinds.openapi.typed import typed
from emulab.model.checks import Problems, dns_subdomain, maybe_empty, one_of, sequence, wrong

access_modes = sequence(one_of("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"), least=1)
volume_mode = one_of("Filesystem", "Block")


def mode_alone(spec: dict[str, Any]) -> Problems:
    if "ReadWriteOncePod" in spec["accessModes"] and len(spec["accessModes"]) > 1:
        return wrong("may not use ReadWriteOncePod with other access modes", "accessModes")
    return ()


def _storage_asked(spec: dict[str, Any]) -> Problems:
    asked = (spec.get("resources") or {}).get("requests") or {}
    return () if "storage" in asked else wrong("is required", "resources", "requests", "storage")


claim_spec = typed(
    "core.v1.PersistentVolumeClaimSpec",
    {
        "accessModes": access_modes,
        "selector": label_selector,
        "storageClassName": maybe_empty(dns_subdomain),
        "volumeMode": volume_mode,
        "volumeName": maybe_empty(dns_subdomain),
    },
    required=("accessModes", "resources"),
    rules=(_storage_asked, mode_alone),
)
