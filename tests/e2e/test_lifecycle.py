"""How containers and their stand-ins live and end: restart rules, hooks, redirects, gates, logs of before."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from emulab import EmulabError, Lab

from .tools import emulab, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
WORLD = "{apiVersion: emulab.dev/v1, kind: Cluster, metadata: {name: c}, spec: {nodes: 1}}"
ILL = {"periodSeconds": 1, "failureThreshold": 1, "exec": {"command": ["false"]}}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(
        "{apiVersion: emulab.dev/v1, kind: Cluster, metadata: {name: c}, spec: {nodes: 1}}"
    ) as made:
        yield made


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> str:
    whole = {"containers": [{"image": "x", **c} for c in containers], **spec}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole})


def shell(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "command": ["sh", "-c", script], **more}


async def status_of(lab: Lab, name: str) -> dict[str, Any]:
    found = await lab.get("Pod", name, "default")
    return dict(found[0].get("status") or {}) if found else {}


async def container_of(
    lab: Lab, name: str, index: int = 0, field: str = "containerStatuses"
) -> dict[str, Any]:
    statuses = (await status_of(lab, name)).get(field) or ()
    return dict(statuses[index]) if len(statuses) > index else {}


async def events_of(lab: Lab, name: str) -> list[tuple[str, str]]:
    return [
        (o["reason"], o["message"])
        for o in await lab.get("Event", namespace="default")
        if o["involvedObject"]["name"] == name
    ]


async def row(lab: Lab, name: str) -> list[str]:
    """READY, STATUS and RESTARTS."""
    return (await emulab("-l", lab.name, "get", "pod", name)).text.splitlines()[-1].split()[1:4]


async def test_a_rule_starts_again_what_its_policy_doesnt(lab: Lab) -> None:
    """KEP-5307: of two containers that end alike, the rule's is started again, and the Pod goes on."""
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    one = shell("ruled", "exit 42", restartPolicy="Never", restartPolicyRules=rules)
    await lab.apply(pod("rules", one, shell("plain", "exit 42"), restartPolicy="Never"), ready=False)

    async def restarted() -> bool:
        over = (await container_of(lab, "rules", 1)).get("state", {})
        return "terminated" in over and bool((await container_of(lab, "rules")).get("restartCount"))

    await eventually(restarted)
    plain = await container_of(lab, "rules", 1)
    assert plain["state"]["terminated"]["exitCode"] == 42 and plain["restartCount"] == 0
    assert (await status_of(lab, "rules"))["phase"] == "Running"
    await lab.delete("Pod", "rules")


async def test_a_container_says_why_it_ends(lab: Lab) -> None:
    """In the file that is there for it, whatever it prints; one of a path of its own, and one that ended well."""
    said = "echo printed; printf 'because %s' \"$(id -u)\" > "
    bad = shell("bad", f"{said} /dev/termination-log; exit 3")
    own = shell("own", f"{said} /my/message; exit 0", terminationMessagePath="/my/message")
    mute = shell("mute", "echo more; echo printed; exit 3")
    log = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    printed, well = shell("log", "echo more; echo printed; exit 3", **log), shell("well", "echo more", **log)
    await lab.apply(pod("reasons", bad, own, mute, printed, well, restartPolicy="Never"), ready=False)

    async def over() -> bool:
        return (await status_of(lab, "reasons")).get("phase") == "Failed"

    await eventually(over)
    ends = [(await container_of(lab, "reasons", n))["state"]["terminated"] for n in range(5)]
    assert [end.get("message") for end in ends] == [
        *("because 0", "because 0", "printed", "more\nprinted\n", None)
    ]
    await lab.delete("Pod", "reasons")


async def test_a_container_has_its_own_policy(lab: Lab) -> None:
    once = shell("once", "exit 0", restartPolicy="Never")
    others = shell("other", "exec sleep 1000")
    await lab.apply(pod("own-policy", once, others, terminationGracePeriodSeconds=0), ready=False)

    async def ended() -> bool:
        return "terminated" in (await container_of(lab, "own-policy")).get("state", {})

    await eventually(ended)
    assert (await container_of(lab, "own-policy"))["state"]["terminated"]["reason"] == "Completed"
    await lab.delete("Pod", "own-policy")


