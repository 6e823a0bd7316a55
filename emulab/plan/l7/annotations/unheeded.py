"""What is to be said of annotations that aren't followed, or say what can't be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Ingress
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.plan.l7.annotations import THEMES, known
from emulab.plan.l7.annotations.table import Theme


def unheeded(
    ingresses: Iterable[Object], classes: IngressClasses, themes: tuple[Theme, ...] = THEMES
) -> list[str]:
    """One line for each annotation that isn't known, with the first place, and for each text that can't be read.

    Of an Ingress that somebody else would serve nothing is followed, which is another matter.
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
                what = f"{text!r} {error}; requests are served as without it"
                wrong.append(Finding(o, ("metadata", "annotations", name), what).line())
    return [
        Finding(first, ("metadata", "annotations", name), _NOT_FOLLOWED + _and_others(len(others))).line()
        for name, (first, *others) in found.items()
    ] + wrong


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
