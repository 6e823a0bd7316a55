"""Ports as `port-forward` takes them: `8080:80`, `80`, `:80`, `8080:http`. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from emulab.cli.pods import Chosen
from emulab.cli.usage import UsageError
from emulab.errors import UserError
from emulab.kinds.cells import Raw
from emulab.kinds.registry import SERVICE


class PortMapping(NamedTuple):
    """A port here (0: any that is free) and one of the Pod."""

    local: int
    remote: int


def port_mapping(text: str, chosen: Chosen) -> PortMapping:
    """What a text means for a Pod that was chosen. Raises UsageError, and UserError where there is no such port."""
    local, colon, remote = text.rpartition(":")
    if not remote or local.count(":"):
        raise UsageError(f"invalid port format '{text}'")
    port = _remote(remote, chosen)
    if not colon:
        return PortMapping(int(remote) if remote.isdecimal() else port, port)
    if local and not (local.isdecimal() and int(local) < 65536):
        raise UsageError(
            f"error parsing local port '{local}': write a number below 65536, or nothing for any that is free"
        )
    return PortMapping(int(local or 0), port)


def _remote(text: str, chosen: Chosen) -> int:
    number = int(text) if text.isdecimal() else 0
    if text.isdecimal() and not 0 < number < 65536:
        raise UsageError("remote port must be > 0" if not number else f"error parsing remote port '{text}'")
    if chosen.kind == SERVICE:
        return _of_service(text, number, chosen)
    if number:
        return number
    return _named(chosen.pod, text)


def _of_service(text: str, number: int, chosen: Chosen) -> int:
    """A Service's port is its target's: where it has an address of its own, that is the Pod's port."""
    spec = chosen.object["spec"]
    found = next((p for p in spec.get("ports") or () if text == p.get("name") or number == p["port"]), None)
    if found is None:
        name = chosen.object["metadata"]["name"]
        raise UserError(f"Service {name} does not have a service port {text}")
    target: Any = found.get("targetPort", found["port"])
    if spec.get("clusterIP") == "None" and number:  # pkg/util.LookupContainerPortNumberByServicePort
        return number
    return target if isinstance(target, int) else _named(chosen.pod, str(target))


def _named(pod: Raw, name: str) -> int:
    for container in pod["spec"].get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == name:
                return int(port["containerPort"])
    raise UserError(f"Pod '{pod['metadata']['name']}' does not have a named port '{name}'")
