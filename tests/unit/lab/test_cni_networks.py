"""The networks of pods that plug-ins make: who is called when, and what is told of it. The programs are ours here."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from lab_objects import obj, place, pod

from emulab.cluster.events import Recorder
from emulab.cluster.store import Store
from emulab.kernel.netns import Handle
from emulab.kinds.registry import EVENT, POD
from emulab.lab.cni import networks
from emulab.lab.cni.configuration import PluginError
from emulab.lab.cni.networks import PodNetworks
from emulab.plan.pods import identity

P = POD.key("default", "p")
CLUSTER = {"network": {"cni": {"plugins": [{"type": "one"}, {"type": "two"}]}}}
RESULT = {
    "interfaces": [{"name": "eth0", "sandbox": "x"}],
    "ips": [{"address": "10.244.1.2/24", "interface": 0}],
}


class Programs:
    """Plug-ins that note their calls, and fail as often as they are told to."""

    folders = ("/bin",)

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str, Any]] = []  # command, plug-in, container, what was before
        self.failing: dict[tuple[str, str], int] = {}

    async def run(
        self, node: str, plugin: str, environment: dict[str, str], told: bytes, namespace: int, path: str
    ) -> bytes:
        assert node == "node1" and path == environment["CNI_NETNS"]
        os.fstat(namespace)
        command = environment["CNI_COMMAND"]
        self.calls.append(
            (command, plugin, environment["CNI_CONTAINERID"], json.loads(told).get("prevResult"))
        )
        left = self.failing.get((command, plugin), 0)
        if left:
            self.failing[command, plugin] = left - 1
            raise PluginError("no cable")
        return json.dumps({**RESULT, "by": plugin}).encode()

    def release(self) -> None:
        pass

    def forget(self, node: str, path: str) -> None:
        pass

    @property
    def commands(self) -> list[tuple[str, str]]:
        return [(command, plugin) for command, plugin, _, _ in self.calls]


class World:
    """A store with a Pod that is about to get its network, on a node that is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **pod_fields: Any) -> None:
        monkeypatch.setattr(networks, "_FIRST", 0.0)
        self.store, self.programs, self.changed = Store(), Programs(), 0
        place(self.store, obj("Cluster", namespace="", spec=CLUSTER))
        place(
            self.store,
            obj("Node", "node1", "", spec={"podCIDRs": ["10.244.1.0/24"]}, status={"address": "10.0.0.11"}),
        )
        given = place(self.store, pod("p", spec={"nodeName": "node1"}, **pod_fields))
        self.null = os.open("/dev/null", os.O_RDONLY)
        self.handles = {name: Handle(name, self.null, None) for name in ("node1", identity(given))}
        around: Any = SimpleNamespace(
            store=self.store, handles=self.handles, events=Recorder(self.store), changed=self._change
        )
        self.networks = PodNetworks(around)
        self.networks._programs = self.programs  # type: ignore[assignment]

    def _change(self) -> None:
        self.changed += 1

    @property
    def status(self) -> dict[str, Any]:
        found = self.store.get(P)
        assert found is not None
        return dict(found.status)

    def told(self) -> list[tuple[str, str]]:
        return [(str(o.raw["reason"]), str(o.raw["message"])) for o in self.store.objects().kind(EVENT)]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        """The Pod goes, and with it what is done for it."""
        self.store.remove(P)
        self.networks.sync()
        await asyncio.gather(*self.networks._tasks, return_exceptions=True)
        os.close(self.null)


async def test_a_pod_gets_what_the_chain_says(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.networks.sync()
    await world.until(lambda: world.status.get("podIPs"))
    assert world.status["podIP"] == "10.244.1.2"
    assert world.programs.commands == [("ADD", "one"), ("ADD", "two")]
    (_, _, container, nothing), (_, _, same, before) = world.programs.calls
    assert nothing is None and before["by"] == "one", "each is told what the one before it answered"
    assert container == same and len(container) == 64
    assert world.changed
    world.networks.sync()  # as after every application of a plan
    assert len(world.programs.calls) == 2
    await world.close()
    assert world.programs.commands[2:] == [("DEL", "two"), ("DEL", "one")], "the last one first"
    assert {(call[2], call[3]["by"]) for call in world.programs.calls[2:]} == {(container, "two")}


async def test_a_chain_that_fails_is_undone_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.programs.failing["ADD", "two"] = 1
    world.networks.sync()
    await world.until(lambda: world.status.get("podIPs"))
    adds, undone = [("ADD", "one"), ("ADD", "two")], [("DEL", "two"), ("DEL", "one")]
    assert world.programs.commands == [*adds, *undone, *adds]
    first, again = world.programs.calls[0][2], world.programs.calls[4][2]
    assert first != again, "it is a new sandbox"
    assert {call[2] for call in world.programs.calls[:4]} == {first}
    ((reason, message),) = world.told()
    assert reason == "FailedCreatePodSandBox"
    assert message == (
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "
        f'"{first}": plugin type="two" failed (add): no cable'
    )
    await world.close()


async def test_the_status_says_what_the_containers_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.programs.failing["ADD", "one"] = 1000
    monkeypatch.setattr(networks, "_FIRST", 60.0)
    world.networks.sync()
    await world.until(lambda: world.status.get("containerStatuses"))
    (container,) = world.status["containerStatuses"]
    waiting = container["state"]["waiting"]
    assert waiting["reason"] == "ContainerCreating" and 'plugin type="one" failed (add)' in waiting["message"]
    assert "podIPs" not in world.status and world.status["phase"] == "Pending"
    await world.close()


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_pod_that_has_ended_needs_no_network(monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    world = World(monkeypatch)
    world.networks.sync()
    await world.until(lambda: world.status.get("podIPs"))
    world.store.set_status(P, phase=phase)
    world.networks.sync()
    await world.until(lambda: len(world.programs.calls) == 4)
    await world.close()
    assert world.programs.commands[2:] == [("DEL", "two"), ("DEL", "one")], "and only once"


async def test_what_cannot_be_undone_keeps_nothing_else_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.networks.sync()
    await world.until(lambda: world.status.get("podIPs"))
    world.programs.failing["DEL", "two"] = 1
    await world.close()
    assert world.programs.commands[2:] == [("DEL", "two"), ("DEL", "one")]


async def test_a_network_that_is_not_as_it_was_made_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "CHECKED_AFTER", 0.01)
    world = World(monkeypatch)
    world.programs.failing["CHECK", "two"] = 3
    world.networks.sync()
    await world.until(lambda: len(world.told()) == 2)
    failed, mended = world.told()
    assert failed[0] == "NetworkCheckFailed" and 'plugin type="two" failed (check): no cable' in failed[1]
    assert mended[0] == "NetworkChecked"
    checks = [call for call in world.programs.calls if call[0] == "CHECK"]
    assert all(before["by"] == "two" for _, _, _, before in checks), "all are told the whole result"
    await world.close()


async def test_pods_that_share_their_nodes_network_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    found = world.store.get(P)
    assert found is not None
    world.store.put(found.replace(spec={**found.spec, "hostNetwork": True}))
    world.networks.sync()
    await asyncio.sleep(0)
    assert world.programs.calls == []
    await world.close()
