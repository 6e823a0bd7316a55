"""Dummy devices as the kernel is told of them: never brought up."""

from __future__ import annotations

from emulab.kernel.links.encoding import Handles
from emulab.kernel.links.link import Values, link_encoding
from emulab.plan.links import Dummy


def _describe(_: Dummy, __: Handles) -> tuple[Values, Values]:
    return {}, {}


ENCODING = link_encoding("dummy", None, _describe, up=False)
