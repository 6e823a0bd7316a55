"""Containers by OCI runtimes: what they run, how that ends, and that nothing of it gets out or stays."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import EmulabError, Lab

from .test_containers import ESCAPES, STRICT, _changes, fails, limited, pod, sh, status_of, there
from .tools import AS_ROOT, eventually, output

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.privilege]

RUNTIMES = ("crun", "runc")
GIVEN = 0xA00425FB
"""The capabilities that containerd gives, without MKNOD: there is no cgroup of devices that would guard them."""
LOOP = "while :; do sleep 0.1; done"
AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"


def cluster(runtime: str, **pods: Any) -> str:
    spec = {"nodes": 1, "pods": {"runtime": runtime, **pods}}
    o = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}, "spec": spec}
    return json.dumps(o) + "\n---\n"


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **more}


LONGEST = ".".join(["p" * 63] * 3 + ["q" * 61])
MOUNTS = [
    {"name": "words", "mountPath": "/words"},
    {"name": "words", "mountPath": "/etc/one-word", "subPath": "one"},
    {"name": "room", "mountPath": "/room/inner"},
    {"name": "room", "mountPath": "/srv/part", "subPath": "part", "readOnly": True},
]
VOLUMES = [{"name": "words", "configMap": {"name": "words"}}, {"name": "room", "emptyDir": {}}]
WORDS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"one": "first\n"}}
LIVELY = {
    "livenessProbe": {"periodSeconds": 1, "failureThreshold": 1, "exec": {"command": ["test", "!", "-e", "/tmp/ill"]}}
}  # fmt: skip
PODS = (
    pod("plain", {})
    + pod("two", {}, {}, shareProcessNamespace=True)
    + pod("strict", STRICT, securityContext={"supplementalGroups": [3456], "fsGroup": 4567})
    + pod("free", limited(privileged=True, seccompProfile={"type": "Unconfined"}))
    + pod("asking", limited(capabilities={"add": ["SYS_ADMIN", "MKNOD"]}))
    + pod("tuned", {}, securityContext={"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "7"}]})
    + pod("away", {"workingDir": "/not/there/yet"})
    + pod("lively", shell(f"echo begun; {LOOP}", **LIVELY))
    + pod("told", {"command": ["sh", "-c", f'echo "$0 $1 $A"; {LOOP}'], "args": ["one", "two words"],
                   "env": [{"name": "A", "value": "of env"}]})
    + json.dumps(WORDS) + "\n---\n"
    + pod("stored", {"volumeMounts": MOUNTS}, {"volumeMounts": MOUNTS}, volumes=VOLUMES)
    + pod("file", {"image": AGNHOST, "command": ["sleep", "1000"]})
    + pod(LONGEST, {"name": "c" * 63})
)  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=RUNTIMES)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with Lab.from_text(cluster(request.param) + PODS) as made:
        yield made


async def log(lab: Lab, name: str) -> str:
    return await lab.logs(f"pod/{name}")


async def container(lab: Lab, name: str) -> dict[str, Any]:
    (found,) = await lab.get("Pod", name, "default")
    return dict(found["status"]["containerStatuses"][0])


async def test_a_command_has_its_words_and_its_environment(lab: Lab) -> None:
    told = await sh(lab, "told", "tr '\\0' ' ' < /proc/1/cmdline; tr '\\0' '\\n' < /proc/1/environ")
    assert "one two words" in told and "\nA=of env" in told and "\nHOSTNAME=told" in told
    assert await sh(lab, "plain", "hostname; cat /etc/hostname; id -u") == "plain\nplain\n0"
    assert await output(lab, "pod/away", "readlink", "/proc/1/cwd") == "/not/there/yet"
    assert await sh(lab, "tuned", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "7"


async def test_what_is_run_beside_it_is_in_its_namespaces(lab: Lab) -> None:
    assert "sleep" in await sh(lab, "plain", "cat /proc/1/cmdline | tr '\\0' ' '")
    done = await lab.exec("pod/plain", "sh", "-c", "cat; exit 7", stdin=b"heard")
    assert (done.status, done.text) == (7, "heard")
    await sh(lab, "two", "echo shared > /dev/shm/file", "c0")
    assert await sh(lab, "two", "cat /dev/shm/file; ls /tmp", "c1") == "shared"
    assert "pause" in await sh(lab, "two", "cat /proc/1/comm", "c1")


ENDS_AT_ONCE: dict[str, dict[str, Any]] = {
    "ends-shared": {"shareProcessNamespace": True},
    "ends-own": {"shareProcessNamespace": True, "hostUsers": False},
    "ends-host": {"hostPID": True},
}


async def test_who_ends_at_once_takes_none_of_its_pod_along(lab: Lab) -> None:
    """What such a container leaves behind is found by the pod's name, which others have that go on."""
    ends = [{"command": ["true"]} for _ in range(4)]
    (asked,) = await lab.get("Cluster")
    names = [*ENDS_AT_ONCE]
    if asked["spec"]["pods"]["runtime"] == "runc":
        names.remove(
            "ends-own"
        )  # runc joins the pod's users first, who may not enter a PID namespace of the lab's
    await lab.apply(
        "".join(pod(name, {}, *ends, restartPolicy="Never", **ENDS_AT_ONCE[name]) for name in names),
        ready=False,
    )

    async def states(name: str) -> list[str]:
        (found,) = await lab.get("Pod", name, "default")
        return [next(iter(one["state"])) for one in found["status"].get("containerStatuses") or ()]

    async def are_over() -> bool:
        return all([(await states(name)).count("terminated") >= 4 for name in names])

    await eventually(are_over)
    assert {name: (await states(name))[0] for name in names} == dict.fromkeys(names, "running")
    for name in names:
        await lab.delete("Pod", name)


