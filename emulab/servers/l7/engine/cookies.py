"""How cookies are found among those that a client has sent. Pure.

nginx' variables and the library of ingress-nginx' cookies of affinity don't read the field alike: `$cookie_NAME`, which
decides about canaries, too, knows no case and takes the first one; lua-resty-cookie knows case and takes the last.
"""

from __future__ import annotations

import re

_NEXT = re.compile(r"[;,] *")
_PAIR = re.compile(r"[ \t]*([^=]*)=([^;\t]*)[;\t]?")


def variable(text: str, name: str) -> str | None:
    """The value of `$cookie_NAME`, as `ngx_http_parse_multi_header_lines` finds it; None where there is none.

    A comma begins another cookie, too, but ends no value. Where something else than `=` stands behind the name, that
    one character is passed over, even if it is what would have ended the cookie.
    """
    folded, name, at = text.lower(), name.lower(), 0
    while at < len(text):
        if folded.startswith(name, at):
            rest = text[at + len(name) :].lstrip(" ")
            if rest.startswith("="):
                return rest[1:].lstrip(" ").partition(";")[0]
            at = len(text) - len(rest) + 1
        found = _NEXT.search(text, at)
        if found is None:
            return None
        at = found.end()
    return None


def of_affinity(text: str, name: str) -> str | None:
    """The value that lua-resty-cookie has under a name. A word without `=` is the beginning of the next name to it."""
    if f"{name}=" not in text:
        return None
    return {pair[1]: pair[2] for pair in _PAIR.finditer(text)}.get(name)
