"""What looks odd in a container that is an ingress controller: what it is told and isn't followed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.kinds.core.podspec import Container
from emulab.kinds.networking.controllerflags import oddities as odd_flags
from emulab.kinds.networking.controllersettings import unknown_keys
from emulab.kinds.networking.ingresscontrollers import controller_of, is_controller
from emulab.kinds.registry import CONFIG_MAP, SECRET, SERVICE
from emulab.model.paths import FieldPath

if TYPE_CHECKING:
    from emulab.kinds.lookup import Lookup
    from emulab.model.objects import Object

_NAMED = {
    "configmap": ("config_map", CONFIG_MAP),
    "default-backend-service": ("default_backend", SERVICE),
    "default-ssl-certificate": ("default_certificate", SECRET),
    "publish-service": ("publish_service", SERVICE),
}
"""The flags that name an object, with their fields of `ControllerFlags`."""


def oddities(o: Object, given: Mapping[str, Any], world: Lookup) -> Iterator[tuple[FieldPath, str]]:
    """Of one container of an object; the paths are the container's."""
    if not is_controller(given):
        return
    container = Container.of(given)
    commands = len(given.get("command") or ())
    for at, what in odd_flags(container.words):
        yield (("command", at) if at < commands else ("args", at - commands)), what
    controller = controller_of(o)
    if controller is None:
        return
    for name, (field, kind) in _NAMED.items():
        namespace, _, key = str(getattr(controller.flags, field)).partition("/")
        named = world.get(kind.key(namespace, key)) if key else None
        if key and "$(" not in key and named is None:
            yield ("args",), f"--{name}: there is no {kind.kind} {namespace}/{key}"
        elif named is not None and kind == CONFIG_MAP and (keys := unknown_keys(named.raw.get("data") or {})):
            yield (
                ("args",),
                f"--{name}: what ConfigMap {namespace}/{key} says of {', '.join(keys)} isn't followed",
            )
