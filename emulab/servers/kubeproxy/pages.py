"""The answers of kube-proxy's three HTTP servers. Pure: from the path, the proxy's state and the time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple

from emulab.servers.exposition import CONTENT_TYPE
from emulab.servers.kubeproxy.proxy import Proxy
from emulab.servers.wire.http1.writing import head_bytes

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
_NO_SNIFF = (("X-Content-Type-Options", "nosniff"),)


class ProxyPage(NamedTuple):
    """An answer before it is written."""

    status: int
    body: str
    kind: str
    headers: tuple[tuple[str, str], ...] = ()


BAD_REQUEST = ProxyPage(400, "400 Bad Request", TEXT)
NOT_FOUND = ProxyPage(404, "404 page not found\n", TEXT, _NO_SNIFF)


def metrics(path: str, proxy: Proxy) -> ProxyPage:
    """What is served at 127.0.0.1:10249."""
    match path:
        case "/proxyMode":
            return ProxyPage(200, proxy.mode, TEXT, _NO_SNIFF)
        case "/metrics":
            return ProxyPage(200, proxy.metrics.text(), CONTENT_TYPE)
        case "/healthz":
            return ProxyPage(200, "ok", TEXT, _NO_SNIFF)
        case _:
            return NOT_FOUND


def health(path: str, proxy: Proxy, now: float) -> ProxyPage:
    """What is served at port 10256 (pkg/proxy/healthcheck/proxy_health.go). `now` is Unix time."""
    if path not in ("/healthz", "/livez"):
        return NOT_FOUND
    well = proxy.healthy(now)
    status = 200 if well else 503
    proxy.metrics.count(f"proxy_{path[1:]}_total", (("code", str(status)),))
    # A healthy proxy was always updated just now, and a node that is there is eligible.
    found: dict[str, Any] = {"lastUpdated": _time(now if well else proxy.updated), "currentTime": _time(now)}
    if path == "/healthz":
        found["nodeEligible"] = True
    found["healthy"] = well
    if proxy.updated:
        one = {"lastUpdated": _time(proxy.updated), "healthy": well}
        found["status"] = dict.fromkeys(sorted(proxy.families), one)
    return ProxyPage(status, json.dumps(found, separators=(",", ":")), JSON, _NO_SNIFF)


def service(namespace: str, name: str, endpoints: int, proxy: Proxy, now: float) -> ProxyPage:
    """The page of a Service's healthCheckNodePort (pkg/proxy/healthcheck/service_health.go), whatever the path."""
    well = proxy.healthy(now)
    found = {
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": well,
    }
    headers = (*_NO_SNIFF, ("X-Load-Balancing-Endpoint-Weight", str(endpoints)))
    return ProxyPage(200 if endpoints and well else 503, json.dumps(found, indent="\t"), JSON, headers)


def page_bytes(page: ProxyPage, now: float, method: str = "GET", close: bool = False) -> bytes:
    """A page as the bytes of an HTTP response."""
    body = page.body.encode()
    fields = [
        ("Content-Type", page.kind),
        *page.headers,
        ("Date", formatdate(now, usegmt=True)),
        ("Content-Length", str(len(body))),
        *([("Connection", "close")] if close else []),
    ]
    written = head_bytes(f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}", fields)
    return written if method == "HEAD" else written + body


def _time(seconds: float) -> str:
    """A time as Go writes it in JSON (RFC 3339, UTC); the zero time for 0."""
    if not seconds:
        return "0001-01-01T00:00:00Z"
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
