"""Objects of a running lab, followed from outside of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emulab.lab.client.client import LabClient
from emulab.model.keys import GroupKind

_Raw = Mapping[str, Any]


class ObjectChange(NamedTuple):
    """What happened to an object: ADDED, MODIFIED or DELETED."""

    type: str
    object: _Raw


class LabWatch:
    """The objects of some kinds as they are (`objects`), and their changes."""

    def __init__(self, client: LabClient, kinds: Sequence[GroupKind]) -> None:
        self._client = client
        self._kinds = [[kind.group, kind.kind] for kind in kinds]
        self._known: dict[str, _Raw] = {}
        self._version = 0
        self._list()

    @property
    def objects(self) -> list[_Raw]:
        return list(self._known.values())

    def _list(self) -> list[ObjectChange]:
        """Lists anew, and says what is different now."""
        answer = self._client.request("watch", kinds=self._kinds)
        self._version = answer["version"]
        before, self._known = self._known, {_uid(o): o for _, o in answer["events"]}
        gone = [ObjectChange("DELETED", o) for uid, o in before.items() if uid not in self._known]
        return gone + [
            ObjectChange("MODIFIED" if uid in before else "ADDED", o)
            for uid, o in self._known.items()
            if uid not in before or _version(before[uid]) != _version(o)
        ]

    def changes(self, timeout: float | None = None) -> list[ObjectChange]:
        """The next changes; none when there are none for `timeout` seconds."""
        asked: dict[str, Any] = {} if timeout is None else {"timeout": max(0.0, timeout)}
        answer = self._client.request("watch", kinds=self._kinds, since=self._version, **asked)
        if answer["events"] is None:
            return self._list()
        self._version = answer["version"]
        told = (ObjectChange(*event) for event in answer["events"])
        # Endpoints are made of others, and such a change of those may leave them as they were.
        changes = [c for c in told if c.type == "DELETED" or self._known.get(_uid(c.object)) != c.object]
        for change in changes:
            if change.type == "DELETED":
                self._known.pop(_uid(change.object), None)
            else:
                self._known[_uid(change.object)] = change.object
        return changes

    def until(self, deadline: float | None) -> Iterator[list[ObjectChange]]:
        """All changes to come, up to a time of `time.monotonic`; for ever without one."""
        while deadline is None or (left := deadline - time.monotonic()) > 0:
            if changes := self.changes(None if deadline is None else left):
                yield changes


def _uid(o: _Raw) -> str:
    return str(o["metadata"]["uid"])


def _version(o: _Raw) -> str:
    """What changes with an object; Endpoints that nobody wrote have no version of their own."""
    return str(o["metadata"].get("resourceVersion") or o)
