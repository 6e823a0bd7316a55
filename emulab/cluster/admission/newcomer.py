"""What LimitRanges and ResourceQuotas of a Namespace make of an object that is new in it.

It is the same for a user's object and a controller's: both come to an API server. What decides is loaded only where
there is one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulab.kinds.registry import KINDS, LIMIT_RANGE, PERSISTENT_VOLUME_CLAIM, POD, RESOURCE_QUOTA
from emulab.model.objects import Object

if TYPE_CHECKING:
    from emulab.cluster.admission.resourcequota import ObjectsInView

LIMITING = (LIMIT_RANGE, RESOURCE_QUOTA)
"""The kinds of those objects."""
_LIMITED = (POD, PERSISTENT_VOLUME_CLAIM)


def as_admitted(objects: ObjectsInView, o: Object) -> tuple[Object, str]:
    """The object with what it is given, and why it is refused, in the API server's words; "" where it isn't."""
    if o.type in _LIMITED and (
        ranges := [r for r in objects.kind(LIMIT_RANGE) if r.namespace == o.namespace]
    ):
        from emulab.cluster.admission import limitranger

        if o.type == POD:
            o = limitranger.with_defaults(o, ranges)
        if errors := limitranger.violations(o, ranges):
            return o, forbidden(o, limitranger.listed(errors))
    if o.namespace and objects.kind(RESOURCE_QUOTA):
        from emulab.cluster.admission import resourcequota

        quotas = resourcequota.quotas_of(objects, o.namespace)
        if why := resourcequota.refusal(objects, quotas, o):
            return o, forbidden(o, why)
    return o, ""


def forbidden(o: Object, why: str) -> str:
    """As apimachinery's `NewForbidden`."""
    return f'{KINDS[o.type].resources} "{o.name}" is forbidden: {why}'
