"""Clients: users of the cluster, outside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from emulab.kinds import cells
from emulab.kinds.cells import Cells, Columns, Raw
from emulab.kinds.checks import whole
from emulab.kinds.definition import Definition
from emulab.kinds.emulab.networks import network
from emulab.kinds.emulab.resolver import OWN_RESOLVER
from emulab.kinds.lookup import Lookup
from emulab.kinds.registry import CLIENT, RESOLVER
from emulab.model.checks import dns_label, mapping
from emulab.model.findings import Finding

if TYPE_CHECKING:
    from emulab.model.objects import Object


class Client(NamedTuple):
    name: str
    network: str  # internet | vpc
    resolver: str  # a Resolver; "" for the lab's own

    @staticmethod
    def of(o: Object) -> Client:
        return Client(o.name, o.spec.get("network") or "internet", o.spec.get("resolver") or "")


client_spec = mapping({"network": network, "resolver": dns_label}, closed=True)


def _outdated(old: Object, new: Object) -> tuple[str, ...]:
    return ("address", "addresses") if old.spec.get("network") != new.spec.get("network") else ()


def _warnings(o: Object, world: Lookup) -> Iterator[Finding]:
    name = Client.of(o).resolver
    if name not in ("", OWN_RESOLVER) and not world.has(RESOLVER.key("", name)):
        yield Finding(o, ("spec", "resolver"), f"there is no Resolver {name}: the lab's own one is asked")


def _cells(o: Raw, now: float) -> Cells:
    address = str(cells.status(o).get("address") or "<pending>")
    return [cells.name(o), str(cells.spec(o).get("network") or "internet"), address, cells.age(o, now)], []


DEFINITION = Definition(
    check=whole(CLIENT, dns_label, client_spec, optional_spec=True),
    outdated=_outdated,
    warnings=_warnings,
    columns=Columns(("NAME", "NETWORK", "ADDRESS", "AGE"), (), _cells),
)
