"""A pod worker without a kernel: what becomes of a pod whose init container fails, and what is told of containers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lab_objects import place, pod
from patience import until

from emulab.cluster.events import Recorder
from emulab.cluster.store import Store
from emulab.kinds.registry import EVENT, POD
from emulab.lab.kubelet.harmed import UNHARMED
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.podworker import PodWorker

P = POD.key("default", "p")


class Runner:
    """A container that ends with a status at once."""

    def __init__(self, name: str, status: int) -> None:
        self.state = ContainerState(name, "i")
        self.id = ""
        self._status = status

    async def run(self) -> None:
        self.state.exit_status, self.state.done = self._status, True


def worker(store: Store, statuses: dict[str, int], monkeypatch: pytest.MonkeyPatch, **spec: Any) -> PodWorker:
    metadata = spec.pop("metadata", {})
    place(
        store,
        pod(metadata=metadata, spec=spec, status={"podIPs": [{"ip": "10.244.1.2"}], "phase": "Pending"}),
    )
    around: Any = SimpleNamespace(
        store=store,
        changed=lambda: None,
        world=None,
        servers=SimpleNamespace(
            running=lambda _: True,
            restarts={},
            exits={},
            flush=nothing,
            order=nothing,
            keep_order=lambda *_: None,
            put_off=lambda _: 0.0,
        ),
        events=Recorder(store),
        processes=None,
        folder=Path("/nowhere"),
        harmed=UNHARMED,
        logs=SimpleNamespace(of=lambda *_: SimpleNamespace(remove=lambda: None, begin_again=lambda: None)),
    )
    stored = store.get(P)
    assert stored is not None
    made = PodWorker(around, stored, asyncio.ensure_future)
    monkeypatch.setattr(made, "_runner", lambda c, policy: Runner(c.name, statuses[c.name]))
    return made


async def nothing(*_: Any) -> None:
    pass


def phase(store: Store) -> str:
    found = store.get(P)
    assert found is not None
    return str(found.status["phase"])


INIT = [{"name": n, "image": "i", "command": [n]} for n in ("one", "two")]


async def test_a_failed_init_container_fails_the_pod_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    made = worker(store, {"one": 1, "two": 0}, monkeypatch, initContainers=INIT, restartPolicy="Never")
    made.start()
    await asyncio.gather(*made._tasks)
    assert phase(store) == "Failed"
    made.refresh()  # as after every application of the plan
    assert phase(store) == "Failed"


async def test_init_containers_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    made = worker(store, {"one": 0, "two": 0, "main": 0}, monkeypatch, initContainers=INIT,
                  containers=[{"name": "main", "image": "i", "command": ["x"]}], restartPolicy="Never")  # fmt: skip
    made.start()
    await asyncio.gather(*made._tasks)
    assert list(made.runners) == ["main"]
    await asyncio.gather(*made._tasks)
    made.refresh()
    assert phase(store) == "Succeeded"


async def test_a_stand_in_of_a_job_has_done_its_work_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    owner = {"kind": "Job", "name": "j", "uid": "1", "controller": True}
    made = worker(store, {}, monkeypatch, metadata={"ownerReferences": [owner]}, restartPolicy="Never")
    made.start()
    made.refresh()
    assert phase(store) == "Succeeded"


async def test_a_worker_of_a_pod_that_was_replaced_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    made = worker(store, {}, monkeypatch)
    store.remove(P)
    place(store, pod(metadata={"uid": "other"}, status={"phase": "Pending"}))
    made.report()
    assert phase(store) == "Pending" and "containerStatuses" not in (store.get(P) or pod()).status


async def test_a_pod_that_has_ended_and_is_held_by_finalizers_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    made = worker(
        store,
        {},
        monkeypatch,
        terminationGracePeriodSeconds=0,
        initContainers=[{"name": "one", "image": "i"}],
    )
    held = store.get(P)
    assert held is not None
    store.put(held.replace(metadata={**held.metadata, "finalizers": ["a.b/c"]}))
    made.refresh()
    assert phase(store) == "Pending"
    store.delete(P)
    made.terminate(store.get(P) or pod())
    await asyncio.gather(*(t for t in asyncio.all_tasks() if t is not asyncio.current_task()))
    made.refresh()  # the stand-in's process still runs, for others
    ended = store.get(P)
    assert ended is not None and ended.status["phase"] == "Succeeded"
    (container,) = ended.status["containerStatuses"]
    assert not container["ready"] and container["state"]["terminated"]["exitCode"] == 0
    assert {c["type"]: c["status"] for c in ended.status["conditions"]}["Ready"] == "False"


async def test_what_ends_before_its_container_may_begin_is_no_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a server that doesn't start before the ConfigMap is there for which its Pod waits, say."""
    store = Store()
    made = worker(store, {}, monkeypatch, initContainers=[{"name": "one", "image": "i"}])
    servers = made._around.servers
    monkeypatch.setattr(servers, "running", lambda _: False)
    monkeypatch.setattr(servers, "put_off", lambda _: 10.0)
    (container,) = made.spec.containers
    made._launch(container)
    for number in (1, 2):
        servers.restarts["stand-ins"] = number
        made.refresh()
    state = made.state(container)
    assert (state.restarts, state.waiting, state.exit_status) == (0, "", None)


