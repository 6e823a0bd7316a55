"""What a Pod may say of its volumes, and its containers of where they see them: core/v1's `validateVolumes`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from emulab.kinds.core.claimschema import claim_spec
from emulab.kinds.core.downwardschema import field_of_pod, resource_field
from emulab.kinds.openapi.typed import quantity, typed
from emulab.model.checks import (
    Check,
    Problems,
    config_key,
    dns_label,
    exactly_one,
    integer,
    one_of,
    pattern,
    sequence,
    show,
    string,
    unique,
    wrong,
)
from emulab.model.paths import FieldPath

HOST_PATH_TYPES = (
    *("", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"),
)

_mode = integer(0, 0o777, "a mode from 0 to 0777 (octal)")


def _no_steps_back(value: Any) -> Problems:
    """`validatePathNoBacksteps`."""
    if string(value):
        return string(value)
    return wrong("must not contain '..'") if ".." in value.split("/") else ()


def _below(value: Any) -> Problems:
    """A path below a volume (`validateLocalDescendingPath`)."""
    if type(value) is str and value.startswith("/"):
        return wrong("must be a relative path")
    return _no_steps_back(value)


def _file_path(value: Any) -> Problems:
    """A path of a file that the kubelet writes, which has names of its own there (`validateLocalNonReservedPath`)."""
    if value == "":
        return wrong("must not be empty")
    if type(value) is str and value.startswith("..") and not value.startswith("../"):
        return wrong("must not start with '..'")
    return _below(value)


_item = typed("core.v1.KeyToPath", {"key": config_key, "path": _file_path, "mode": _mode})


def _paths_once(items: list[dict[str, Any]]) -> Problems:
    found: list[tuple[FieldPath, str]] = []
    taken: set[str] = set()
    for index, item in enumerate(items):
        if item["path"] in taken:
            found += wrong(f"conflicting duplicate paths: {show(item['path'])}", index, "path")
        taken.add(item["path"])
    return found


_items = sequence(_item)

_downward_item = typed(
    "core.v1.DownwardAPIVolumeFile",
    {
        "path": _file_path,
        "mode": _mode,
        "fieldRef": field_of_pod(in_volume=True),
        "resourceFieldRef": resource_field(required=("containerName",)),
    },
    rules=(exactly_one("fieldRef", "resourceFieldRef"),),
)
_downward_items = sequence(_downward_item, rules=(_paths_once,))

_token = typed(
    "core.v1.ServiceAccountTokenProjection",
    {
        "path": _file_path,
        "expirationSeconds": integer(600, 1 << 32, "a duration of 10 minutes or more in seconds"),
    },
)
_projection = typed(
    "core.v1.VolumeProjection",
    {
        "configMap": typed("core.v1.ConfigMapProjection", {"items": _items}, required=("name",)),
        "secret": typed("core.v1.SecretProjection", {"items": _items}, required=("name",)),
        "downwardAPI": typed("core.v1.DownwardAPIProjection", {"items": _downward_items}),
        "serviceAccountToken": _token,
    },
    rules=(
        exactly_one(
            *("clusterTrustBundle", "configMap", "downwardAPI", "podCertificate", "secret"),
            "serviceAccountToken",
        ),
    ),
)


def _written_once(sources: list[dict[str, Any]]) -> Problems:
    """Two sources of one volume don't write the same file, as far as one sees that (`validateProjectionSources`)."""
    found: list[tuple[FieldPath, str]] = []
    taken: set[str] = set()
    for index, source in enumerate(sources):
        for kind, projection in source.items():
            own = [(projection, ("path",))] if projection.get("path") else []
            items = [(item, ("items", i, "path")) for i, item in enumerate(projection.get("items") or ())]
            for written, where in (*own, *items):
                if written["path"] in taken:
                    what = f"conflicting duplicate paths: {show(written['path'])}"
                    found += wrong(what, index, kind, *where)
                taken.add(written["path"])
    return found


_medium = pattern(
    r"|Memory|HugePages(-[0-9]+[KMGTPE]i)?", 'a medium that kubelets know ("", Memory, HugePages)'
)


