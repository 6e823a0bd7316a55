"""What a user names, and what there is of it at the moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lab_objects import obj, place

from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.lab.supervisor.targets import find_place, find_pod


def surroundings(*namespaces: str) -> Any:
    """A lab with a client and a pod, of whose namespaces these are there."""
    store = Store()
    store.put(obj("Pod", "web"))
    places = {
        "client": SimpleNamespace(name="client", kind="client", namespace="client"),
        "default.web": SimpleNamespace(name="default.web", kind="pod", namespace="default.web~1"),
    }
    handles = dict.fromkeys(namespaces)
    return SimpleNamespace(world=SimpleNamespace(places=places), store=store, handles=handles)


@pytest.mark.parametrize("target", ["pod/web", "web", "default.web"])
def test_a_pod_whose_namespace_is_being_taken_away(target: str) -> None:
    """The reconciler does that before the lab's world is the one without it."""
    found, pod = find_place(surroundings("client", "default.web~1"), target, "default")
    assert found.name == "default.web" and pod is not None and pod.name == "web"
    with pytest.raises(UserError, match=rf"^{target}: its network is being taken away$"):
        find_place(surroundings("client"), target, "default")
    assert find_place(surroundings("client"), "client", "default")[1] is None


def test_a_pod_behind_a_service() -> None:
    around = surroundings("default.web~1")
    place(
        around.store,
        obj("Pod", "web", metadata={"labels": {"app": "web"}}, status={"podIPs": [{"ip": "10.244.1.2"}]}),
    )
    around.store.put(obj("Service", "front", spec={"selector": {"app": "web"}}))
    around.store.put(obj("Service", "outside", spec={"type": "ExternalName"}))
    assert find_pod(around, "svc/front", "default").name == "web"
    for target, why in (
        ("svc/outside", "service 'outside' has no selector, so no pods are behind it"),
        ("svc/none", "service 'none' not found in namespace default"),
        ("cm/a", "cm/a: a target is a place, pod/NAME, deploy/NAME or svc/NAME"),
    ):
        with pytest.raises(UserError, match=f"^{why}$"):
            find_pod(around, target, "default")
