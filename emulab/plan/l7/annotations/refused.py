"""Annotations that are refused, and why, and those that are left. Pure."""

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

_NOT_DONE = (
    "enable-influxdb enable-modsecurity enable-opentelemetry enable-opentracing enable-owasp-core-rules fastcgi-index"
    " fastcgi-params-configmap global-rate-limit grpc-backend http2-push-preload influxdb-host influxdb-port"
    " influxdb-measurement influxdb-server-name modsecurity-transaction-id opentelemetry-operation-name"
    " opentelemetry-trust-incoming-span opentracing-trust-incoming-span secure-backends secure-verify-ca-secret"
    " session-cookie-hash ssl-ciphers ssl-passthrough ssl-prefer-server-ciphers"
)
NOT_DONE = frozenset(_NOT_DONE.split())
"""Those that ingress-nginx has, or had once, and nobody here follows: who writes them means them."""