def _not_negative(value: Any) -> Problems:
    problems = quantity(value)
    if problems or not str(value).startswith("-"):
        return problems
    return wrong("SizeLimit field must be a valid resource quantity")


_ephemeral = typed(
    "core.v1.EphemeralVolumeSource",
    {
        "volumeClaimTemplate": typed(
            "core.v1.PersistentVolumeClaimTemplate", {"spec": claim_spec}, required=("spec",)
        )
    },
    required=("volumeClaimTemplate",),
)

_SOURCES: Mapping[str, Check] = {
    "emptyDir": typed("core.v1.EmptyDirVolumeSource", {"sizeLimit": _not_negative, "medium": _medium}),
    "configMap": typed(
        "core.v1.ConfigMapVolumeSource", {"items": _items, "defaultMode": _mode}, required=("name",)
    ),
    "secret": typed(
        "core.v1.SecretVolumeSource", {"items": _items, "defaultMode": _mode}, required=("secretName",)
    ),
    "downwardAPI": typed("core.v1.DownwardAPIVolumeSource", {"items": _downward_items, "defaultMode": _mode}),
    "projected": typed(
        "core.v1.ProjectedVolumeSource",
        {"sources": sequence(_projection, rules=(_written_once,)), "defaultMode": _mode},
    ),
    "hostPath": typed(
        "core.v1.HostPathVolumeSource", {"path": _no_steps_back, "type": one_of(*HOST_PATH_TYPES)}
    ),
    "ephemeral": _ephemeral,
}


def sources_of(volume: Mapping[str, Any]) -> list[str]:
    """What a volume says that it is; in order, more than one where it is wrong."""
    return [name for name in volume if name != "name"]


def _one_source(volume: dict[str, Any]) -> Problems:
    given = sources_of(volume)
    return wrong("may not specify more than 1 volume type", given[1]) if len(given) > 1 else ()


volume = typed("core.v1.Volume", {"name": dns_label, **_SOURCES}, rules=(_one_source,))
volumes = sequence(volume, rules=(unique("name"),))


# Where containers see them


def _one_sub_path(mount: dict[str, Any]) -> Problems:
    if mount.get("subPath") and mount.get("subPathExpr"):
        return wrong("subPathExpr and subPath are mutually exclusive", "subPathExpr")
    if mount.get("recursiveReadOnly", "Disabled") != "Disabled" and not mount.get("readOnly"):
        return wrong("may only be specified when readOnly is true", "recursiveReadOnly")
    return ()


def _not_empty(value: Any) -> Problems:
    return string(value) or (() if value else wrong("must not be empty"))


_mount = typed(
    "core.v1.VolumeMount",
    {
        "mountPath": _not_empty,
        "subPath": _below,
        "subPathExpr": _below,
        "mountPropagation": one_of("None", "HostToContainer", "Bidirectional"),
        "recursiveReadOnly": one_of("Disabled", "IfPossible", "Enabled"),
    },
    rules=(_one_sub_path,),
)


def _mount_paths_once(mounts: list[dict[str, Any]]) -> Problems:
    found: list[tuple[FieldPath, str]] = []
    taken: set[str] = set()
    for index, mount in enumerate(mounts):
        if mount["mountPath"] in taken:
            found += wrong(f"{show(mount['mountPath'])} must be unique", index, "mountPath")
        taken.add(mount["mountPath"])
    return found


volume_mounts = sequence(_mount, rules=(_mount_paths_once,))


def mounts_of_nothing(spec: Mapping[str, Any], more: Iterable[str] = ()) -> Problems:
    """What containers want to see that there isn't; `more`: volumes that the Pod gets beside its own."""
    known = {volume["name"] for volume in spec.get("volumes") or ()} | set(more)
    return list(_mounts_of_others(spec, known))


def _mounts_of_others(spec: Mapping[str, Any], known: set[str]) -> Iterator[tuple[FieldPath, str]]:
    for field in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(field) or ()):
            for where in ("volumeMounts", "volumeDevices"):
                for j, mount in enumerate(container.get(where) or ()):
                    if mount["name"] not in known:
                        yield (field, i, where, j, "name"), f"Not found: {show(mount['name'])}"
