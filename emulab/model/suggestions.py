"""What may have been meant by a name that nobody knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

MAX_LISTED = 20
"""Names of which a message lists all."""
NEARLY_AS_NEAR = 0.05
"""How much less like a name another one may be than the one most like it, to be told beside that one."""
SHORTEST_PART = 4
"""Letters of a name that is meant by a longer one which it is a part of."""
MISTYPED = 0.85
"""How like a name another one is that was mistyped: a letter or two differ."""


def suggest(name: str, known: Mapping[str, Any] | Sequence[str], listed: Sequence[str] | None = None) -> str:
    """What may have been meant by an unknown `name`, or else what there is, where that is not too much.

    `listed`: those that are told, of many that there are.
    """
    from difflib import SequenceMatcher, get_close_matches

    by_lower = {key.lower(): key for key in known}
    lower = name.lower()
    near = [lower] if lower in by_lower else get_close_matches(lower, by_lower, n=3)
    ratios = [SequenceMatcher(None, lower, key).ratio() for key in near]
    near = [key for key, ratio in zip(near, ratios, strict=True) if ratio > ratios[0] - NEARLY_AS_NEAR]
    near = (
        near or [key for key in by_lower if len(key) >= SHORTEST_PART and (key in lower or lower in key)][:3]
    )
    if near:
        return f"did you mean {' or '.join(by_lower[key] for key in near)}?"
    told = known if listed is None else listed
    return f"known: {', '.join(told)}" if 0 < len(told) <= MAX_LISTED else ""


def mistyped(name: str, known: Collection[str], others: Collection[str] = ()) -> str:
    """What was meant by a `name` that may be somebody else's, where it is nearly one of the known; "" else.

    `others` are names that somebody else has indeed, which are meant as they are.
    """
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1, MISTYPED) if name not in others else ()
    return f"did you mean {near[0]}?" if near else ""
