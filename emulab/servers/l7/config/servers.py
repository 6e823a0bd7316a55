"""What is decided of a host before a route is looked for: who may speak to it over TLS."""

from __future__ import annotations

from emulab.dataclass import dataclass

VERIFY = ("on", "off", "optional", "optional_no_ca")


@dataclass(frozen=True, slots=True)
class ClientVerification:
    """Certificates of clients, for some hosts.

    `authorities` and `revoked` are PEM: certificates, and revocation lists of theirs. `match` is a regular expression
    that the subject has to have in it, as RFC 2253 writes it; it counts over plain HTTP, too, where there is none.
    A host with an `error` lets nobody in.
    """

    hosts: tuple[str, ...]
    authorities: str = ""
    revoked: str = ""
    verify: str = "on"  # one of `VERIFY`
    depth: int = 1
    error_page: str = ""  # a URL, or a path of the host, for clients whose certificate is wrong or missing
    match: str = ""
    pass_certificate: bool = False  # upstreams get the whole certificate
    error: str = ""
    source: str = ""