async def test_rules_without_a_policy_are_refused(lab: Lab) -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]
    with pytest.raises(EmulabError, match="must specify restartPolicy when restart rules are used"):
        await lab.apply(pod("bad", shell("c", "exit 1", restartPolicyRules=rules)))


async def test_a_hook_may_sleep(lab: Lab) -> None:
    """postStart keeps a container from being said to run, preStop keeps a stand-in there."""
    hooks = {"postStart": {"sleep": {"seconds": 2}}, "preStop": {"sleep": {"seconds": 3}}}
    ports = [{"containerPort": 80}]
    begun = time.monotonic()
    await lab.apply(pod("sleeps", {"name": "c", "ports": ports, "lifecycle": hooks}))
    assert time.monotonic() - begun > 1.9
    begun = time.monotonic()
    await lab.delete("Pod", "sleeps", "default")

    async def gone() -> bool:
        return not await status_of(lab, "sleeps")

    await eventually(gone)
    assert 2.9 < time.monotonic() - begun < 60
    long = {"preStop": {"sleep": {"seconds": 5}}}
    body = pod("too-long", {"name": "c", "lifecycle": long}, terminationGracePeriodSeconds=2)
    with pytest.raises(
        EmulabError, match=r"must be non-negative and less than terminationGracePeriodSeconds \(2\)"
    ):
        await lab.apply(body)


async def test_a_grace_period_of_one_second_ends_who_is_deaf(lab: Lab) -> None:
    """The kubelet gives two seconds at the least between SIGTERM and SIGKILL."""
    deaf = shell("c", "trap '' TERM; while :; do sleep 0.1; done")
    await lab.apply(pod("deaf", deaf, terminationGracePeriodSeconds=1))
    begun = time.monotonic()
    done = await emulab("-l", lab.name, "delete", "pod", "deaf")
    assert done.status == 0
    assert 1.9 < time.monotonic() - begun < 20


async def test_who_asks_again_may_give_less_time(lab: Lab) -> None:
    deaf = shell("c", "trap '' TERM; while :; do sleep 0.1; done")
    await lab.apply(pod("patient", deaf, terminationGracePeriodSeconds=300))
    begun = time.monotonic()
    first = await emulab("-l", lab.name, "delete", "pod", "patient", "--wait=false")
    again = await emulab("-l", lab.name, "delete", "pod", "patient", "--grace-period=3")
    assert (first.status, again.status) == (0, 0), again.stderr
    assert 2.5 < time.monotonic() - begun < 60
    assert not await status_of(lab, "patient")


async def test_hooks_of_sidecars_run_with_those_of_the_others(lab: Lab) -> None:
    """Their signals don't: those come when the others have ended."""
    hook = {"preStop": {"sleep": {"seconds": 4}}}
    loop = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
    side = {"image": "x", **shell("side", loop, restartPolicy="Always", lifecycle=hook)}
    await lab.apply(pod("hooks", shell("main", loop, lifecycle=hook), initContainers=[side]))
    begun = time.monotonic()
    done = await emulab("-l", lab.name, "delete", "pod", "hooks")
    assert done.status == 0 and 3.9 < time.monotonic() - begun < 7.9


