"""The files with which engines reach backends over TLS: authorities, and our own certificates with their keys. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from emulab.servers.l7.config import RequestRoute, UpstreamTLS


def file_of(text: str) -> str:
    """The name of a file with this text, without its folder."""
    return f"backend-{sha256(text.encode()).hexdigest()[:16]}.pem"


def own_pair(tls: UpstreamTLS) -> str:
    """Our certificate and its key, if there is one."""
    return f"{tls.certificate.rstrip()}\n{tls.key}" if tls.certificate else ""


def backend_files(routes: Iterable[RequestRoute]) -> Mapping[str, str]:
    """What is to be in files for routes, by the files' names."""
    told = {route.policy.reach.tls for route in routes}
    texts = [text for tls in told for text in (tls.authorities, own_pair(tls)) if text]
    return {file_of(text): text for text in texts}
