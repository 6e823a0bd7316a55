"""What an image says of the containers made of it (OCI image configuration). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulab.dataclass import dataclass
from emulab.kernel.layers.streams import ArchiveError
from emulab.lab.images.platforms import Platform


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """`layers`: the digests of the uncompressed layers, the lowest first."""

    platform: Platform
    layers: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    user: str = ""
    working_dir: str = "/"
    stop_signal: str = ""
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    created: str = ""

    @staticmethod
    def of(given: Any) -> ImageConfig:
        """The configuration of an image's JSON. Raises ArchiveError, as somebody else wrote it."""
        raw = _mapping(given, "the image's configuration")
        config = _mapping(raw.get("config") or {}, "config")
        rootfs = _mapping(raw.get("rootfs") or {}, "rootfs")
        if not isinstance(raw.get("os"), str) or not isinstance(raw.get("architecture"), str):
            raise ArchiveError(
                "it isn't a container's image: its configuration says no os and no architecture"
            )
        env = (entry.partition("=") for entry in _texts(config, "Env"))
        return ImageConfig(
            platform=Platform.of(raw),
            layers=_texts(rootfs, "diff_ids"),
            entrypoint=_texts(config, "Entrypoint"),
            cmd=_texts(config, "Cmd"),
            env=tuple((name, value) for name, equals, value in env if name and equals),
            user=_text(config, "User"),
            working_dir=_text(config, "WorkingDir") or "/",
            stop_signal=_text(config, "StopSignal"),
            ports=tuple(sorted(_mapping(config.get("ExposedPorts") or {}, "ExposedPorts"))),
            volumes=tuple(sorted(_mapping(config.get("Volumes") or {}, "Volumes"))),
            created=_text(raw, "created"),
        )

    def program(self, has_args: bool) -> tuple[str, ...]:
        """What a container of it without a `command` runs, before its `args` if it has any."""
        return self.entrypoint if has_args else (*self.entrypoint, *self.cmd)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ArchiveError(f"{what} is no mapping")
    return value


def _text(where: Mapping[str, Any], name: str) -> str:
    value = where.get(name) or ""
    if not isinstance(value, str) or "\0" in value:
        raise ArchiveError(f"the {name} of its configuration is no text")
    return value


def _texts(where: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = where.get(name) or []
    if not isinstance(value, list) or not all(isinstance(v, str) and "\0" not in v for v in value):
        raise ArchiveError(f"the {name} of its configuration is no list of texts")
    return tuple(value)
