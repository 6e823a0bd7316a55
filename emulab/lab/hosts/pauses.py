"""How long servers that ended wait for their next life: longer each time."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.plan.state import PlannedServer

_RESTART = (0.0, 0.2, 1.0, 5.0)  # seconds before the first, second … restart in a row
_PUT_OFF = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)  # of one that `fails`, as the kubelet has it


class Pauses:
    """The names of servers that have ended and not served since, with how often."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._failures

    def __iter__(self) -> Iterator[str]:
        return iter(self._failures)

    def next(self, name: str, server: PlannedServer | None) -> float:
        """Counts one more end; the seconds until the next life."""
        failures = self._failures.get(name, 0)
        self._failures[name] = failures + 1
        return _pause(server, failures)

    def last(self, server: PlannedServer) -> float:
        """The seconds that its present life, or the one to come, has waited for."""
        return _pause(server, self._failures.get(server.name, 0) - 1)

    def forget(self, name: str) -> None:
        """The server serves, or is wanted no more."""
        self._failures.pop(name, None)


def _pause(server: PlannedServer | None, failures: int) -> float:
    pauses = _PUT_OFF if server is not None and server.fails else _RESTART
    return pauses[min(max(failures, 0), len(pauses) - 1)]
