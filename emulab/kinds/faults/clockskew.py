"""clock-skew: the machine that issued a certificate has a clock that is ahead, so that nobody else takes it yet.

A certificate begins at the time of its issuer's clock, unless that dates it back:
https://github.com/kubernetes/kubernetes/issues/76714

The clock that is wrong is the issuer's, and it shows in the certificate alone. The other case, a client whose clock is
behind, looks the same and can't be had in a lab: the kernel has one CLOCK_REALTIME for the whole machine, which no
namespace covers (time_namespaces(7)).
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Redated
from emulab.kinds.faults.expiredcertificate import LIFE, SHOWN
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, span
from emulab.kinds.faults.scene import HOST_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    ahead = int(options["ahead"])
    return (Redated(target, ahead, ahead + LIFE),)


FAULT = FaultKind(
    name="clock-skew",
    text="the certificate of a host was issued by a clock that is ahead: it isn't valid yet",
    target=HOST_TARGET,
    effects=_effects,
    symptom=Symptom(
        "client",
        (
            "sh",
            "-c",
            f"begins=$({SHOWN} | openssl x509 -noout -startdate | cut -d= -f2);"
            ' test $(date -d "$begins" +%s) -le $(date +%s)',
        ),
    ),
    says="the clock of who issued the certificate for {target} is {ahead} ahead",
    reasons=frozenset({"certificate-not-yet-valid"}),
    options={"ahead": Option(span(1, 365 * 86400), "1h", "how far that clock is ahead", "{:.0f} s")},
    thread="https://github.com/kubernetes/kubernetes/issues/76714",
    traced=Traced("client", "https://{target}/"),
)
