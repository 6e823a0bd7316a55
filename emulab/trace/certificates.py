"""What a client looks at in a server's certificate: whose it is, until when, and for which names."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any


def describe_certificate(certificate: bytes) -> dict[str, Any]:
    """Subject, issuer, names and dates (Unix time) of a certificate in DER."""
    from cryptography import x509
    from cryptography.x509.extensions import ExtensionNotFound
    from cryptography.x509.oid import NameOID

    parsed = x509.load_der_x509_certificate(certificate)
    names: list[str] = []
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(n) for n in found.get_values_for_type(x509.DNSName)]
        names += [str(n) for n in found.get_values_for_type(x509.IPAddress)]
    except ExtensionNotFound:
        names = [str(a.value) for a in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return {
        "subject": parsed.subject.rfc4514_string(),
        "issuer": parsed.issuer.rfc4514_string(),
        "names": names,
        "not_before": parsed.not_valid_before_utc.timestamp(),
        "not_after": parsed.not_valid_after_utc.timestamp(),
    }


def certificate_problem(described: dict[str, Any], name: str, now: float) -> str:
    """Why a client wouldn't take this certificate for `name`, "" when it would, the issuer apart."""
    if now > described["not_after"]:
        return "certificate expired"
    if now < described["not_before"]:
        return "certificate isn't valid yet"
    if not any(matches(name, pattern) for pattern in described["names"]):
        return f"certificate is for {', '.join(described['names']) or 'no name'}, not for {name}"
    return ""


def matches(name: str, pattern: str) -> bool:
    """Whether a certificate's name covers a host (RFC 6125, section 6.4.3): `*` stands for one label, the first."""
    name, pattern = name.lower().rstrip("."), pattern.lower()
    if name == pattern:
        return True
    try:
        ip_address(name)
    except ValueError:
        label, dot, rest = name.partition(".")
        return bool(label and dot) and pattern == f"*.{rest}"
    return False
