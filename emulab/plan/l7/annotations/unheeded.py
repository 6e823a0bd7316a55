"""What is to be said of annotations that aren't followed, or say what can't be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emulab.kinds.kind import Kind
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.kinds.registry import CONFIG_MAP
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.plan.l7.annotations import THEMES, known, read
from emulab.plan.l7.annotations.table import Theme
from emulab.plan.l7.configmap import defaults


def unheeded(
    ingresses: Iterable[Object],
    classes: IngressClasses,
    themes: tuple[Theme, ...] = THEMES,
    objects: Objects | None = None,
) -> list[str]:
    """One line for each annotation that isn't known, with the first place, and for each text that can't be read.

    With `objects` also for what can be read and not be followed, as something isn't there that it names. Of an Ingress
    that somebody else would serve nothing is followed, which is another matter.
    """
    followed = known(themes)
    found: dict[str, list[Object]] = {}
    wrong: list[str] = []
    for o in ingresses:
        for name, text, key in _asked(o, classes):
            if key not in followed:
                found.setdefault(name, []).append(o)
                continue
            try:
                followed[key].read(text.strip())
            except ValueError as error:
                then = _REFUSED if followed[key].denies and text else "requests are served as without it"
                wrong.append(
                    Finding(o, ("metadata", "annotations", name), f"{text!r} {error}; {then}").line()
                )
        if objects is not None:
            wrong += _unfollowed(o, classes, themes, objects)
    return [
        Finding(first, ("metadata", "annotations", name), _NOT_FOLLOWED + _and_others(len(others))).line()
        for name, (first, *others) in found.items()
    ] + wrong


class _Beside:
    """What there is beside an Ingress, for themes that look whether it can be followed."""

    def __init__(self, objects: Objects, flags: ControllerFlags) -> None:
        self._objects = objects
        config_map = self.named(CONFIG_MAP, flags.config_map, "")
        data = (config_map.raw.get("data") or {}) if config_map is not None else {}
        self.defaults = defaults({key: str(value) for key, value in data.items()})

    def named(self, kind: Kind, text: str, namespace: str) -> Object | None:
        before, slash, name = text.rpartition("/")
        namespace = before if slash else namespace
        return self._objects.get(kind.key(namespace, name)) if namespace and name else None

    def upstream(self, namespace: str, backend: Backend) -> str:
        return f"{namespace}/{backend.service}/{backend.port}"


def _unfollowed(
    o: Object, classes: IngressClasses, themes: tuple[Theme, ...], objects: Objects
) -> Iterator[str]:
    for controller in classes.serving(Ingress.of(o))[:1]:
        ingress, prefix = Ingress.of(o), f"{controller.flags.annotations_prefix}/"
        world = _Beside(objects, controller.flags)
        for theme in themes:
            if values := read(theme, ingress.annotations, prefix):
                for name, why in theme.wrong(values, ingress, world):
                    yield Finding(o, ("metadata", "annotations", prefix + name), why).line()


_REFUSED = "everybody is answered 503"


def _asked(o: Object, classes: IngressClasses) -> Iterator[tuple[str, str, str]]:
    """The annotations that are meant for the controller of an Ingress: the name, the text, the name in the tables."""
    for controller in classes.serving(Ingress.of(o))[:1]:
        prefix = f"{controller.flags.annotations_prefix}/"
        for name, text in o.annotations.items():
            if name.startswith(prefix):
                yield name, text, name.removeprefix(prefix)


_NOT_FOLLOWED = "isn't followed: requests are served as without it"


def _and_others(number: int) -> str:
    return f" (nor in {number} more Ingress{'es' if number > 1 else ''})" if number else ""
