"""An authority that signs certificates, for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _name(common: str, *more: x509.NameAttribute[str]) -> x509.Name:
    return x509.Name([*more, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class Authority:
    """One authority, its own root."""

    def __init__(self, name: str, parent: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(name)
        issuer, signer = (self.name, self.key) if parent is None else (parent.name, parent.key)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._builder(self.name, self.key, issuer, 1).add_extension(constraints, critical=True)
        self.certificate = builder.sign(signer, hashes.SHA256())
        self.pem = _pem(self.certificate)

    @staticmethod
    def _builder(
        name: x509.Name, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, days: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=days))
        )

    def sign(self, common: str, days: int = 1) -> tuple[x509.Certificate, str]:
        """A client's certificate, which ends in so many days, and both PEM: certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Shop"))
        made = self._builder(name, key, self.name, days).sign(self.key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return made, _pem(made) + private.decode()

    def client(self, folder: Path, common: str, days: int = 1) -> str:
        """A file with a client's certificate and key."""
        file = folder / f"{common}.pem"
        file.write_text(self.sign(common, days)[1])
        return str(file)

    def revoked(self, *certificates: x509.Certificate) -> str:
        """A revocation list, PEM."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(now - timedelta(days=1)).next_update(now + timedelta(days=1))
        for one in certificates:
            entry = (
                x509.RevokedCertificateBuilder().serial_number(one.serial_number).revocation_date(now).build()
            )
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
