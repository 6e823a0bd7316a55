"""The keys of an ingress controller's ConfigMap that decide who may in and who somebody is. Pure.

`controllersettings` has them among all; their fields are those of the proxy's policies and options, or of
`plan.l7.annotations.access`, where an Ingress' annotation of the same meaning goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulab.kinds.networking import accessvalues as values
from emulab.kinds.networking import keyvalues as keys
from emulab.kinds.networking.keyvalues import bare, boolean
from emulab.kinds.networking.nginxvalues import EachWord, field_name, words
from emulab.kinds.networking.nginxvalues import boolean as said_boolean

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")
PROTOCOLS = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


def _protocols(text: str) -> tuple[str, ...]:
    found = tuple(text.split())
    for one in found:
        if one not in PROTOCOLS:
            raise ValueError(f"has {one!r}, which is not one of {', '.join(PROTOCOLS)}")
    if not found:
        raise ValueError("names no protocol")
    return found


ACCESS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "allow-cross-namespace-resources": (boolean, "cross_namespace"),
    "block-cidrs": (keys.networks, "blocked"),
    "block-referers": (values.patterns, "block_referers"),
    "block-user-agents": (values.patterns, "block_agents"),
    "compute-full-forwarded-for": (boolean, "full_forwarded_for"),
    "denylist-source-range": (keys.networks, "deny"),
    "enable-real-ip": (boolean, "real_ip"),
    "forwarded-for-header": (bare(field_name), "forwarded_for_header"),
    "global-auth-always-set-cookie": (said_boolean, "auth_always_set_cookie"),
    "global-auth-cache-duration": (values.durations, "auth_cache_durations"),
    "global-auth-cache-key": (values.cache_key, "auth_cache_key"),
    "global-auth-method": (values.choice("", *METHODS), "auth_method"),
    "global-auth-request-redirect": (values.url_text, "auth_request_redirect"),
    "global-auth-response-headers": (EachWord(field_name), "auth_response_headers"),
    "global-auth-signin": (values.url, "auth_signin"),
    "global-auth-signin-redirect-param": (bare(values.url_text), "auth_signin_param"),
    "global-auth-url": (values.url, "auth_url"),
    "limit-conn-status-code": (keys.error_status, "connection_status"),
    "limit-rate": (keys.kilobytes, "limit_rate"),
    "limit-rate-after": (keys.kilobytes, "limit_rate_after"),
    "limit-req-status-code": (keys.error_status, "request_status"),
    "no-auth-locations": (words, "open_paths"),
    "proxy-real-ip-cidr": (keys.networks, "trusted"),
    "ssl-ciphers": (bare(values.ciphers), "ssl_ciphers"),
    "ssl-protocols": (_protocols, "ssl_protocols"),
    "ssl-reject-handshake": (boolean, "reject_handshake"),
    "use-proxy-protocol": (boolean, "proxy_protocol"),
    "whitelist-source-range": (keys.networks, "allow"),
}
"""How the text of each key is read, and the field that it sets."""
