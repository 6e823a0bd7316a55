"""expired-certificate: nobody has renewed the certificate that the ingress shows for a host.

Clients refuse the connection, and those that don't look at certificates notice nothing. It is met as often after a
renewal that didn't reach the ingress: https://github.com/kubernetes/ingress-nginx/issues/9451
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Redated
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, span
from emulab.kinds.faults.scene import HOST_TARGET, Scene

LIFE = 90 * 86400
"""Seconds that a certificate is valid, as Let's Encrypt gives it."""

SHOWN = "openssl s_client -connect {target}:443 -servername {target} </dev/null 2>/dev/null"


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    ago = int(options["ago"])
    return (Redated(target, -ago - LIFE, -ago),)


FAULT = FaultKind(
    name="expired-certificate",
    text="the certificate that the ingress shows for a host has expired",
    target=HOST_TARGET,
    effects=_effects,
    symptom=Symptom("client", ("sh", "-c", f"{SHOWN} | openssl x509 -noout -checkend 0")),
    says="the ingress shows a certificate for {target} that nobody has renewed",
    reasons=frozenset({"certificate-expired"}),
    options={"ago": Option(span(1, 10 * 365 * 86400), "1h", "how long ago it expired", "{:.0f} s")},
    thread="https://github.com/kubernetes/ingress-nginx/issues/9451",
    traced=Traced("client", "https://{target}/"),
)
