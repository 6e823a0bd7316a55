"""The tables of annotations and of the ConfigMap's keys in `docs/ingress.md`. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from emulab.kinds.networking.controllerkeys import COMPOSED, DEFAULTED, UNSEEN
from emulab.kinds.networking.controllersettings import HSTS, SETTINGS
from emulab.kinds.networking.enginelacks import ENGINES, Lack
from emulab.plan.l7.annotations import known
from emulab.plan.l7.annotations.lacking import lacks_of_key
from emulab.plan.l7.annotations.refused import REFUSED


def annotations_table() -> str:
    """Each annotation: what it is for, and which engines follow it; then why some don't, and those that are refused."""
    rows = [
        f"| `{name}` | {one.doc.replace('|', chr(92) + '|')} | {_cells(one.lacks, one.untold)} |"
        for name, one in sorted(known().items())
    ]
    head = [f"| annotation | for | {' | '.join(ENGINES)} |", f"| --- | --- |{' --- |' * len(ENGINES)}"]
    refused = ", ".join(f"`{name}`" for name in sorted(REFUSED))
    reasons = _reasons({name: one.lacks for name, one in known().items()})
    return "\n".join([*head, *rows, "", *reasons, "", *_lines(f"Refused, with the reason: {refused}.")])


def _cells(lacks: tuple[Lack, ...], untold: bool = False) -> str:
    return " | ".join("untold" if untold else _follows(lacks, engine) for engine in ENGINES)


def _follows(lacks: tuple[Lack, ...], engine: str) -> str:
    own = [one for one in lacks if one.engine == engine]
    if not own:
        return "yes"
    return "no" if any(one.wholly and one.of is None for one in own) else "in part"


def _reasons(lacks: Mapping[str, tuple[Lack, ...]]) -> list[str]:
    """Why engines don't, those together that have one reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, own in sorted(lacks.items()):
        for one in own:
            found.setdefault((one.engine, one.why), []).append(f"`{name}`")
    return [
        line
        for (engine, why), names in sorted(found.items(), key=lambda item: (item[0][0], item[1]))
        for line in textwrap.wrap(
            f"* {engine}, {', '.join(names)}: {why}.",
            120,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def keys_table() -> str:
    """The keys that are followed, by which engines, and those that nobody could tell."""
    untold = {name for name, one in known().items() if one.untold}
    followed = sorted({*SETTINGS, *COMPOSED, *DEFAULTED, *HSTS} - untold)
    head = [f"| key | {' | '.join(ENGINES)} |", f"| --- |{' --- |' * len(ENGINES)}"]
    rows = [f"| `{key}` | {_cells(lacks_of_key(key))} |" for key in followed]
    own = {key: lacks_of_key(key) for key in followed if key not in known()}
    unseen = ", ".join(f"`{key}`" for key in sorted(UNSEEN | (untold & DEFAULTED.keys())))
    parts = [f"Without effect, as nobody outside could tell: {unseen}.", "Any other key is a warning."]
    lines = "\n\n".join("\n".join(_lines(part)) for part in parts)
    said = (
        "What isn't followed of a key with an annotation's name isn't for the reason that stands there; else:"
    )
    return "\n".join([*head, *rows, "", said, "", *_reasons(own), "", lines])


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)
