"""What of Ingresses and of a controller's ConfigMap the engine that serves can't do. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from emulab.kinds.networking.controllerkeys import COMPOSED, DEFAULTED
from emulab.kinds.networking.controllersettings import SETTINGS
from emulab.kinds.networking.enginelacks import Lack, lacking
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Ingress
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.plan.l7.annotations import known


def lacks_of_annotations(
    ingresses: Iterable[Object], classes: IngressClasses, engine: str
) -> Iterator[Finding]:
    """Of the annotations that these Ingresses have, and that can be read."""
    lines = known()
    for o in ingresses:
        for controller in classes.serving(Ingress.of(o))[:1]:
            prefix = f"{controller.flags.annotations_prefix}/"
            for name, text in o.annotations.items():
                one = lines.get(name.removeprefix(prefix)) if name.startswith(prefix) else None
                if one is not None:
                    for what in _said(one.lacks, one.read, text, engine):
                        yield Finding(o, ("metadata", "annotations", name), what)


def lacks_of_keys(config_map: Object, engine: str) -> Iterator[Finding]:
    """Of the keys of a controller's ConfigMap."""
    for key, text in (config_map.raw.get("data") or {}).items():
        if (read := _reader(key)) is not None:
            for what in _said(lacks_of_key(key), read, str(text), engine):
                yield Finding(config_map, ("data", key), what)


def lacks_of_key(key: str) -> tuple[Lack, ...]:
    """What engines can't do of a key: what its line says, or that of the annotation with its name."""
    own = SETTINGS[key].lacks if key in SETTINGS else COMPOSED[key].lacks if key in COMPOSED else ()
    same = known().get(key) or known().get(key.removeprefix("global-"))
    return own or (same.lacks if same is not None else ())


def _reader(key: str) -> Callable[[str], Any] | None:
    if key in SETTINGS:
        return SETTINGS[key].read
    return COMPOSED[key].read if key in COMPOSED else DEFAULTED.get(key)


def _said(lacks: tuple[Lack, ...], read: Callable[[str], Any], text: str, engine: str) -> Iterator[str]:
    try:
        value = read(text.strip())
    except ValueError:
        return  # of which somebody else speaks
    yield from lacking(lacks, engine, value)
