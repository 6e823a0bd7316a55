"""Texts that name what is known of a request, as nginx writes them: `$host`, `${http_accept}`, `$1`. Pure.

`$` before anything else than a name stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

VARIABLES = frozenset(
    {
        "args",
        "best_http_host",
        "host",
        "http_host",
        "is_args",
        "query_string",
        "remote_addr",
        "request_method",
    }
    | {"request_uri", "scheme", "pass_access_scheme", "server_port", "pass_port", "uri", "req_id"}
)
"""The names that mean something, besides `http_FIELD`, `arg_PARAMETER`, `cookie_NAME` and the digits of groups."""

FAMILIES = ("http_", "arg_", "cookie_")
_NAMED = re.compile(r"\$(?:\{(\w+)\}|([1-9])|([A-Za-z_]\w*))")


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """The text's parts: what stands before each variable, and its name; the last name is empty."""
    at = 0
    for match in _NAMED.finditer(text):
        yield text[at : match.start()], match[1] or match[2] or match[3]
        at = match.end()
    yield text[at:], ""


def unknown_variables(text: str) -> list[str]:
    """The names of variables in a text that mean nothing."""
    names = [name for _, name in pieces(text) if name]
    return [name for name in names if not (name in VARIABLES or name.isdigit() or name.startswith(FAMILIES))]
