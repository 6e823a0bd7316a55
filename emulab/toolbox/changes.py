"""What is different between an object and what it was, in words of a line each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from emulab.kinds.discovery.endpointsliceview import SERVICE_NAME_LABEL, Endpoint
from emulab.model.addresses import socket_name

_Raw = Mapping[str, Any]
_UNTOLD = frozenset({"resourceVersion", "generation", "observedGeneration", "managedFields", "message"})
_USERS_MAPS = frozenset({"data", "stringData", "binaryData", "metadata.labels", "metadata.annotations"})
_NAMES = ("type", "name", "ip", "containerPort", "port")
"""Fields by which an item of a list is known, the first that it has."""
_LONGEST = 60  # letters of a value


class EndpointState(NamedTuple):
    """An endpoint of a Service: where it is, and how it is."""

    state: str  # ready, not ready, ending, …
    pod: str
    node: str

    @property
    def whose(self) -> str:
        parts = [f"pod {self.pod}" if self.pod else "", self.node]
        return ", ".join(part for part in parts if part)


def endpoints_of(slices: list[_Raw]) -> dict[str, EndpointState]:
    """The endpoints of EndpointSlices by `ADDRESS:PORT`, or by address where there are no ports."""
    found: dict[str, EndpointState] = {}
    for one in slices:
        ports = [p.get("port") for p in one.get("ports") or ()] or [None]
        for raw in one.get("endpoints") or ():
            endpoint = Endpoint.of(raw)
            state = EndpointState(_state(endpoint), endpoint.target_pod, endpoint.node_name)
            for address in endpoint.addresses:
                found |= {socket_name(address, port) if port else address: state for port in ports}
    return found


def _state(endpoint: Endpoint) -> str:
    if endpoint.terminating:
        return "ending, still serving" if endpoint.serving else "ending"
    return "ready" if endpoint.ready else "not ready"


def service_of(one: _Raw) -> str:
    """The Service whose endpoints an EndpointSlice has."""
    return str((one["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL, ""))


def endpoint_changes(before: Mapping[str, EndpointState], now: Mapping[str, EndpointState]) -> Iterator[str]:
    """What has come, gone and changed."""
    for where in sorted(before.keys() - now.keys()):
        yield f"- {where} ({before[where].whose}), was {before[where].state}"
    for where in sorted(now.keys() - before.keys()):
        yield f"+ {where} ({now[where].whose}), {now[where].state}"
    for where in sorted(now.keys() & before.keys()):
        if before[where].state != now[where].state:
            yield f"~ {where} ({now[where].whose}), {before[where].state} → {now[where].state}"
        elif before[where] != now[where]:
            yield f"~ {where} is {now[where].whose} now, was {before[where].whose}"


def field_changes(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """`spec.replicas 2 → 3`, for each field. Times and versions, which change with all else, aren't told."""
    if before == now:
        return
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            if not _is_untold(path, str(key)):
                yield from field_changes(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif (
        isinstance(before, list | None)
        and isinstance(now, list | None)
        and _are_named([*(before or ()), *(now or ())])
        and all(map(_each_once, (before or [], now or [])))
    ):
        old, new = (_by_name(items or ()) for items in (before, now))
        for name in dict.fromkeys([*old, *new]):
            yield from field_changes(old.get(name), new.get(name), f"{path}[{name}]")
    elif isinstance(now, Mapping) and before is None:
        for key, value in now.items():
            if not _is_untold(path, str(key)):
                yield from field_changes(None, value, f"{path}.{key}")
    elif isinstance(before, Mapping) and now is None:
        yield f"{path} gone"
    else:
        yield f"{path} {_shown(before)} → {_shown(now)}"


def _is_untold(path: str, key: str) -> bool:
    """Whether a field changes with all else. Below `data`, labels and annotations, keys are users' own words."""
    if path in _USERS_MAPS:
        return False
    return key in _UNTOLD or key.endswith("Time")


def _are_named(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(i, Mapping) and _name(i) for i in items)


def _each_once(items: list[Any]) -> bool:
    """Whether no two items go by one name, as a container's port 53 of UDP and of TCP do."""
    return len(_by_name(items)) == len(items)


def _name(item: _Raw) -> str:
    return next((str(item[field]) for field in _NAMES if field in item), "")


def _by_name(items: Any) -> dict[str, Any]:
    return {_name(item): item for item in items}


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
