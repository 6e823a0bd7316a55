"""StorageClasses that clusters of a maker have by themselves: their users' manifests name them, and have none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from emulab.kinds.registry import STORAGE_CLASS
from emulab.kinds.storage.storageclass import IMMEDIATE, WAITS
from emulab.model.findings import Finding
from emulab.model.objects import Object

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.paths import FieldPath


class VendorClass(NamedTuple):
    vendor: str
    provisioner: str
    mode: str


def _of(vendor: str, provisioner: str, mode: str, names: str) -> Mapping[str, VendorClass]:
    return dict.fromkeys(names.split(), VendorClass(vendor, provisioner, mode))


VENDOR_CLASSES: Mapping[str, VendorClass] = {
    **_of("GKE", "pd.csi.storage.gke.io", WAITS, "premium-rwo standard-rwo"),
    **_of("EKS", "kubernetes.io/aws-ebs", WAITS, "gp2"),
    **_of("OpenShift on AWS", "ebs.csi.aws.com", WAITS, "gp2-csi gp3-csi"),
    **_of(
        *("AKS", "disk.csi.azure.com", WAITS),
        "default managed managed-csi managed-csi-premium managed-premium",
    ),
    **_of(
        *("AKS", "file.csi.azure.com", IMMEDIATE),
        "azurefile azurefile-csi azurefile-csi-premium azurefile-premium",
    ),
    **_of(
        *("DigitalOcean", "dobs.csi.digitalocean.com", IMMEDIATE),
        "do-block-storage do-block-storage-retain do-block-storage-xfs do-block-storage-xfs-retain",
    ),
    **_of(
        *("Linode", "linodebs.csi.linode.com", IMMEDIATE),
        "linode-block-storage linode-block-storage-retain",
    ),
    **_of("OKE", "blockvolume.csi.oraclecloud.com", WAITS, "oci-bv"),
    **_of("k3s", "rancher.io/local-path", WAITS, "local-path"),
    **_of("MicroK8s", "microk8s.io/hostpath", WAITS, "microk8s-hostpath"),
    **_of("Docker Desktop", "docker.io/hostpath", IMMEDIATE, "hostpath"),
}
"""By name."""


def vendor_class(name: str) -> Object:
    """The class as its maker's clusters have it."""
    known = VENDOR_CLASSES[name]
    return Object(
        {
            "apiVersion": STORAGE_CLASS.api_version,
            "kind": STORAGE_CLASS.kind,
            "metadata": {"name": name},
            "provisioner": known.provisioner,
            "reclaimPolicy": "Retain" if name.endswith("-retain") else "Delete",
            "volumeBindingMode": known.mode,
            "allowVolumeExpansion": True,
        }
    )


def oddities(
    o: Object, claims: Iterable[tuple[FieldPath, Mapping[str, Any]]], world: Lookup
) -> Sequence[Finding]:
    """Claims of classes that there aren't, each with the path of its spec."""
    found = []
    for path, spec in claims:
        name = spec.get("storageClassName")
        if not name or spec.get("volumeName") or world.has(STORAGE_CLASS.key("", name)):
            continue
        if name in VENDOR_CLASSES:
            what = f"{name} is a StorageClass of {VENDOR_CLASSES[name].vendor}: the lab makes one, of folders"
        elif name in world.volume_classes:
            continue
        else:
            what = (
                f"there is no StorageClass {name} and no PersistentVolume of it, so the claim waits; without"
                " storageClassName it is of the lab's own, standard"
            )
        found.append(Finding(o, (*path, "storageClassName"), what))
    return found
