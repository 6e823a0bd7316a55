"""What looks odd in manifests, with all that there is beside them, on this machine: the warnings of every verb."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.programs import Loaded
from emulab.cluster.unplaced import unplaced
from emulab.kinds.core.coredns import corednses_of
from emulab.kinds.emulab.clusterview import cluster_of
from emulab.kinds.kind import WORKLOAD
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.registry import CONFIG_MAP, INGRESS, KINDS, POD
from emulab.lab.balancerengines import unfollowed_by_balancers
from emulab.lab.cni.shortfalls import shortfalls
from emulab.lab.engines import unfollowed
from emulab.lab.kubelet.programs import missing_program
from emulab.model.collection import Objects
from emulab.model.findings import Finding
from emulab.model.objects import Object
from emulab.plan.coredns.corefile import unheeded as unheeded_corefile
from emulab.plan.l7.annotations.unheeded import unheeded
from emulab.plan.l7.oddities import oddities as spreading_oddities
from emulab.plan.l7.unread import unread
from emulab.plan.l7.unstreamed import unstreamed
from emulab.plan.nodecache import unheeded as unheeded_of_node_caches


def oddities(given: Sequence[Object], objects: Objects, loaded: Loaded) -> list[str]:
    """Of `given`, which are among `objects`; one line each. `loaded`: the images that there are."""
    cluster = cluster_of(objects)
    classes = IngressClasses.among(objects, cluster)
    asked = {o.key for o in given}
    return [
        *warnings(given, objects, missing_program, loaded),
        *unheeded((o for o in given if o.type == INGRESS), classes, objects=objects),
        *(finding.line() for finding in (*unread(given, objects), *unstreamed(given, objects))),
        *(finding.line() for finding in spreading_oddities(asked, objects, classes, cluster)),
        *(finding.line() for finding in _of_corefiles(given, objects)),
        *(finding.line() for finding in (*shortfalls(given, objects), *unfollowed(given, objects))),
        *(finding.line() for finding in unfollowed_by_balancers(given, objects)),
        *(Finding(o, (), sentence).line() for o, sentence in unplaced(objects) if o.key in asked),
    ]


def _of_corefiles(given: Sequence[Object], objects: Objects) -> Iterator[Finding]:
    """What of Corefiles isn't followed."""
    if not any(o.type == CONFIG_MAP for o in given):
        return
    readers = [
        flags
        for o in chain.from_iterable(map(objects.kind, (POD, *KINDS.of(WORKLOAD))))
        for flags in corednses_of(o.namespace, o.spec if o.type == POD else o.spec["template"]["spec"])
    ]
    for o in given:
        if o.type == CONFIG_MAP:
            yield from unheeded_corefile(o, objects.get, readers)
            yield from unheeded_of_node_caches(o)
