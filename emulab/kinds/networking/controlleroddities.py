"""What looks odd in a container that is an ingress controller: what it is told and isn't followed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from emulab.kinds.core.podspec import Container
from emulab.kinds.core.serviceview import is_internal
from emulab.kinds.emulab.servicebalancing import service_balancing
from emulab.kinds.networking.controllerflags import oddities as odd_flags
from emulab.kinds.networking.controllersettings import streams, unknown_keys, unreadable_keys
from emulab.kinds.networking.ingresscontrollers import controller_of, is_controller
from emulab.kinds.networking.keyvalues import boolean
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
    "tcp-services-configmap": ("tcp_services", CONFIG_MAP),
    "udp-services-configmap": ("udp_services", CONFIG_MAP),
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
        if namespace and not key and "$(" not in namespace:
            yield ("args",), f"--{name}: {namespace} names no namespace: write NAMESPACE/{namespace}"
        if key and "$(" not in key and named is None:
            yield ("args",), f"--{name}: there is no {kind.kind} {namespace}/{key}"
        elif named is not None and kind == CONFIG_MAP:
            data = named.raw.get("data") or {}
            for unread, why in (unreadable_keys(data) if name == "configmap" else {}).items():
                what = f"{unread} {data[unread]!r} {why}"
                yield ("args",), f"--{name}: in ConfigMap {namespace}/{key}: {what}"
            asked = name == "configmap" and _is_on(str(data.get("use-proxy-protocol", "")))
            if asked and _sends_none(controller.flags.publish_service, world):
                yield ("args",), f"--{name}: ConfigMap {namespace}/{key}: {_PROXY}"
            unfollowed = unknown_keys(data) if name == "configmap" else _unread(data)
            if unfollowed:
                what = f"what ConfigMap {namespace}/{key} says of {', '.join(unfollowed)} isn't followed"
                yield ("args",), f"--{name}: {what}"


_PROXY = (
    "use-proxy-protocol closes every connection without a PROXY header, and the balancer of the controller's Service"
    " sends none: annotate that with balancer.emulab.dev/proxyProtocol: v2"
)


def _is_on(text: str) -> bool:
    try:
        return boolean(text)
    except ValueError:
        return False


def _sends_none(published: str, world: Lookup) -> bool:
    """Whether the Service of a controller has a balancer that sends no header; the lab's own ones send it by itself."""
    namespace, _, name = published.partition("/")
    o = world.get(SERVICE.key(namespace, name)) if name else None
    own = o is not None and o.spec.get("type") == "LoadBalancer" and not is_internal(o)
    return own and o is not None and not service_balancing(o).proxy_protocol


def _unread(data: Mapping[str, Any]) -> list[str]:
    """The ports that aren't opened, or not as they are said to be: nobody speaks the PROXY protocol there."""
    read = {str(stream.number) for stream in streams(data) if not stream.options}
    return [key for key in data if key not in read]
