"""The variables that a format of the access log may name (`log-format-upstream`). Pure.

What they are of a request is `emulab.servers.l7.personalities.ingress_nginx.accesslines`' matter.
"""

from __future__ import annotations

import re

_NAMES = """
args best_http_host body_bytes_sent bytes_sent content_length content_type host ingress_name is_args location_path msec
namespace pass_server_port proxy_alternative_upstream_name proxy_upstream_name query_string remote_addr remote_port
remote_user req_id request request_id request_length request_method request_time request_uri scheme server_name
server_port server_protocol service_name service_port status the_real_ip time_iso8601 time_local upstream_addr
upstream_connect_time upstream_header_time upstream_response_length upstream_response_time upstream_status uri
"""
VARIABLES = frozenset(_NAMES.split())
PREFIXES = ("http_", "arg_", "cookie_")
"""Of families: a header field, an argument of the query, a cookie."""


def log_format(text: str) -> str:
    """The format as it is. Raises `ValueError` where it names a variable that there isn't, with which nginx would not
    start, and for an empty one: all lines would be empty."""
    if not text:
        raise ValueError("is empty, as all lines would be")
    for braced, bare in re.findall(r"\$\{(\w+)\}|\$(\w+)", text):
        name = braced or bare
        if name not in VARIABLES and not name.startswith(PREFIXES):
            raise ValueError(f"names a variable that there isn't, ${name}")
    return text
