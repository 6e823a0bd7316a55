"""Certificates and keys for tests, and Secrets of them."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from emulab.model.objects import Object

DAY = 86400.0
NOW = 1_800_000_000.0
"""The time of tests: certificates of `pair` begin a day before it, unless more is said."""


@lru_cache
def pair(
    *names: str,
    common: str = "",
    begin: float = NOW - DAY,
    end: float = NOW + 365 * DAY,
    is_rsa: bool = False,
) -> tuple[str, str]:
    """A self-signed certificate for DNS names, and its key, PEM; without names the common name is all there is."""
    key = rsa.generate_private_key(65537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begin, UTC))
        .not_valid_after(datetime.fromtimestamp(end, UTC))
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=not common)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def tls_secret(name: str, given: tuple[str, str], namespace: str = "default") -> Object:
    """The Secret of a certificate and a key."""
    parts = zip(("tls.crt", "tls.key"), given, strict=True)
    return Object(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": namespace},
            "data": {key: b64encode(text.encode()).decode() for key, text in parts},
        }
    )
