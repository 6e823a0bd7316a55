"""Whether what was printed has the form of what a page shows.

What differs from one lab to the next is compared by its form: addresses of pods, nodes and Services, ports that were
picked, names' random ends, times, dates, ages and rates. Spaces and the breaks of lines say nothing, as columns and
wrapped lines are as wide as names are. Words, numbers and the addresses of the world outside are to be the same.
`…` by itself, or at the end of a word, stands for anything that is left out.
"""

from __future__ import annotations

import re

_GAP = "\N{WHITE SQUARE}"
_ENOUGH = 200
"""Characters of a text that tell where it is."""
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"  # what Kubernetes' names end with, k8s.io/apimachinery's util/rand
_FORMS = tuple(
    (re.compile(pattern), form)
    for pattern, form in (
        (r"\x1b\[[0-9;]*m", ""),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?", "DATE"),
        (r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", "DATE"),
        (r"\S+…\S+", "SHORTENED"),
        (rf"-{_RANDOM}{{8,10}}-{_RANDOM}{{5}}\b", "-REPLICA"),
        (rf"-{_RANDOM}{{8,10}}\b", "-TEMPLATE"),
        (rf"-{_RANDOM}{{5}}\b", "-RANDOM"),
        (r"\b10\.244\.\d+\.\d+/\d+", "PODS"),
        (r"\b10\.244\.\d+\.\d+\b", "POD-ADDRESS"),
        (r"\b10\.0\.0\.1[1-9]\b", "NODE-ADDRESS"),
        (r"\b10\.(?!96\.0\.1\b|96\.0\.10\b)(9[6-9]|10\d|11[01])\.\d+\.\d+\b", "SERVICE-ADDRESS"),
        (r"\b(node)\d+\b", "NODE"),
        (r"\bveth[0-9a-f]+\b", "VETH"),
        (r"@if\d+\b", "@PEER"),
        (r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b", "MAC"),
        (r"\b[0-9a-f]{12,}\b", "HEX"),
        (r"[+<~]?\b\d+(\.\d+)? ?(µs|ms|ns)(?!\w)", "TIME"),
        (r"\b(\d+(\.\d+)?[dhms])+\b( ago)?", "TIME"),
        (r"\b\d+(\.\d+)? s\b", "TIME"),
        (r"TIME \(x\d+ over TIME\)", "TIME"),  # an Event that came again, as of a node that hesitated
        (r"\b\d+\.\d+%|\b\d+ ?%", "RATE"),
        (r"(?<![\d.])\d+\.\d+(?![\d.])", "RATE"),
        (r"\bTTL \d+", "TTL"),
        (r"\b\d+ IN (?=[A-Z])", "TTL IN "),
        (r"(?<![\d.])[3-6]\d{4}(?![\d.])", "PORT"),  # of nodes and of who asks
        (r"(?<![\d.])\d{5,}(?![\d.])", "NUMBER"),
    )
)


def form(text: str) -> str:
    """A text with its forms in place of what changes, and one space between words."""
    text = " ".join(text.split())
    for pattern, what in _FORMS:
        text = pattern.sub(what, text)
    return " ".join(text.split())


def difference(shown: str, printed: str) -> str:
    """What of the text that is shown wasn't printed, "" when all of it was and nothing else."""
    expected, found = form(_gaps(shown)), form(printed)
    parts = [part.strip() for part in expected.split(_GAP)]
    first, *others = parts
    if not found.startswith(first):
        return _told(first, found)
    at = len(first)
    if not others:
        rest = found[at:].strip()
        return f"expected no more, and found {_cut(rest)!r}" if rest else ""
    for part in others[:-1]:
        where = found.find(part, at)
        if where < 0:
            return _told(part, found[at:])
        at = where + len(part)
    return "" if found[at:].endswith(others[-1]) else _told(f"{others[-1]} and the end", found[at:])


def _gaps(shown: str) -> str:
    return re.sub(r"…(?=\s|$)", _GAP, shown)


def _told(expected: str, found: str) -> str:
    """Where the text that was found stops being the one that was expected."""
    words = expected.split(" ")
    same = next(n for n in range(len(words), -1, -1) if " ".join(words[:n]) in found)
    before, _, after = found.partition(" ".join(words[:same])) if same else (found, "", "")
    where = f"after {' '.join(words[max(same - 8, 0) : same])!r}, " if same else ""
    got = after if same else before or after
    return f"{where}expected {_cut(' '.join(words[same:]))!r} and found {_cut(got)!r}"


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _ENOUGH else f"{text[:_ENOUGH]} …"
