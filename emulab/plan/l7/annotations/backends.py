"""Annotations that say how backends are reached: in which protocol, and what is asked of them over TLS.

What is said of TLS is heeded beside a Secret (`proxy-ssl-secret`) alone, and by HTTPS alone: ingress-nginx writes
`proxy_ssl_*`, which `grpc_pass` doesn't heed. Without the Secret, which has to be of the Ingress' namespace, nobody is
served; of one without `ca.crt` nothing is taken, as ingress-nginx stores no file for it (`getPemCertificate`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from emulab.kinds.core.secret import pem
from emulab.kinds.networking.accessvalues import ciphers
from emulab.kinds.networking.enginelacks import HAPROXY, never
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.nginxvalues import http_version, integer
from emulab.kinds.registry import SECRET
from emulab.model.objects import Object
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import AUTO_HTTP, GRPC, GRPCS, HTTP, HTTPS, Reach, UpstreamTLS


def _is_old(version: str) -> bool:
    return version == "1.0"


_SPOKEN = (HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS)
_CIPHERS = re.compile(r"[A-Za-z0-9+:_\-!]*")
_NAME = re.compile(r"[A-Za-z0-9*.\-_~]+")


def _protocol(text: str) -> str:
    name = text.upper()
    if name == "FCGI":
        raise ValueError("is not spoken here")
    if name not in _SPOKEN:
        raise ValueError(f"is not one of {', '.join(_SPOKEN)}")
    return name


def _switch(text: str) -> bool:
    if text not in ("on", "off"):
        raise ValueError("is neither on nor off")
    return text == "on"


def _protocols(text: str) -> tuple[str, ...]:
    names = tuple(sorted(text.split()))
    if not names or not {"TLSv1.2", "TLSv1.3"}.issuperset(names):
        raise ValueError("is not of TLSv1.2 and TLSv1.3")
    return names


def _ciphers(text: str) -> str:
    if _CIPHERS.fullmatch(text) is None:
        raise ValueError("is no list of ciphers")
    return ciphers(text) or "DEFAULT"


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ValueError("is no name of a server")
    return text


def _depth(text: str) -> int:
    return integer(text) or 1


def _apply(values: Wishes, draft: RouteDraft) -> None:
    wishes = dict(values)
    protocol = wishes.pop("protocol", HTTP)
    policy = replace(draft.policy, http_version=wishes.pop("http_version", draft.policy.http_version))
    secret = wishes.pop("secret", None)
    tls = UpstreamTLS()
    if secret is not None:
        found, _ = _secret(secret, draft.ingress, draft.world)
        if found is None:
            # A 503, as where ingress-nginx denies a location.
            draft.backends = tuple(replace(one, weight=0) for one in draft.backends)
        elif protocol in (HTTPS, AUTO_HTTP):
            tls = _tls(found, wishes)
    if protocol in (GRPC, GRPCS):
        policy = replace(policy, http_version="1.1", request_buffer=0)  # a body of gRPC is a conversation
    draft.policy = replace(policy, reach=Reach(protocol, tls))


def _tls(secret: Object, wishes: Wishes) -> UpstreamTLS:
    authorities = pem(secret, "ca.crt")
    if not authorities:
        return UpstreamTLS(**{name: wishes[name] for name in ("name", "server_name") if name in wishes})
    pair = pem(secret, "tls.crt"), pem(secret, "tls.key")
    certificate, key = pair if all(pair) else ("", "")
    told = {"protocols": ("TLSv1.2",), **wishes, "authorities": authorities}
    return UpstreamTLS(certificate=certificate, key=key, **told)


def _secret(text: str, ingress: Ingress, world: Beside) -> tuple[Object | None, str]:
    """The Secret, or why there is none."""
    namespace, slash, _ = text.partition("/")
    if not slash:
        return None, "is not of the form NAMESPACE/NAME"
    if namespace != ingress.namespace and not world.defaults.get("cross_namespace"):
        return None, "is of another namespace"
    found = world.named(SECRET, text, ingress.namespace)
    if found is None:
        return None, "is not there"
    if not pem(found, "ca.crt") and not (pem(found, "tls.crt") and pem(found, "tls.key")):
        return None, "has neither tls.crt and tls.key nor ca.crt"
    return found, ""


def _wrong(values: Wishes, ingress: Ingress, world: Beside) -> Iterator[tuple[str, str]]:
    protocol, secret = values.get("protocol", HTTP), values.get("secret")
    said = {one.name: one.field for one in _OF_TLS if one.field in values}
    if secret is None:
        for name in said:
            yield name, "is not heeded without proxy-ssl-secret"
        return
    found, why = _secret(secret, ingress, world)
    if found is None:
        yield "proxy-ssl-secret", f"names a Secret that {why}: requests are answered with 503"
        return
    if protocol not in (HTTPS, AUTO_HTTP):
        yield "proxy-ssl-secret", f"is not heeded by backend-protocol {protocol}"
        return
    if not pem(found, "ca.crt"):
        yield "proxy-ssl-secret", "has no ca.crt, without which its certificate is not heeded"
        for name, field in said.items():
            if field not in ("name", "server_name"):
                yield name, "is not heeded, as the Secret of proxy-ssl-secret has no ca.crt"
    elif values.get("verify") and "name" not in values:
        yield "proxy-ssl-verify", "without proxy-ssl-name asks for a certificate for upstream_balancer"


_OF_TLS = (
    Annotation(
        "proxy-ssl-verify", _switch, "verify", "whether the certificates of HTTPS backends are verified"
    ),
    Annotation(
        "proxy-ssl-verify-depth",
        _depth,
        "depth",
        "how many certificates may be between",
        lacks=(never(HAPROXY, "it takes chains of any length"),),
    ),
    Annotation("proxy-ssl-name", _name, "name", "the name that the certificates have to be for", lines=True),
    Annotation("proxy-ssl-server-name", _switch, "server_name", "whether that name is told (SNI)"),
    Annotation(
        "proxy-ssl-ciphers", _ciphers, "ciphers", "the ciphers for HTTPS backends, as OpenSSL lists them"
    ),
    Annotation("proxy-ssl-protocols", _protocols, "protocols", "the versions of TLS for HTTPS backends"),
)

BACKENDS = Theme(
    (
        Annotation(
            "backend-protocol",
            _protocol,
            "protocol",
            f"how backends are reached: {', '.join(_SPOKEN)}",
            lines=True,
        ),
        Annotation(
            "proxy-http-version",
            http_version,
            "http_version",
            "in which backends are asked: 1.0 or 1.1",
            lacks=(never(HAPROXY, "it asks in HTTP/1.1", _is_old),),
            lines=True,
        ),
        Annotation(
            "proxy-ssl-secret", str, "secret", "the Secret with our certificate for backends, and their CA's"
        ),
        *_OF_TLS,
    ),
    _apply,
    _wrong,
)
