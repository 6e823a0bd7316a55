"""Annotations about certificates of clients. They hold for whole hosts: the first Ingress that has any decides.

A Secret that isn't there locks the host (403 for everybody); one without `ca.crt` asks nobody for a certificate.
"""

from __future__ import annotations

from collections.abc import Iterator

from emulab.kinds.core.secret import texts_of
from emulab.kinds.networking import accessvalues as values
from emulab.kinds.networking.enginelacks import HAPROXY, never
from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.nginxvalues import boolean, integer
from emulab.kinds.registry import SECRET
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import ClientVerification

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_LIST = "-----BEGIN X509 CRL-----", "-----END X509 CRL-----"


def _blocks(text: str, begin: str, end: str) -> str:
    """The blocks of one kind in a text of PEM."""
    found = [part.partition(end)[0] for part in text.split(begin)[1:] if end in part]
    return "".join(f"{begin}{block}{end}\n" for block in found)


def verification(wishes: Wishes, ingress: Ingress, world: Beside) -> ClientVerification | None:
    """What an Ingress wants of the certificates of its clients; None where it wants nothing."""
    name = wishes.get("secret", "")
    if not name:
        return None
    source = f"auth-tls-secret {name}"
    namespace, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        return ClientVerification((), error=f"{name} is not NAMESPACE/NAME", source=source)
    if namespace != ingress.namespace and not world.defaults.get("cross_namespace"):
        return ClientVerification((), error=f"{name} is of another namespace", source=source)
    secret = world.named(SECRET, name, ingress.namespace)
    if secret is None:
        return ClientVerification((), error=f"there is no Secret {name}", source=source)
    texts = texts_of(secret)
    return ClientVerification(
        (),
        _blocks(texts.get("ca.crt", ""), _BEGIN, _END),
        _blocks(texts.get("ca.crl", ""), *_LIST),
        wishes.get("verify", "on"),
        wishes.get("depth") or 1,
        wishes.get("error_page", ""),
        wishes.get("match", ""),
        wishes.get("pass_certificate", False),
        source=source,
    )


def _apply(_wishes: Wishes, _draft: RouteDraft) -> None:
    """Nothing of a route: it is the host that decides (`plan.l7.verifications`)."""


def _wrong(wishes: Wishes, ingress: Ingress, world: Beside) -> Iterator[tuple[str, str]]:
    wished = verification(wishes, ingress, world)
    if wished is not None and wished.error:
        yield "auth-tls-secret", f"{wished.error}; everybody is answered 403"
    elif wished is not None and not wished.authorities:
        yield "auth-tls-secret", f"Secret {wishes['secret']} has no ca.crt: nobody is asked for a certificate"
    elif wished is None and wishes:
        yield (
            "auth-tls-verify-client",
            "says nothing without auth-tls-secret: nobody is asked for a certificate",
        )


def _is_path(page: str) -> bool:
    return page.startswith("/")


CLIENT_CERTIFICATES = Theme(
    (
        Annotation(
            "auth-tls-secret",
            values.object_name,
            "secret",
            "the Secret whose ca.crt signs clients' certificates",
        ),
        Annotation(
            "auth-tls-verify-client",
            values.choice("on", "off", "optional", "optional_no_ca"),
            "verify",
            "whether clients have to have one",
        ),
        Annotation(
            "auth-tls-verify-depth",
            integer,
            "depth",
            "how long the chain of a certificate may be; 1 if not said",
            lacks=(never(HAPROXY, "it takes chains of any length"),),
            needs=("auth-tls-secret",),
        ),
        Annotation(
            "auth-tls-error-page",
            values.error_page,
            "error_page",
            "where clients go whose certificate is wrong or missing",
            lacks=(never(HAPROXY, "it asks for no other path: the page says what is wrong", _is_path),),
            needs=("auth-tls-secret",),
        ),
        Annotation(
            "auth-tls-pass-certificate-to-upstream",
            boolean,
            "pass_certificate",
            "whether the backend gets the certificate",
            needs=("auth-tls-secret",),
        ),
        Annotation(
            "auth-tls-match-cn",
            values.common_name,
            "match",
            "what the certificate's subject has to have, a regular expression",
            needs=("auth-tls-secret",),
            lines=True,
        ),
    ),
    _apply,
    _wrong,
)
