"""Dummy devices as the kernel is told of them."""

from __future__ import annotations

from emulab.kernel.links.encoding import Handles
from emulab.kernel.links.link import Values, link_encoding
from emulab.kernel.netlink.rtnetlink import IFF_UP
from emulab.plan.links import Dummy


def _describe(item: Dummy, _: Handles) -> tuple[Values, Values]:
    return ({"flags": IFF_UP, "change": IFF_UP} if item.up else {}), {}


ENCODING = link_encoding("dummy", None, _describe, up=False)
