"""The tables of annotations and of the ConfigMap's keys in `docs/ingress.md`. Pure."""

from __future__ import annotations

import textwrap

from emulab.kinds.networking.controllerkeys import COMPOSED, DEFAULTED, UNSEEN
from emulab.kinds.networking.controllersettings import HSTS, SETTINGS
from emulab.plan.l7.annotations import known
from emulab.plan.l7.annotations.refused import REFUSED


def annotations_table() -> str:
    """Each annotation that is followed, and what it is for; then those that are refused."""
    rows = [f"| `{name}` | {one.doc.replace('|', chr(92) + '|')} |" for name, one in sorted(known().items())]
    refused = ", ".join(f"`{name}`" for name in sorted(REFUSED))
    return "\n".join(
        ["| annotation | for |", "| --- | --- |", *rows, "", *_lines(f"Refused, with the reason: {refused}.")]
    )


def keys_table() -> str:
    """The keys that are followed, and those that nobody could tell."""
    followed = sorted({*SETTINGS, *COMPOSED, *DEFAULTED, *HSTS})
    parts = [
        "Followed: " + ", ".join(f"`{key}`" for key in followed) + ".",
        "Without effect, as nobody outside could tell: "
        + ", ".join(f"`{key}`" for key in sorted(UNSEEN))
        + ".",
        "Any other key is a warning.",
    ]
    return "\n\n".join("\n".join(_lines(part)) for part in parts)


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)
