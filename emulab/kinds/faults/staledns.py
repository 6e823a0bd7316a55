"""stale-dns: a resolver that keeps what it was told for longer than the records' TTL allows.

A service moves to another region by a change of its record, and those who ask this resolver go on to the old one: the
TTL trap. A floor below which the resolver lets no TTL be does so: https://github.com/qdm12/dns/issues/94
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, StaleNames
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, span
from emulab.kinds.faults.scene import RESOLVER_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return (StaleNames(target, int(options["ttl"])),)


FAULT = FaultKind(
    name="stale-dns",
    text="a resolver keeps records for longer than their TTL says: after a switch its clients go where it was before",
    target=RESOLVER_TARGET,
    effects=_effects,
    symptom=Symptom(
        "client", ("sh", "-c", "curl -sS -m 2 http://{moved}/ | grep -q '{moved_to}'"), after="record-moved"
    ),
    says="{target} keeps what it was told for {ttl} at the least, whatever the TTL",
    reasons=frozenset({"stale-name"}),
    options={"ttl": Option(span(1, 86400), "1h", "how long records are kept at the least", "{:.0f} s")},
    thread="https://github.com/qdm12/dns/issues/94",
    traced=Traced("client", "http://{moved}/", notes=True),
)
