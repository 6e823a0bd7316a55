"""What is known of who is at the other end of TLS, as a value: the shell looks, the machines decide. Pure."""

from __future__ import annotations

from typing import NamedTuple

NO_AUTHORITY = frozenset({18, 19, 20, 21, 27})
"""What `optional_no_ca` doesn't mind: that nobody is known who signed it (nginx: `ngx_ssl_verify_error_optional`)."""


class ClientIdentity(NamedTuple):
    """A handshake's outcome. `code` is OpenSSL's verdict on the certificate, 0 if it is right, with its `reason`."""

    server_name: str = ""  # SNI, in lower case
    certificate: str = ""  # the client's, PEM; empty: it has sent none
    code: int = 0
    reason: str = ""
    subject: str = ""  # as RFC 2253 writes it
    issuer: str = ""

    @property
    def verdict(self) -> str:
        """What nginx says of it in $ssl_client_verify."""
        if not self.certificate:
            return "NONE"
        return f"FAILED:{self.reason}" if self.code else "SUCCESS"
