"""The certificate in a Secret: whom it is for and until when, or why there is none. Pure.

What makes a pair usable is what ingress-nginx asks of one (`CreateSSLCert` of internal/net/ssl), and whether a
certificate is for a host is decided as Go's `VerifyHostname` does, with the common name where there is no other name,
as the controller still does (`verifyHostname` of internal/ingress/controller/certificate.go). The words are theirs:
they are what people search for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emulab.dataclass import dataclass
from emulab.kinds.core.secret import TLSPair, tls_pair

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from emulab.model.objects import Object

_CREATING = "unexpected error creating SSL Cert"


@dataclass(frozen=True, slots=True)
class LeafCertificate:
    """The first certificate of a chain, with the pair that it is in. Times are Unix time."""

    pair: TLSPair
    names: tuple[str, ...]  # its DNS names (subjectAltName)
    common_name: str
    not_before: float
    not_after: float

    def covers(self, host: str) -> bool:
        """Whether it is for a host, which may be a wildcard."""
        return any(_matches(host, name) for name in self.names or (self.common_name,))

    def mismatch(self, host: str) -> str:
        """Why it is not for a host, as Go says it."""
        names = self.names or tuple(filter(None, (self.common_name,)))
        if not names:
            return f"x509: certificate is not valid for any names, but wanted to match {host}"
        return f"x509: certificate is valid for {', '.join(names)}, not {host}"


def leaf_certificate(secret: Object) -> LeafCertificate | str:
    """The certificate of a Secret, or why none can be had of it. Read once of each object."""
    return secret.view(_read)


def _read(secret: Object) -> LeafCertificate | str:
    pair = tls_pair(secret)
    if pair is None:
        return f'secret "{secret.namespace}/{secret.name}" contains no keypair or CA certificate'
    first = re.search(r"-----BEGIN ([^-\n]+)-----", pair.certificate)
    if first is None:
        return f"{_CREATING}: no valid PEM formatted block found"
    if first[1] != "CERTIFICATE":
        wanted = "make sure certificate content starts with 'BEGIN CERTIFICATE'"
        return f"{_CREATING}: no certificate PEM data found, {wanted}"
    return _leaf(pair)


def _leaf(pair: TLSPair) -> LeafCertificate | str:
    """Of a pair that looks like one."""
    # Imported here: it takes a while, and a lab without TLS has no use for it.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )
    from cryptography.x509.oid import NameOID

    try:
        leaf = x509.load_pem_x509_certificate(pair.certificate.encode())
        names = _dns_names(leaf)
        public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError) as error:
        return f"{_CREATING}: x509: {_first_line(error)}"
    mismatch = f"{_CREATING}: certificate and private key does not have a matching public key: tls"
    try:
        # The consistency of an RSA key is OpenSSL's to check, which loads it in the end; here it would take long.
        key = load_pem_private_key(pair.key.encode(), None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError) as error:
        return f"{mismatch}: failed to parse private key: {_first_line(error)}"
    if key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public:
        return f"{mismatch}: private key does not match public key"
    common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return LeafCertificate(
        pair,
        names,
        str(common[0].value) if common else "",
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
    )


def _dns_names(leaf: Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(map(str, found.get_values_for_type(x509.DNSName)))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _matches(host: str, name: str) -> bool:
    """Whether a certificate's name is for a host (RFC 6125): `*` stands for the first label, and for no other."""
    host, name = host.lower().removesuffix("."), name.lower().removesuffix(".")
    if not host or not name:
        return False
    label, _, parent = host.partition(".")
    return host == name or (label != "*" and bool(parent) and name == f"*.{parent}")
