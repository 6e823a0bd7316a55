"""What is to be said of the ConfigMap of an ingress controller, when it is given without the controller. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from emulab.kinds.networking.controllersettings import known_keys, unknown_keys, unreadable_keys
from emulab.kinds.networking.ingresscontrollers import controllers
from emulab.kinds.registry import CONFIG_MAP
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.model.suggestions import mistyped
from emulab.plan.l7.configmap import can_be_field

WITH_FIELDS = ("add-headers", "proxy-set-headers")
"""The keys that name a ConfigMap with header fields."""
_KEYS = (
    "disable-ipv6 forwarded-host-header log-format-stream proxy-stream-next-upstream-timeout"
    " proxy-stream-next-upstream-tries proxy-stream-timeout upstream-keepalive-time"
)
_NOT_DONE = frozenset(_KEYS.split())
"""Those of ingress-nginx that aren't followed and are nearly others that are."""


def unread(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """Keys that nothing follows, texts that can't be read, and header fields that can't be.

    Of a controller that is given, too, its own warnings speak of that.
    """
    there = {(o.kind, o.namespace, o.name) for o in given}
    maps = [o for o in given if o.type == CONFIG_MAP]
    if not maps:
        return
    for controller in controllers(objects):
        if (controller.kind, controller.namespace, controller.name) in there:
            continue
        for o in maps:
            if controller.flags.config_map == f"{o.namespace}/{o.name}":
                yield from _settings(o, objects)


def _settings(o: Object, objects: Objects) -> Iterator[Finding]:
    data = _texts(o)
    for key, why in unreadable_keys(data).items():
        yield Finding(o, ("data", key), f"{data[key]!r} {why}")
    for key in unknown_keys(data):
        near = mistyped(key, known_keys(), _NOT_DONE)
        what = f"isn't followed: requests are served as without it{f'; {near}' if near else ''}"
        yield Finding(o, ("data", key), what)
    for key in WITH_FIELDS:
        namespace, _, name = data.get(key, "").partition("/")
        named = objects.get(CONFIG_MAP.key(namespace, name)) if name else None
        if data.get(key) and named is None:
            yield Finding(o, ("data", key), f"there is no ConfigMap {data[key]}")
        for field, value in _texts(named).items() if named is not None else ():
            if not can_be_field(field, value):
                yield Finding(
                    named or o, ("data", field), f"{value!r} can't be the value of this header field"
                )


def _texts(o: Object) -> Mapping[str, str]:
    return {key: str(value) for key, value in (o.raw.get("data") or {}).items()}
