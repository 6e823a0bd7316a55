"""EndpointSlices by the Services they are for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from emulab.kinds.core.serviceview import ServicePort
from emulab.kinds.discovery.endpointsliceview import Endpoint, EndpointPort, EndpointSlice
from emulab.kinds.registry import ENDPOINT_SLICE
from emulab.model.collection import Objects

SliceViews = Mapping[tuple[str, str], Sequence[EndpointSlice]]
"""EndpointSlices by Service (namespace, name)."""


def slices_by_service(objects: Objects) -> SliceViews:
    """The EndpointSlices of each Service."""
    found: dict[tuple[str, str], list[EndpointSlice]] = {}
    for o in objects.kind(ENDPOINT_SLICE):
        view = EndpointSlice.of(o)
        if view.service:
            found.setdefault((view.namespace, view.service), []).append(view)
    return found


class Slices:
    """EndpointSlices to ask for, which notes whose were asked for: so it is known what a plan depends on."""

    def __init__(self, views: SliceViews) -> None:
        self._views = views
        self.asked: set[tuple[str, str]] = set()

    def of(self, namespace: str, service: str) -> Sequence[EndpointSlice]:
        """Those of a Service, which need not exist."""
        self.asked.add((namespace, service))
        return self._views.get((namespace, service), ())


def endpoints_of(
    slices: Iterable[EndpointSlice], port: ServicePort
) -> list[tuple[EndpointSlice, Endpoint, EndpointPort]]:
    """Endpoints of the slices that have a port of the Service port's name and protocol."""
    return [
        (view, endpoint, number)
        for view in slices
        for number in view.ports
        if number.name == port.name and number.protocol == port.protocol
        for endpoint in view.endpoints
        if endpoint.addresses
    ]
