"""What a Pod says of itself as files (pkg/volume/downwardapi). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emulab.lab.kubelet.environment.downward import downward_fields, resource_value
from emulab.lab.kubelet.volumes.files import WrittenFile, WrittenFiles, mode_of
from emulab.lab.kubelet.volumes.volume import AskedVolume


def files_of(asked: AskedVolume, items: Iterable[Mapping[str, Any]], mode: int) -> WrittenFiles:
    fields = downward_fields(asked.pod, asked.spec)
    found: dict[str, WrittenFile] = {}
    for item in items:
        if reference := item.get("fieldRef"):
            text = fields.get(reference["fieldPath"], "")
        else:
            text = resource_value(item["resourceFieldRef"], asked.pod, "", asked.allocatable)
        found[item["path"]] = WrittenFile(text.encode(), mode_of(item.get("mode"), mode))
    return found


def files(asked: AskedVolume) -> WrittenFiles:
    return files_of(asked, asked.settings.get("items") or (), mode_of(asked.settings.get("defaultMode")))
