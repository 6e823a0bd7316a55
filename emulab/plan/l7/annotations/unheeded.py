"""What is to be said of annotations that aren't followed, or say what can't be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from emulab.kinds.kind import Kind
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Backend, Ingress
from emulab.kinds.registry import CONFIG_MAP, INGRESS
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.model.suggestions import mistyped
from emulab.plan.l7.annotations import THEMES, known, read
from emulab.plan.l7.annotations.refused import NOT_DONE, REFUSED
from emulab.plan.l7.annotations.table import Annotation, Theme
from emulab.plan.l7.configmap import defaults


def unheeded(
    ingresses: Iterable[Object],
    classes: IngressClasses,
    themes: tuple[Theme, ...] = THEMES,
    objects: Objects | None = None,
) -> list[str]:
    """One line for each annotation that isn't known, with the first place, and for each that can't be followed.

    That is because its text can't be read, because it is refused, or because of what there is among `objects`. Of an
    Ingress that somebody else would serve nothing is followed, which is another matter.
    """
    followed = known(themes)
    found: dict[str, list[Object]] = {}
    wrong: list[str] = []
    for o in ingresses:
        for name, text, key in _asked(o, classes):
            if key in REFUSED:
                wrong.append(Finding(o, ("metadata", "annotations", name), REFUSED[key]).line())
                continue
            if key not in followed:
                found.setdefault(name, []).append(o)
                continue
            try:
                followed[key].reading(text)
            except ValueError as error:
                then = _REFUSED if followed[key].denies and text else "requests are served as without it"
                what = f"{text!r} {error}; {then}"
                wrong.append(Finding(o, ("metadata", "annotations", name), what).line())
                continue
            needs = followed[key].needs
            if needs and not _is_there(needs, o, name.removesuffix(key), classes, objects):
                what = f"has no effect without {' or '.join(needs)}"
                wrong.append(Finding(o, ("metadata", "annotations", name), what).line())
        wrong += (finding.line() for finding in _wrong(o, classes, themes, objects))
    return [
        Finding(
            first,
            ("metadata", "annotations", name),
            _NOT_FOLLOWED + _and_others(len(others)) + _meant(name, followed),
        ).line()
        for name, (first, *others) in found.items()
    ] + wrong


_REFUSED = "everybody is answered 503"


def _is_there(
    needs: tuple[str, ...], o: Object, prefix: str, classes: IngressClasses, objects: Objects | None
) -> bool:
    """Whether the Ingress has one of these annotations, or the controller's ConfigMap a key of its name."""
    if any(prefix + name in o.annotations for name in needs):
        return True
    for controller in classes.serving(Ingress.of(o))[:1] if objects is not None else ():
        settings = _There(objects, controller.flags).settings if objects is not None else {}
        return any(name in settings for name in needs)
    return False


def _asked(o: Object, classes: IngressClasses) -> Iterator[tuple[str, str, str]]:
    """The annotations that are meant for the controller of an Ingress: the name, the text, the name in the tables."""
    for controller in classes.serving(Ingress.of(o))[:1]:
        prefix = f"{controller.flags.annotations_prefix}/"
        for name, text in o.annotations.items():
            if name.startswith(prefix):
                yield name, text, name.removeprefix(prefix)


def _wrong(
    o: Object, classes: IngressClasses, themes: tuple[Theme, ...], objects: Objects | None
) -> Iterator[Finding]:
    """What the themes have against an Ingress, with all that there is."""
    if objects is None or not o.annotations:
        return
    ingress = Ingress.of(o)
    for controller in classes.serving(ingress)[:1]:
        prefix, world = f"{controller.flags.annotations_prefix}/", _There(objects, controller.flags)
        for theme in themes:
            for name, why in theme.wrong(read(theme, o.annotations, prefix), ingress, world):
                yield Finding(o, ("metadata", "annotations", prefix + name), why)


class _There:
    """`Beside`, for who asks what is wrong."""

    def __init__(self, objects: Objects, flags: ControllerFlags) -> None:
        self._objects = objects
        self._config_map = flags.config_map

    @cached_property
    def settings(self) -> Mapping[str, str]:
        o = self.named(CONFIG_MAP, self._config_map, "")
        data = (o.raw.get("data") or {}) if o is not None else {}
        return {key: str(value) for key, value in data.items()}

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        return defaults(self.settings)

    @cached_property
    def hosts(self) -> Collection[str]:
        there = map(Ingress.of, self._objects.members(INGRESS).values())
        return frozenset(rule.host for one in there for rule in one.rules)

    def named(self, kind: Kind, text: str, namespace: str) -> Object | None:
        before, slash, name = text.rpartition("/")
        return self._objects.get(kind.key(before if slash else namespace, name)) if name else None

    def upstream(self, namespace: str, backend: Backend) -> str:
        return f"{namespace}/{backend.service}/{backend.port}"

    def has_servers(self, upstream: str) -> bool:
        return True


_NOT_FOLLOWED = "isn't followed: requests are served as without it"


def _meant(name: str, followed: Mapping[str, Annotation]) -> str:
    """What was meant by a name that isn't one of ingress-nginx' either."""
    key = name.partition("/")[2]
    near = mistyped(key, followed, NOT_DONE)
    return f"; {near}" if near else ""


def _and_others(number: int) -> str:
    return f" (nor in {number} more Ingress{'es' if number > 1 else ''})" if number else ""
