"""Annotations that are refused, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping

_SNIPPET = (
    "is refused: a snippet is nginx's own configuration, which ingress-nginx refuses, too, unless its administrator"
    " sets allow-snippet-annotations; look for an annotation that says the same"
)

REFUSED: Mapping[str, str] = dict.fromkeys(
    ("auth-snippet", "configuration-snippet", "modsecurity-snippet", "server-snippet", "stream-snippet"),
    _SNIPPET,
)
