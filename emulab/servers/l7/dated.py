"""Certificates as they would be if they had been issued for another time: the same names and key, other dates.

A certificate that has signed itself is its own authority, so who trusts it trusts what it signs: one of another
subject, as it would else be taken for a stranger that signs itself. Of another authority nobody here has the key: there
a client that trusts it finds the signature wrong before it looks at dates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from emulab.servers.l7.config import Certificate
from emulab.servers.l7.shell.tls import fake_certificate

_UNIT = "Another time"


def dated(certificates: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """The certificates as they are to be shown. One that can't be read stays as it is."""
    return tuple(_dated(one) if one.begins or one.ends else one for one in certificates)


@lru_cache(maxsize=256)
def _dated(one: Certificate) -> Certificate:
    pair = (one.certificate, one.key) if one.certificate else fake_certificate()
    now = datetime.now(UTC)
    try:
        made = _signed(*pair, now + timedelta(seconds=one.begins), now + timedelta(seconds=one.ends))
    except ValueError:  # whoever is to show it says why it can't
        return one
    ends = now.timestamp() + one.ends
    return replace(one, certificate=made, key=pair[1], expires=ends)


def _signed(certificate: str, key: str, begins: datetime, ends: datetime) -> str:
    """Raises ValueError."""
    from cryptography import x509  # here: it takes a while
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import NameOID

    old = x509.load_pem_x509_certificate(certificate.encode())
    private = serialization.load_pem_private_key(key.encode(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("a key of a kind that signs otherwise")
    subject = old.subject
    if old.issuer == subject:
        subject = x509.Name([*subject, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, _UNIT)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(old.issuer)
        .public_key(private.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    own = x509.AuthorityKeyIdentifier  # of whoever had signed it before
    for extension in old.extensions:
        if not isinstance(extension.value, own):
            builder = builder.add_extension(extension.value, extension.critical)
    signed = builder.sign(private, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()
