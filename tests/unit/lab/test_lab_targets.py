"""What a user names, and what there is of it at the moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lab_objects import obj

from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.lab.supervisor.targets import find_place


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
    place, pod = find_place(surroundings("client", "default.web~1"), target, "default")
    assert place.name == "default.web" and pod is not None and pod.name == "web"
    with pytest.raises(UserError, match=rf"^{target}: its network is being taken away$"):
        find_place(surroundings("client"), target, "default")
    assert find_place(surroundings("client"), "client", "default")[1] is None
