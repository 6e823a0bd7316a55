"""Certificates that servers make for themselves, and contexts for whatever certificates they have."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta


def self_signed(organization: str, common_name: str, names: Sequence[str]) -> tuple[str, str]:
    """A new certificate for these DNS names, and its key, PEM."""
    # Imported here: it takes a while, and a server without TLS has no use for it.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def make_context(certificate: str, key: str, protocols: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """A server's context: TLS 1.2 and later, HTTP/1.1 alone unless more is said (ALPN).

    `ssl` loads certificates from files alone, so PEM text passes through an anonymous file in memory and never touches
    a disk. Raises `ssl.SSLError` or `ValueError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    if "\0" in certificate or "\0" in key:
        raise ValueError("not PEM")
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(f"{certificate}\n{key}\n".encode())
        # A password callback, so that an encrypted key is an error and not a question on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: "")
    finally:
        os.close(descriptor)
    return context
