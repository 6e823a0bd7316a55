"""Certificates of clients: who is asked for one, and who is refused for it. Pure.

The handshake ends well whatever the certificate is (`ca-ignore-err`); a route's backend refuses, with a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from emulab.servers.engines.haproxy.filters.answers import sent_to
from emulab.servers.engines.haproxy.pages import returned
from emulab.servers.engines.haproxy.places import CERTIFICATES, digest
from emulab.servers.engines.haproxy.text import CfgLines, in_format, quoted
from emulab.servers.l7.config import ClientVerification
from emulab.servers.l7.engine.secured import NO_AUTHORITY

_TOLD = ("ssl-client-verify", "ssl-client-cert", "ssl-client-subject-dn", "ssl-client-issuer-dn")


_REASONS = {
    18: "self-signed certificate",
    19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    27: "certificate not trusted",
}
"""What OpenSSL says of `NO_AUTHORITY`: of anything else nobody gets so far."""


def _file(text: str) -> str:
    return f"{CERTIFICATES}/authorities-{digest(text)}.pem"


def files(verifications: Sequence[ClientVerification]) -> Mapping[str, str]:
    """Authorities, and what they have revoked."""
    return {_file(text): text for one in verifications for text in (one.authorities, one.revoked) if text}


def verification_of(host: str, verifications: Sequence[ClientVerification]) -> ClientVerification | None:
    """What a host wants of its clients."""
    return next((one for one in verifications if host in (name.lower() for name in one.hosts)), None)


def _looks(one: ClientVerification) -> bool:
    return bool(one.authorities) and one.verify != "off" and not one.error


def listed(one: ClientVerification | None) -> str:
    """What a line of the list of certificates says of it, with a space before."""
    if one is None or not _looks(one):
        return ""
    revoked = f" crl-file {_file(one.revoked)}" if one.revoked else ""
    return f" [ca-file {_file(one.authorities)} verify optional{revoked}]"


def any_looks(verifications: Sequence[ClientVerification]) -> bool:
    """Whether anybody is asked for a certificate."""
    return any(map(_looks, verifications))


def verified(one: ClientVerification) -> CfgLines:
    """What the backends of a host's routes say before anything else."""
    lines: CfgLines = []
    if _looks(one):
        lines += _handshake(one)
    subject = "ssl_c_s_dn(,0,rfc2253)"
    if one.match:
        page = (
            'http-request return status 403 content-type text/html string "client certificate unauthorized"'
        )
        lines += [
            f"http-request set-var(txn.subject) {subject} if {{ ssl_fc }}",
            f"{page} unless {{ var(txn.subject) -m reg {quoted(one.match)} }}",
        ]
    if one.error:
        return [*lines, returned(403)]
    return [*lines, *_told(one)] if one.authorities else lines


def _handshake(one: ClientVerification) -> CfgLines:
    minded = "{ ssl_fc } { ssl_c_used } !{ ssl_c_verify 0 }"
    if one.verify == "optional_no_ca":
        minded += f" !{{ ssl_c_verify {' '.join(map(str, sorted(NO_AUTHORITY)))} }}"
    lines = [
        f"{returned(421)} if {{ ssl_fc }} {{ ssl_fc_has_sni }} !{{ ssl_fc_sni,lower,strcmp(txn.name) eq 0 }}",
        _error(one, 495, f" if {minded}"),
    ]
    if one.verify == "on":
        lines.append(_error(one, 496, " if { ssl_fc } !{ ssl_c_used }"))
    return lines


def _error(one: ClientVerification, status: int, condition: str) -> str:
    """A path of the host can't be asked for in its place here: the page says what is wrong."""
    if one.error_page and not one.error_page.startswith("/"):
        return sent_to(302, in_format(one.error_page), condition)
    return returned(status) + condition


def _told(one: ClientVerification) -> Iterator[str]:
    """What servers are told of a certificate; what clients say under these names is dropped."""
    yield from (f"http-request del-header {name}" for name in _TOLD)
    used = "{ ssl_fc } { ssl_c_used }"
    yield "http-request set-header ssl-client-verify NONE if { ssl_fc } !{ ssl_c_used }"
    yield f"http-request set-header ssl-client-verify SUCCESS if {used} {{ ssl_c_verify 0 }}"
    for code, reason in _REASONS.items():
        yield f'http-request set-header ssl-client-verify "FAILED:{reason}" if {used} {{ ssl_c_verify {code} }}'
    if one.pass_certificate:
        lines = 'regsub("(.{1,64})","\\\\1%0A",g)'
        escaped = "regsub([+],%2B,g),regsub(/,%2F,g),regsub(=,%3D,g)"
        yield f"http-request set-var(txn.pem) 'ssl_c_der,base64,{lines},{escaped}' if {used}"
        begin, end = "-----BEGIN%%20CERTIFICATE-----%%0A", "-----END%%20CERTIFICATE-----%%0A"
        yield f'http-request set-header ssl-client-cert "{begin}%[var(txn.pem)]{end}" if {used}'
    yield f"http-request set-header ssl-client-subject-dn %[ssl_c_s_dn(,0,rfc2253)] if {used}"
    yield f"http-request set-header ssl-client-issuer-dn %[ssl_c_i_dn(,0,rfc2253)] if {used}"
