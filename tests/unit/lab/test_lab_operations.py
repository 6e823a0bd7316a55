"""The operations of a lab that are under way at the same time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulab.cluster.store import Store
from emulab.errors import ManifestError, UserError
from emulab.kernel import probe
from emulab.kinds.registry import CLUSTER, SERVICE
from emulab.lab.images.held import Images
from emulab.lab.supervisor.operations import Operations
from emulab.model.objects import Object


class Busy:
    """A reconciler with other work to do before any change."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def change(self, work: Callable[[Store], None], _: Callable[[str], None]) -> None:
        await asyncio.sleep(0.05)
        work(self._store)


def service(name: str) -> str:
    spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30777}]}
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})


def test_of_what_is_in_conflict_and_comes_at_the_same_time_the_first_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "lack_of", lambda mode, scheduler, ipv6: "")
    store = Store()
    operations = Operations(
        cast(Any, SimpleNamespace(store=store, images=Images(Path("/nonexistent")))),
        cast(Any, None),
        cast(Any, Busy(store)),
        1,
        lambda: None,
        lambda: None,
    )

    async def run() -> list[Any]:
        def apply(text: str) -> Any:
            return operations.apply({"sources": [["text", text]]}, lambda _: None)

        await apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))
        return await asyncio.gather(*(apply(service(n)) for n in ("one", "two")), return_exceptions=True)

    first, second = asyncio.run(run())
    assert first["applied"] == [["service/one", "created"]]
    assert isinstance(second, ManifestError) and "30777 is already that of Service/default/one" in str(second)
    assert "two" not in [o.name for o in store.objects().kind(SERVICE)]


def delete(spec: dict[str, Any]) -> None:
    """Deletes the Cluster object of this spec from a lab. Raises UserError when it is refused."""
    raw = {"apiVersion": CLUSTER.api_version, "kind": "Cluster", "metadata": {"name": "c"}, "spec": spec}
    store = Store()
    store.put(Object(raw))
    around = cast(Any, SimpleNamespace(store=store, images=Images(Path("/nonexistent"))))
    operations = Operations(around, cast(Any, None), cast(Any, Busy(store)), 1, lambda: None, lambda: None)
    outcome = asyncio.run(operations.delete({"keys": [[*CLUSTER.key("", "c")]]}, lambda _: None))
    for reason, message, _ in outcome["refused"]:
        assert reason == "Forbidden" and store.objects().kind(CLUSTER)
        raise UserError(message)
    assert not store.objects().kind(CLUSTER)


def test_what_a_lab_stands_on_is_not_deleted() -> None:
    for spec, field in [
        ({"podCIDR": "10.8.0.0/16"}, "podCIDR"),
        ({"serviceCIDR": "10.8.0.0/16"}, "serviceCIDR"),
        ({"clusterDomain": "lab"}, "clusterDomain"),
        ({"network": {"underlay": "172.16.0.0/16"}}, "network.underlay"),
    ]:
        with pytest.raises(UserError, match=rf"^Cluster/c: spec\.{field} can't be changed in a running lab"):
            delete(spec)
    delete({"nodes": 3})
