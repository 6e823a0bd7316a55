"""search-storm: each name from outside the cluster costs as many questions as there are search domains.

A pod's resolver tries a name with fewer than five dots (ndots:5) in each domain of its search list first, and for
both families: eight or more questions for one name, which the name servers and their quota feel before anybody else
does. The list grows by what the node itself searches: https://github.com/kubernetes/kubernetes/issues/14051
"""

from __future__ import annotations

from collections.abc import Sequence

from emulab.kinds.faults.effects import Harm, Searching
from emulab.kinds.faults.fault import FaultKind, FaultOptions, Symptom, Traced
from emulab.kinds.faults.options import Option, amount
from emulab.kinds.faults.scene import NODE_TARGET, Scene


def _effects(_: Scene, target: str, options: FaultOptions) -> Sequence[Harm]:
    return (Searching(target, int(options["domains"])),)


FAULT = FaultKind(
    name="search-storm",
    text="the pods of a node search many domains: a name from outside costs a question for each of them",
    target=NODE_TARGET,
    effects=_effects,
    # What is asked for `shop.test`: each domain of the list, and then the name itself.
    symptom=Symptom(
        "{pod}",
        ("sh", "-c", "test $(dig +search +showsearch +tries=1 shop.test | grep -c ';shop.test') -le 4"),
    ),
    says="pods of node {target} search {domains} domains more, each of which is asked first (ndots:5)",
    reasons=frozenset({"searched"}),
    options={"domains": Option(amount(1, 28), "6", "domains more", "{:.0f}")},
    thread="https://github.com/kubernetes/kubernetes/issues/14051",
    traced=Traced("{pod}", "http://shop.test/", notes=True),
)
