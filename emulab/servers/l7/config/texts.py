"""Variables of nginx in texts: which there are. `$name` or `${name}`; what they stand for is the engine's matter.

Those of an Ingress ($namespace, $ingress_name, $service_name, $service_port) are no variables here: who plans a route
knows them, and writes their values into the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

REFERENCE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")

_NAMES = """
args best_http_host content_length content_type document_uri escaped_request_uri host hostname http_host https
is_args literal_dollar pass_access_scheme query_string realip_remote_addr remote_addr req_id request_id request_method
request_uri scheme server_name server_port server_protocol uri
"""

KNOWN = frozenset(_NAMES.split())
PREFIXES = ("arg_", "cookie_", "http_")
"""The rest of their names says which parameter, cookie or header field is meant."""


def references(text: str) -> Iterator[str]:
    """The names of the variables in a text."""
    return (match[1] or match[2] for match in REFERENCE.finditer(text))


def unknown(text: str) -> list[str]:
    """Those that there aren't."""
    return [name for name in references(text) if name not in KNOWN and not name.startswith(PREFIXES)]
