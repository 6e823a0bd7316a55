"""What is decided of each host over all Ingresses that one controller serves: ingress-nginx' servers. Pure.

* The Ingresses come with the oldest first (`oldest_first`); where two say the same, the first one is heard. A host's
  paths are those of all of them.
* What no path of a host takes goes to the default backend of the first Ingress with that host, if it has one, unless
  some Ingress has a path for all of the host (`createServers`, `getBackendServers` of internal/ingress/controller).
  What has no host is no host: the first Ingress with a default backend and no rules takes it, before any path `/`.
* A host has one certificate, by the first of its Ingresses that has a TLS section at all: that of the Secret whose
  hosts name it, else of the first Secret whose certificate is for it, else the default one (`extractTLSSecretName`).
  One that isn't for the host, or can't be used, is replaced by the default one.
* Plain HTTP is told to come back over TLS where the host, or else the wildcard one label above it, has a certificate,
  whichever that is (`certificate_configured_for_current_request` of lua_ingress.lua).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from emulab.dataclass import dataclass, field
from emulab.kinds.core.certificates import LeafCertificate, leaf_certificate
from emulab.kinds.networking.ingressview import Backend, Ingress, IngressPath
from emulab.model.objects import Object

Secrets = Callable[[str, str], Object | None]
"""The Secret of a namespace and name, if it is there."""

_SOON = 240 * 3600.0  # seconds before its end from which on a certificate is said to be about to expire


class CertificateProblem(NamedTuple):
    """What is wrong with the certificate of a host: the reason of an Event, and ingress-nginx' words."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """The certificate of a host, and whose word it is."""

    host: str
    ingress: Ingress
    secret: str  # its name, "" where no Secret is for the host
    leaf: LeafCertificate | None  # None: the default certificate
    problem: CertificateProblem | None  # why the default one has to stand in

    def problem_at(self, now: float) -> CertificateProblem | None:
        """What is wrong with it at a time: with the one that was asked for, or with its dates."""
        if self.leaf is None or self.leaf.not_before <= now < self.leaf.not_after - _SOON:
            return self.problem
        return next((one.problem for one in dated_problems(self.host, self.leaf) if one.holds(now)), None)

    @property
    def turns(self) -> list[float]:
        """The times at which what is wrong becomes something else."""
        if self.leaf is None:
            return []
        return [self.leaf.not_before, self.leaf.not_after - _SOON, self.leaf.not_after]


@dataclass(slots=True)
class ServerName:
    """One host ("" for all others), with its paths in the order in which they win."""

    host: str
    first: Ingress  # the first that has it
    paths: list[tuple[Ingress, IngressPath]] = field(default_factory=list)
    certificate: HostCertificate | None = None

    @property
    def has_root(self) -> bool:
        """Whether a path takes all that no other one does."""
        return any(path.takes_all for _, path in self.paths)

    @property
    def rest(self) -> Backend | None:
        """Where what no path takes goes, if an Ingress says it."""
        return self.first.default_backend if self.host and not self.has_root else None


def catch_all(ingresses: Iterable[Ingress]) -> Ingress | None:
    """The Ingress that has the hosts that no rule has."""
    return next((one for one in ingresses if one.default_backend is not None and not one.rules), None)


def server_names(ingresses: Iterable[Ingress], secrets: Secrets) -> dict[str, ServerName]:
    """The hosts of these Ingresses, the oldest of which comes first; the hosts in the order of their names."""
    found: dict[str, ServerName] = {}
    known: set[tuple[str, str, str]] = set()
    for ingress in ingresses:
        for rule in ingress.rules:
            name = found.setdefault(rule.host, ServerName(rule.host, ingress))
            for path in rule.paths:
                place = (rule.host, path.path, path.taken_as)
                if path.backend.service and place not in known:
                    known.add(place)
                    name.paths.append((ingress, path))
            if ingress.tls and rule.host and name.certificate is None:
                name.certificate = host_certificate(rule.host, ingress, secrets)
    return dict(sorted(found.items()))


def is_secured(names: Mapping[str, ServerName], host: str) -> bool:
    """Whether a host has a certificate, or else the wildcard that it is one of."""
    above = "*." + host.partition(".")[2]
    return any((name := names.get(one)) is not None and name.certificate is not None for one in (host, above))


def host_certificate(host: str, ingress: Ingress, secrets: Secrets) -> HostCertificate:
    """The certificate that an Ingress with a TLS section has for one of its hosts."""
    secret = _secret_for(host, ingress, secrets)
    if not secret:
        return HostCertificate(host, ingress, "", None, None)
    key = f"{ingress.namespace}/{secret}"
    o = secrets(ingress.namespace, secret)
    leaf = leaf_certificate(o) if o is not None else f"local SSL certificate {key} was not found"
    if isinstance(leaf, str):
        reason = "CertificateUnusable" if o is not None else "CertificateNotFound"
        said = f'Error getting SSL certificate "{key}": {leaf}. Using default certificate'
        return HostCertificate(host, ingress, secret, None, CertificateProblem(reason, said))
    if not leaf.covers(host):
        said = (
            f'SSL certificate "{key}" does not contain a Common Name or Subject Alternative Name for server "{host}":'
            f" {leaf.mismatch(host)}. Using default certificate"
        )
        problem = CertificateProblem("CertificateMismatch", said)
        return HostCertificate(host, ingress, secret, None, problem)
    return HostCertificate(host, ingress, secret, leaf, None)


def _secret_for(host: str, ingress: Ingress, secrets: Secrets) -> str:
    """The name of the Secret, "" where no section has one for the host."""
    for tls in ingress.tls:
        if host.lower() in map(str.lower, tls.hosts):
            return tls.secret
    for tls in ingress.tls:
        o = secrets(ingress.namespace, tls.secret) if tls.secret else None
        leaf = leaf_certificate(o) if o is not None else ""
        if not isinstance(leaf, str) and leaf.names and leaf.covers(host):
            return tls.secret
    return ""


class Dated(NamedTuple):
    """A problem that there is from one time to another; 0 for neither."""

    problem: CertificateProblem
    since: float
    until: float

    def holds(self, now: float) -> bool:
        """Whether it is one at a time."""
        return self.since <= now and (not self.until or now < self.until)


def dated_problems(host: str, leaf: LeafCertificate) -> tuple[Dated, ...]:
    """What is wrong with a host's certificate at some time, which is served all the same; no two at once."""
    certificate = f'SSL certificate for server "{host}"'
    begin, end = _when(leaf.not_before), _when(leaf.not_after)
    early = CertificateProblem("CertificateNotYetValid", f"{certificate} is not valid before {begin}")
    late = CertificateProblem("CertificateExpired", f"{certificate} expired ({end})")
    soon = CertificateProblem("CertificateExpiring", f"{certificate} is about to expire ({end})")
    from_soon = max(leaf.not_before, leaf.not_after - _SOON)
    return (
        Dated(late, leaf.not_after, 0.0),
        Dated(early, 0.0, min(leaf.not_before, leaf.not_after)),
        Dated(soon, from_soon, max(from_soon, leaf.not_after)),
    )


def _when(seconds: float) -> str:
    """As Go prints a time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")


def certificates_of(names: Mapping[str, ServerName]) -> Iterator[HostCertificate]:
    """Those of all hosts that have one."""
    for name in names.values():
        if name.certificate is not None:
            yield name.certificate
