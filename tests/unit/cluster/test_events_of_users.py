"""Events that users bring, in either of their API groups."""

from __future__ import annotations

from typing import Any

from manifest_texts import accepted, refused

from emulab.cluster.events import TTL, Recorder
from emulab.cluster.store import Store
from emulab.kinds.registry import EVENT

NEW: dict[str, Any] = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"name": "web.1"},
    "eventTime": "2023-11-14T22:13:20.000000Z",
    "regarding": {"kind": "Pod", "name": "web", "namespace": "default"},
    "note": "it happened",
    "reason": "Happened",
    "type": "Normal",
    "action": "Happening",
    "reportingController": "example.com/me",
    "reportingInstance": "me-1",
}


def test_an_event_of_the_new_group_is_kept_by_the_old_names() -> None:
    (o,) = accepted(NEW)
    assert o.type == EVENT and o.raw["apiVersion"] == "v1"
    assert (o.raw["involvedObject"]["name"], o.raw["message"]) == ("web", "it happened")
    assert o.raw["reportingComponent"] == "example.com/me"
    cells, wide = EVENT.definition.columns.cells(o.raw, 1_700_000_005.0)
    assert cells == ["5s", "Normal", "Happened", "pod/web", "it happened"] and wide[3] == "1"
    series = {"count": 4, "lastObservedTime": "2023-11-14T22:13:23.000000Z"}
    (o,) = accepted({**NEW, "series": series})
    cells, wide = EVENT.definition.columns.cells(o.raw, 1_700_000_005.0)
    assert cells[0] == "2s" and wide[3] == "4"


def test_what_it_may_not_say() -> None:
    assert refused({**NEW, "type": "Odd"}) == ['type: "Odd" is not one of Normal, Warning']
    assert 'unknown field "nota"' in refused({**NEW, "nota": "x"})[0]


def test_it_goes_when_it_is_old() -> None:
    store, (o,) = Store(), accepted(NEW)
    store.put(o)
    recorder = Recorder(store)
    recorder.sweep(1_700_000_000.0 + TTL - 1)
    assert store.get(o.key)
    recorder.sweep(1_700_000_000.0 + TTL + 1)
    assert not store.get(o.key)