async def test_redirects_of_probes(lab: Lab) -> None:
    """K8: to the same host they are followed; one to another host is a success of which a warning tells."""

    def asked(path: str) -> dict[str, Any]:
        probe = {"periodSeconds": 1, "failureThreshold": 1, "httpGet": {"path": path, "port": 8080}}
        return {"name": "c", "image": AGNHOST, "args": ["netexec"], "readinessProbe": probe}

    ill, well = "/redirect?location=/echo%3Fcode=503", "/redirect?location=/echo%3Fcode=201"
    away = "/redirect?location=http://198.51.100.99/"
    await lab.apply(pod("ill", asked(ill)), ready=False)
    for name, path in (("well", well), ("away", away)):
        await lab.apply(pod(name, asked(path)), ready=False)

        async def ready(name: str = name) -> bool:
            return bool((await container_of(lab, name)).get("ready"))

        await eventually(ready)

    async def told(name: str, reason: str, text: str) -> None:
        async def there() -> bool:
            return any(r == reason and text in m for r, m in await events_of(lab, name))

        await eventually(there)

    await told("ill", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")
    await told("away", "ProbeWarning", "Readiness probe warning: Probe terminated redirects, Response body: ")
    assert not (await container_of(lab, "ill"))["ready"]
    for name in ("ill", "well", "away"):
        await lab.delete("Pod", name, "default")


async def test_a_stand_in_has_a_log_of_before(lab: Lab) -> None:
    probe = {"periodSeconds": 1, "httpGet": {"path": "/healthz", "port": 8080}}
    body = {"name": "c", "image": AGNHOST, "args": ["liveness"]}
    await lab.apply(pod("lives", {**body, "livenessProbe": probe}), ready=False)

    async def restarted() -> bool:
        return bool((await container_of(lab, "lives")).get("restartCount"))

    assert (await emulab("-l", lab.name, "logs", "lives", "-p")).status == 1
    await eventually(restarted)

    async def earlier() -> str:
        return (await emulab("-l", lab.name, "logs", "lives", "-p")).stdout.decode()

    before = await eventually(earlier)
    assert '"GET /healthz HTTP/1.1" 500' in before.splitlines()[-1]
    now = (await emulab("-l", lab.name, "logs", "lives")).stdout.decode()
    assert before.splitlines()[-1] not in now
    await lab.delete("Pod", "lives", "default")


async def test_restarts_of_init_containers_are_counted_while_they_run(lab: Lab) -> None:
    inits = [{"image": "x", **shell("i", "exit 1")}, {"image": "x", **shell("j", "exit 0")}]
    sleeps = shell("c", "exec sleep 1000")
    await lab.apply(pod("begins", sleeps, initContainers=inits, terminationGracePeriodSeconds=0), ready=False)

    async def tries() -> bool:
        shown = await row(lab, "begins")
        return shown[:2] == ["0/1", "Init:CrashLoopBackOff"] and int(shown[2]) >= 1

    await eventually(tries)
    first = await container_of(lab, "begins", 0, "initContainerStatuses")
    second = await container_of(lab, "begins", 1, "initContainerStatuses")
    main = await container_of(lab, "begins")
    assert first["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert first["lastState"]["terminated"]["exitCode"] == 1
    assert first["containerID"].startswith("containerd://") and len(first["containerID"]) == 13 + 64
    assert second["state"]["waiting"]["reason"] == main["state"]["waiting"]["reason"] == "PodInitializing"
    assert "containerID" not in main
    await lab.delete("Pod", "begins", "default")


async def test_gates_of_scheduling_are_told(lab: Lab) -> None:
    gates = {"schedulingGates": [{"name": "example.com/hold"}]}
    await lab.apply(pod("gated", shell("c", "exec sleep 1000"), **gates), ready=False)

    async def held() -> bool:
        return (await row(lab, "gated"))[1] == "SchedulingGated"

    await eventually(held)
    await lab.delete("Pod", "gated", "default")


async def test_signals_are_told_by_the_status(lab: Lab) -> None:
    for name, signal, status in (("by-term", "TERM", 143), ("by-kill", "KILL", 137)):
        await lab.apply(
            pod(name, shell("c", f"sleep 100 & kill -{signal} $!; wait $!; exit $?"), restartPolicy="Never"),
            ready=False,
        )

        async def ended(name: str = name) -> dict[str, Any]:
            return dict((await container_of(lab, name)).get("state", {}).get("terminated") or {})

        found = await eventually(ended)
        assert (found["exitCode"], found["reason"]) == (status, "Error")
        await lab.delete("Pod", name, "default")


async def test_a_hook_that_fails_is_why_a_stand_in_ends(lab: Lab) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "exit 9"]}}}
    await lab.apply(
        pod("ungreeted", {"name": "c", "lifecycle": hook}, terminationGracePeriodSeconds=1), ready=False
    )

    async def told() -> bool:
        found = await events_of(lab, "ungreeted")
        return ("Killing", "FailedPostStartHook") in found

    await eventually(told)
    assert "running" not in (await container_of(lab, "ungreeted"))["state"]
    await lab.delete("Pod", "ungreeted", "default")