async def test_a_pod_of_the_longest_name(lab: Lab) -> None:
    """A runtime makes a file of a container's id, and a host has a name of 63 letters at the most."""
    assert len(LONGEST) == 253
    assert (await container(lab, LONGEST))["state"].keys() == {"running"}
    assert (await sh(lab, LONGEST, "hostname")).rstrip("-.") == LONGEST[:63].rstrip("-.")


async def test_its_rights_are_those_of_its_manifest(lab: Lab) -> None:
    for script in ("cat /proc/self/status", "cat /proc/1/status"):
        assert int(await status_of(lab, "plain", "CapEff", script), 16) == GIVEN
        assert int(await status_of(lab, "asking", "CapBnd", script), 16) == GIVEN, (
            "what would reach out is withheld"
        )
        assert await status_of(lab, "plain", "Seccomp", script) == "2"
        assert await status_of(lab, "free", "Seccomp", script) == "2"
        assert await status_of(lab, "strict", "NoNewPrivs", script) == "1"
        assert int(await status_of(lab, "strict", "CapBnd", script), 16) == 1 << 10
        users, groups = ("1234", "3456 4567") if AS_ROOT else ("0", "")
        assert set((await status_of(lab, "strict", "Uid", script)).split()) == {users}
        if AS_ROOT:
            assert await status_of(lab, "strict", "Groups", script) == groups


async def test_a_root_can_be_read_only_and_files_are_bound(lab: Lab) -> None:
    assert "Read-only" in await fails(lab, "strict", "touch", "/etc/mine")
    assert "Read-only" in await fails(lab, "strict", "touch", "/mine")
    assert await sh(lab, "plain", "echo 1 > /etc/mine; echo 2 > /mine; cat /etc/mine /mine") == "1\n2"
    assert not there("/mine", "/etc/mine")
    assert "Kubernetes-managed" in await sh(lab, "plain", "cat /etc/hosts")
    assert "Read-only" in await fails(lab, "file", "sh", "-c", "echo > /agnhost")
    options = await sh(lab, "file", "grep ' /agnhost ' /proc/self/mountinfo | cut -d ' ' -f 6")
    assert {"ro", "nosuid", "nodev"} <= set(options.split(","))


async def test_volumes_are_bound(lab: Lab) -> None:
    assert await sh(lab, "stored", "cat /words/one /etc/one-word; ls /srv/part") == "first\nfirst"
    await sh(lab, "stored", "echo shared > /room/inner/part/file", "c0")
    assert await sh(lab, "stored", "cat /room/inner/part/file /srv/part/file", "c1") == "shared\nshared"
    for path in ("/srv/part/mine", "/words/mine", "/etc/one-word"):
        assert "Read-only" in await fails(lab, "stored", "sh", "-c", f"echo > {path}"), path
    changed = {**WORDS, "data": {"one": "second\n"}}
    await lab.apply(json.dumps(changed))

    async def told() -> bool:
        return await sh(lab, "stored", "cat /words/one") == "second"

    await eventually(told)
    assert await sh(lab, "stored", "cat /etc/one-word") == "first", "of a subPath nothing is changed"


async def test_a_probe_ends_it_and_it_is_started_again(lab: Lab) -> None:
    assert (await container(lab, "lively"))["restartCount"] == 0
    await sh(lab, "lively", "touch /tmp/ill")

    async def again() -> bool:
        now = await container(lab, "lively")
        return bool(now["restartCount"]) and "running" in now["state"]

    await eventually(again)
    ended = (await container(lab, "lively"))["lastState"]["terminated"]
    assert ended["exitCode"] == 137, "a shell without a trap is the first process, which SIGTERM doesn't end"
    assert await sh(lab, "lively", "ls /tmp") == "", "a life has a root of its own"


