"""The probes of a container that somebody else runs: what they make of its state, and what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from emulab.kinds.core.podspec import Container
from emulab.lab.kubelet import prober
from emulab.lab.kubelet.podstatus import ContainerState
from emulab.lab.kubelet.prober import Prober
from emulab.lab.kubelet.probes import Verdict
from emulab.lab.kubelet.telling import Said, backing_off, in_go, unwell, why_waiting

PROBE = {"tcpSocket": {"port": 80}, "periodSeconds": 0.001, "failureThreshold": 2}
WELL, ILL = Verdict(True), Verdict(False, "dial tcp 10.244.1.2:80: connect: connection refused")
UNKNOWN = Verdict(None, 'strconv.Atoi: parsing "web": invalid syntax')


def container(**fields: Any) -> Container:
    return Container.of({"name": "c", **fields})


class Pod:
    """What a prober knows of a pod. A container that fails its probes lives anew."""

    def __init__(self) -> None:
        self.terminating = self.unready = False
        self.one = ContainerState("c", "i", running=True)
        self.told: list[Said] = []
        self.failed: list[str] = []

    def state(self, _: Container) -> ContainerState:
        return self.one

    def report(self) -> None:
        pass

    def tell(self, _: Container, said: Said) -> None:
        self.told.append(said)

    async def fail(self, _: Container, probe: str) -> None:
        self.failed.append(probe)
        self.one.restarts += 1


async def probed(
    monkeypatch: pytest.MonkeyPatch,
    pod: Pod,
    one: Container,
    verdicts: list[Verdict],
    until: Callable[[], bool],
) -> None:
    """Probes it with these verdicts, one after the other, and the last one again and again."""
    tries: Iterator[Verdict] = iter(verdicts)

    async def attempt(*_: Any) -> Verdict:
        return next(tries, verdicts[-1])

    monkeypatch.setattr(prober, "attempt", attempt)
    work = asyncio.ensure_future(Prober(one, None, pod).run())  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        while not until():
            await asyncio.sleep(0)
    work.cancel()


async def test_every_failure_is_told_and_enough_of_them_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = Pod()
    verdicts = [WELL, ILL, WELL, ILL, UNKNOWN, ILL]
    await probed(monkeypatch, pod, container(readinessProbe=PROBE), verdicts, lambda: len(pod.told) == 4)
    failed = Said("Unhealthy", f"Readiness probe failed: {ILL.output}", "Warning")
    unknown = f"Readiness probe errored and resulted in unknown state: {UNKNOWN.output}"
    assert pod.told == [failed, failed, Said("Unhealthy", unknown, "Warning"), failed]
    assert not pod.one.ready and pod.failed == []


async def test_what_cannot_be_tried_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = Pod()
    await probed(monkeypatch, pod, container(livenessProbe=PROBE), [UNKNOWN], lambda: len(pod.told) == 5)
    assert pod.failed == []


async def test_a_life_ends_with_its_liveness_and_the_next_is_probed_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pod = Pod()
    one = container(livenessProbe=PROBE, readinessProbe=PROBE)
    await probed(monkeypatch, pod, one, [ILL], lambda: len(pod.failed) == 2)
    assert pod.failed == ["Liveness", "Liveness"]
    assert {said.message.partition(" ")[0] for said in pod.told} == {"Liveness", "Readiness"}


async def test_others_wait_for_the_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = Pod()
    one = container(startupProbe=PROBE, livenessProbe=PROBE)
    await probed(monkeypatch, pod, one, [ILL, ILL, ILL, WELL, ILL], lambda: len(pod.failed) == 2)
    assert pod.failed == ["Startup", "Liveness"]
    assert [said.message.partition(" ")[0] for said in pod.told] == [*["Startup"] * 3, *["Liveness"] * 2]


async def test_who_has_started_is_not_asked_again_whether_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    pod, loop = Pod(), asyncio.get_running_loop()
    begin = loop.time()
    one = container(startupProbe=PROBE)
    await probed(monkeypatch, pod, one, [ILL, WELL, ILL], lambda: loop.time() - begin > 0.1)
    assert len(pod.told) == 1 and pod.failed == [] and pod.one.started

    def ends() -> None:
        pod.one.restarts += 1

    loop.call_later(0.02, ends)
    await probed(monkeypatch, pod, one, [WELL, ILL], lambda: bool(pod.failed))
    assert pod.failed == ["Startup"]


async def test_a_pod_that_ends_is_no_longer_asked_whether_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = Pod()
    work = probed(monkeypatch, pod, container(livenessProbe=PROBE), [ILL, WELL], lambda: pod.terminating)
    asyncio.get_running_loop().call_later(0.05, lambda: setattr(pod, "terminating", True))
    await work
    told = len(pod.told)
    await asyncio.sleep(0.02)
    assert len(pod.told) == told and pod.failed == []


@pytest.mark.parametrize(
    ("init", "restarted", "message"),
    [
        (False, True, "Container c failed liveness probe, will be restarted"),
        (False, False, "Container c failed liveness probe"),
        (True, True, "Init container c failed liveness probe"),
    ],
)
def test_why_a_container_is_ended(init: bool, restarted: bool, message: str) -> None:
    assert unwell(container(), "Liveness", init, restarted) == ("Killing", message, "Normal")


def test_what_is_said_while_a_restart_is_put_off() -> None:
    assert backing_off("c", "p_default(u)") == (
        "BackOff",
        "Back-off restarting failed container c in pod p_default(u)",
        "Warning",
    )
    assert why_waiting(80, "c", "p_default(u)") == (
        "back-off 1m20s restarting failed container=c pod=p_default(u)"
    )
    assert [in_go(seconds) for seconds in (1, 40, 60, 300)] == ["1s", "40s", "1m0s", "5m0s"]
    assert [in_go(seconds) for seconds in (0, 0.0005, 0.2, 1.5, 9)] == ["0s", "0.5ms", "200ms", "1.5s", "9s"]


async def test_who_begins_anew_is_asked_after_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in learns of its new life by then, as a program would have begun to serve."""
    pod, loop = Pod(), asyncio.get_running_loop()
    pod.one.restarts = 1
    probe = {**PROBE, "periodSeconds": 0.2}
    for one in (container(livenessProbe=probe), container(startupProbe=probe)):
        pod.told, begin = [], loop.time()
        await probed(monkeypatch, pod, one, [ILL], lambda: bool(pod.told))
        assert loop.time() - begin >= 0.19


async def test_a_fault_lets_readiness_fail_whatever_the_program_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = Pod()
    pod.unready = True
    probe = {**PROBE, "tcpSocket": None, "httpGet": {"port": 80}}
    await probed(monkeypatch, pod, container(readinessProbe=probe), [WELL], lambda: len(pod.told) > 1)
    assert not pod.one.ready and {said.reason for said in pod.told} == {"Unhealthy"}