async def test_a_restart_is_counted_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of programs: kubectl's RESTARTS of a container in CrashLoopBackOff are those that it had."""
    store = Store()
    made = worker(store, {}, monkeypatch)
    servers, running, pause = made._around.servers, False, 0.0
    monkeypatch.setattr(servers, "running", lambda _: running)
    monkeypatch.setattr(servers, "put_off", lambda _: pause)
    made.start()
    await asyncio.gather(*made._tasks)
    (container,) = made.spec.containers
    made.refresh()
    state, seen = made.state(container), []
    for number, pause in ((1, 0.0), (2, 10.0), (3, 20.0)):  # noqa: B007
        servers.restarts["stand-ins"] = number
        made.refresh()
        seen.append((state.restarts, state.waiting))
    running = True
    made.refresh()
    assert seen == [(1, ""), (1, "CrashLoopBackOff"), (2, "CrashLoopBackOff")]
    assert (state.restarts, state.waiting, state.running) == (3, "", True)


def told(store: Store) -> list[tuple[str, str, str, int]]:
    """Reason, field, message and count of each Event, in order."""
    return [
        (o.raw["reason"], o.raw["involvedObject"]["fieldPath"], o.raw["message"], o.raw["count"])
        for o in store.objects().kind(EVENT)
    ]


def start(field: str, name: str, count: int = 1) -> list[tuple[str, str, str, int]]:
    where = f"spec.{field}{{{name}}}"
    created, started = f"Created container: {name}", f"Started container {name}"
    return [("Created", where, created, count), ("Started", where, started, count)]


async def test_of_stand_ins_and_servers_it_is_told_when_they_begin_and_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store()
    made = worker(store, {}, monkeypatch, initContainers=[{"name": "one", "image": "i"}])
    made.start()
    await asyncio.gather(*made._tasks)
    for _ in range(2):
        made.refresh()
    assert told(store) == [*start("initContainers", "one"), *start("containers", "c")]
    servers = made._around.servers
    servers.restarts["stand-ins"] = 1  # it has ended and begun since it was looked at
    made.refresh()
    made.refresh()
    assert told(store) == [*start("initContainers", "one"), *start("containers", "c", 2)]
    servers.restarts["stand-ins"] = 2
    monkeypatch.setattr(servers, "running", lambda _: False)
    made.refresh()
    monkeypatch.setattr(servers, "running", lambda _: True)
    made.refresh()
    assert told(store) == [*start("initContainers", "one"), *start("containers", "c", 3)]
    (container,) = made.spec.containers
    await made.fail(container, "Liveness")
    where = "spec.containers{c}"
    killed = ("Killing", where, "Container c failed liveness probe, will be restarted", 1)
    assert told(store) == [*start("initContainers", "one"), *start("containers", "c", 4), killed]
    state = made.state(container)
    assert (state.restarts, state.ready) == (3, True)
    monkeypatch.setattr("emulab.lab.kubelet.ending.DRAIN", 0)
    await made._end(0)
    assert told(store)[-1] == ("Killing", where, "Stopping container c", 1)


async def test_a_container_in_a_back_off_does_not_end_with_the_process_of_stand_ins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = worker(Store(), {}, monkeypatch)
    made.start()
    await asyncio.gather(*made._tasks)
    made.refresh()
    (container,) = made.spec.containers
    state = made.state(container)
    await made.fail(container, "Liveness")
    failing = asyncio.ensure_future(made.fail(container, "Liveness"))
    await until(lambda: state.waiting == "CrashLoopBackOff")
    made._around.servers.restarts["stand-ins"] = 1
    made.refresh()
    assert (state.restarts, state.running, state.waiting) == (1, False, "CrashLoopBackOff")
    failing.cancel()
    made.abandon()
