"""Texts that name what is known of a request, as nginx writes them: `$host`, `${http_accept}`, `$1`. Pure.

What the variables stand for is the engine's matter (`engine.variables`). `$` before anything else than a name stands
for itself. Those of an Ingress ($namespace, $service_name, …) are no variables here: who plans a route knows them, and
writes their values into the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAMES = """
args best_http_host binary_remote_addr content_length content_type document_uri escaped_request_uri host hostname
http_host https is_args literal_dollar pass_access_scheme pass_port query_string realip_remote_addr remote_addr req_id
request request_id request_method request_uri scheme server_name server_port server_protocol the_real_ip uri
"""

VARIABLES = frozenset(_NAMES.split())
"""The names that mean something, besides those of families and the digits of groups."""

FAMILIES = ("arg_", "cookie_", "http_")
"""The rest of their names says which parameter, cookie or header field is meant."""

_NAMED = re.compile(r"\$(?:\{(\w+)\}|([1-9])|([A-Za-z_]\w*))", re.ASCII)


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """The text's parts: what stands before each variable, and its name; the last name is empty."""
    at = 0
    for match in _NAMED.finditer(text):
        yield text[at : match.start()], match[1] or match[2] or match[3]
        at = match.end()
    yield text[at:], ""


def unknown_variables(text: str, groups: bool = True) -> list[str]:
    """The names of variables in a text that mean nothing; `groups`: whether an expression has been looked for."""
    names = [name for _, name in pieces(text) if name]
    return [name for name in names if not (_is_known(name) or (groups and name.isdigit()))]


def _is_known(name: str) -> bool:
    return name in VARIABLES or (name.startswith(FAMILIES) and not name.endswith("_"))
