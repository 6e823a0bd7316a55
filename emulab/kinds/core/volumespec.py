"""The typed views of a Pod's volumes, and of where a container sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass

EMPTY_DIR, CLAIM, EPHEMERAL = "emptyDir", "persistentVolumeClaim", "ephemeral"


@dataclass(frozen=True, slots=True)
class Volume:
    """`kind` is the field that says what it is, `settings` what stands in it."""

    name: str
    kind: str
    settings: Mapping[str, Any]

    @staticmethod
    def of(volume: Mapping[str, Any]) -> Volume:
        """One that doesn't say what it is is an emptyDir (`SetDefaults_Volume`)."""
        kind = next((field for field in volume if field != "name"), EMPTY_DIR)
        return Volume(volume["name"], kind, volume.get(kind) or {})

    def claim(self, pod: str) -> str:
        """The claim that is behind it, of a Pod of this name; "" where there is none."""
        if self.kind == EPHEMERAL:
            return f"{pod}-{self.name}"
        return str(self.settings["claimName"]) if self.kind == CLAIM else ""


@dataclass(frozen=True, slots=True)
class VolumeMount:
    volume: str
    path: str
    read_only: bool
    sub_path: str
    sub_path_expression: str  # with variables of the container in it

    @staticmethod
    def of(mount: Mapping[str, Any]) -> VolumeMount:
        return VolumeMount(
            volume=mount["name"],
            path=mount["mountPath"],
            read_only=bool(mount.get("readOnly")),
            sub_path=mount.get("subPath") or "",
            sub_path_expression=mount.get("subPathExpr") or "",
        )
