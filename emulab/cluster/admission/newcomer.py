"""What LimitRanges and ResourceQuotas of a Namespace make of an object that is new in it.

It is the same for a user's object and a controller's: both come to an API server. What decides is loaded only where
there is one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulab.kinds.registry import KINDS, LIMIT_RANGE, PERSISTENT_VOLUME_CLAIM, POD, RESOURCE_QUOTA, SERVICE
from emulab.model.objects import Object

if TYPE_CHECKING:
    from emulab.cluster.admission.resourcequota import ObjectsInView

LIMITING = (LIMIT_RANGE, RESOURCE_QUOTA)
"""The kinds of those objects."""
_LIMITED = (POD, PERSISTENT_VOLUME_CLAIM)
_GROWING = (SERVICE, PERSISTENT_VOLUME_CLAIM)
"""Kinds of which a change is counted, too; others are when they are made."""


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


def refused_change(objects: ObjectsInView, old: Object, new: Object) -> str:
    """Why an object may not become another one: it would use more than a quota leaves; "" where it may."""
    if new.type not in _GROWING or not objects.kind(RESOURCE_QUOTA):
        return ""
    from emulab.cluster.admission import resourcequota

    quotas = resourcequota.quotas_of(objects, new.namespace)
    why = resourcequota.refusal(objects, quotas, new, old)
    return forbidden(new, why) if why else ""


def forbidden(o: Object, why: str) -> str:
    """As apimachinery's `NewForbidden`."""
    return f'{KINDS[o.type].resources} "{o.name}" is forbidden: {why}'
