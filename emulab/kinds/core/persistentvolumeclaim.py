"""PersistentVolumeClaims: nothing follows them but those who count them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from emulab.kinds import aside

if TYPE_CHECKING:
    from emulab.model.objects import Object
    from emulab.model.quantity import Quantity


def _uses(o: Object) -> Mapping[str, Quantity]:
    from emulab.kinds.core.resources import used_by_claim  # exact arithmetic, which few need

    return used_by_claim(o)


DEFINITION = aside.DEFINITION._replace(uses=_uses)
