"""EndpointSlices by the Services they are for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL, EndpointSlice
from emulab.kinds.registry import ENDPOINT_SLICE
from emulab.model.collection import Objects
from emulab.model.members import Members, changed_keys
from emulab.model.objects import Object

ServiceName = tuple[str, str]
"""The namespace and name of a Service."""
SliceObjects = tuple[Object, ...]
"""The EndpointSlices of one Service, in the order of their names: in which order they came has no meaning."""


class SlicesByService:
    """The EndpointSlices of every Service: the very same tuple as long as they are the same."""

    def __init__(self) -> None:
        self._members: Members = {}
        self._by_service: dict[ServiceName, SliceObjects] = {}

    @classmethod
    def among(cls, objects: Objects) -> SlicesByService:
        """The EndpointSlices among these objects, by Service."""
        made = cls()
        made.follow(objects.members(ENDPOINT_SLICE))
        return made

    def follow(self, members: Members) -> Mapping[ServiceName, SliceObjects]:
        """Takes over the EndpointSlices that there are now. The Services that have others than before, with those that
        they had."""
        old, self._members = self._members, members
        touched: dict[ServiceName, dict[str, Object]] = {}
        changed = changed_keys(old, members)
        for key in changed:
            if (o := old.get(key)) is not None and (name := _service(o)) is not None:
                self._names(touched, name).pop(o.name)
        for key in changed:
            if (o := members.get(key)) is not None and (name := _service(o)) is not None:
                self._names(touched, name)[o.name] = o
        before = {name: self._by_service.get(name, ()) for name in touched}
        for name, slices in touched.items():
            if slices:
                self._by_service[name] = tuple(o for _, o in sorted(slices.items()))
            else:
                self._by_service.pop(name, None)
        return before

    def _names(self, touched: dict[ServiceName, dict[str, Object]], name: ServiceName) -> dict[str, Object]:
        if name not in touched:
            touched[name] = {o.name: o for o in self._by_service.get(name, ())}
        return touched[name]

    def of(self, name: ServiceName) -> SliceObjects:
        """The EndpointSlices of a Service, which need not exist."""
        return self._by_service.get(name, ())


def _service(o: Object) -> ServiceName | None:
    """The Service that a slice is of, if it says one."""
    name = o.labels.get(SERVICE_NAME_LABEL)
    return (o.namespace, name) if name else None


def views(slices: Iterable[Object]) -> list[EndpointSlice]:
    """The typed views of EndpointSlices."""
    return [EndpointSlice.of(o) for o in slices]