async def test_how_it_ends_is_told(lab: Lab) -> None:
    never = {"restartPolicy": "Never"}
    said = pod("fails", shell("echo first; echo second >&2; exit 42"), **never)
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hooked > /proc/1/fd/1"]}}}
    stopped = pod(
        "stopped", shell(f"trap 'echo stopped; exit 3' TERM; echo begun; {LOOP}", lifecycle=hook), **never
    )
    unknown = {"command": ["$(WHAT)"], "env": [{"name": "WHAT", "value": "/not-there"}]}
    with pytest.raises(EmulabError, match="has ended with status"):
        await lab.apply(said + stopped + pod("missing", unknown, **never))

    async def terminated(name: str) -> dict[str, Any]:
        return dict((await container(lab, name))["state"].get("terminated") or {})

    ended = await eventually(lambda: terminated("fails"))
    assert (ended["exitCode"], ended["reason"]) == (42, "Error")
    missing = await eventually(lambda: terminated("missing"))
    assert missing["exitCode"] == 128 and "not-there" in missing["message"]

    await eventually(lambda: _contains(lab, "stopped", "begun"))
    path = await lab._ask("logs", target="pod/stopped", namespace="default")
    with await asyncio.to_thread(Path(path).open) as followed:  # it goes with its pod
        await lab.delete("Pod", "stopped")
        heard: list[str] = []

        async def over() -> bool:
            heard.append(followed.read())
            return "stopped" in heard[-1]

        await eventually(over)
        assert "".join(heard) == "begun\nhooked\nstopped\n"
    # runc copies what is printed, each of stdout and stderr by itself
    assert sorted((await log(lab, "fails")).splitlines()) == ["first", "second"]


async def _contains(lab: Lab, name: str, words: str) -> bool:
    return words in await log(lab, name)


@pytest.mark.parametrize("name", ["plain", "free", "asking"])
async def test_there_is_no_way_out(lab: Lab, name: str) -> None:
    more = {
        "a device in a root": ["sh", "-c", "mknod /m c 1 1 && head -c 1 /m"],
        "a device whose making alone counts": ["mknod", "/m", "b", "254", "0"],
        "the bundle": ["sh", "-c", "ls /mnt/bundle /mnt/state"],
        "devices' owners": ["chown", "7:7", "/dev/full"],
    }
    done = {what: await lab.exec(f"pod/{name}", *argv) for what, argv in {**ESCAPES, **more}.items()}
    ways = {what: found.stdout for what, found in done.items() if found.status == 0}
    assert not ways, ways


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_pod_that_spoils_all_it_can_spoils_nothing_of_the_host(runtime: str) -> None:
    """What else runs on the machine may change something of it meanwhile, but hardly three times in a row."""
    from .test_containers import SPOILER

    null = os.stat("/dev/null")
    spoiling = {"command": ["sh", "-c", f"({SPOILER}) >/dev/null 2>&1; exec sleep 1000"]}
    pods = pod("spoils", spoiling) + pod("favoured", {**spoiling, **limited(privileged=True)})
    async with Lab.from_text(cluster(runtime) + pod("innocent", {})) as lab:
        changes = [await _changes(lab, pods)]
        while changes[-1] and len(changes) < 3:
            changes.append(await _changes(lab, pods))
        assert changes[-1] == {}, changes
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, after.st_mode) == (null.st_uid, null.st_gid, null.st_mode)


@pytest.mark.root
@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_pods_with_users_of_their_own(runtime: str) -> None:
    """Root of such a pod is nobody on the host, and what a runtime gives it stays the host's."""
    null = os.stat("/dev/null")
    tuned = {"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "9"}]}
    text = pod("first", {}) + pod("second", limited(runAsUser=7), securityContext=tuned)
    async with Lab.from_text(cluster(runtime, userNamespaces=True) + text) as lab:
        first = (await sh(lab, "first", "cat /proc/1/uid_map")).split()
        second = (await sh(lab, "second", "cat /proc/1/uid_map")).split()
        assert first[0] == second[0] == "0" and first[2] == second[2] == "65536" and first[1] != second[1]
        script = "touch /etc/x && stat -c %u /etc/x /etc/passwd; echo > /dev/null && echo fine"
        assert await sh(lab, "first", script) == "0\n0\nfine"
        assert (await status_of(lab, "second", "Uid", "cat /proc/1/status")).split()[0] == "7"
        assert (
            await sh(lab, "second", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; hostname")
            == "9\nsecond"
        )
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, after.st_mode) == (null.st_uid, null.st_gid, null.st_mode)
