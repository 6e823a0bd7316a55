"""Containers that do what they can to stay, to be in others' way or to fail the lab."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import EmulabError, Lab

from .crashes import descendants
from .test_containers import _run_folder, limited, pod, sh, status_of
from .test_exec import Terminal
from .tools import AS_ROOT, INTERPRETER, eventually, output

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.privilege]

KEEPS = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
VOLUME = [{"name": "v", "emptyDir": {}}]
LEAVES = "setsid sleep 77002 & while [ ! -e /tmp/over ]; do sleep 0.1; done"
MOST = 1 << 21  # CAP_SYS_ADMIN
PODS = (
    pod("plain", KEEPS, volumes=VOLUME)
    + pod("free", limited(privileged=True, seccompProfile={"type": "Unconfined"}))
    + pod("other", {})
    + pod("shares", {}, {"command": ["sh", "-c", LEAVES]}, shareProcessNamespace=True)
    + pod("stays", {}, hostPID=True, nodeName="node1")
    + pod("watches", {}, hostPID=True, nodeName="node1")
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(PODS) as made:
        yield made


def python(code: str) -> tuple[str, ...]:
    return INTERPRETER, "-c", code


FORBIDDEN = """
import ctypes, errno, platform
libc = ctypes.CDLL(None, use_errno=True)
for number in (425, 426, 427, {"x86_64": 323, "s390x": 355, "ppc64le": 364}.get(platform.machine(), 282)):
    libc.syscall(number, 0, 0, 0, 0, 0, 0)
    print(errno.errorcode[ctypes.get_errno()])
"""


async def test_calls_that_containerd_forbids(lab: Lab) -> None:
    """io_uring_setup, io_uring_enter, io_uring_register, userfaultfd."""
    assert (await output(lab, "pod/plain", *python(FORBIDDEN))).split() == ["EPERM"] * 4


@pytest.mark.parametrize("name", ["plain", "free", "shares"])
async def test_no_mount_is_anybody_elses(lab: Lab, name: str) -> None:
    """What would be mounted in a container is seen nowhere else, and what is mounted on the host not in it."""
    table = await sh(lab, name, "cat /proc/self/mountinfo")
    assert len(table.splitlines()) > 10 and not re.search(r" (shared|master|propagate_from):\\d", table)


CAPABLE = f"""
import os, shutil, struct, subprocess
shutil.copy("/bin/cat", "/tmp/capable")
os.chmod("/tmp/capable", 0o755)
# VFS_CAP_REVISION_2 with the effective flag: permitted and inheritable, low and high words
os.setxattr("/tmp/capable", "security.capability", struct.pack("<5I", 0x2000001, {MOST}, 0, 0, 0))
try:
    print(subprocess.run(["/tmp/capable", "/proc/self/status"], capture_output=True, text=True).stdout)
except PermissionError as error:
    print("CapEff:\\t0", error)
"""


@pytest.mark.parametrize("name", ["plain", "free"])
async def test_a_file_with_capabilities_gives_none_that_the_container_lacks(lab: Lab, name: str) -> None:
    done = await lab.exec(f"pod/{name}", *python(CAPABLE))
    found = re.search(r"^CapEff:\s*(\w+)", done.stdout.decode(), re.MULTILINE)
    assert found, done
    assert int(found[1], 16) & MOST == 0


async def test_a_whiteout_is_nothing_that_a_container_makes(lab: Lab) -> None:
    """In the upper layer of an overlay such a node would hide what is below it."""
    refused = "import os\ntry: os.mknod('/etc/hides', 0o20666, 0)\nexcept PermissionError: print('refused')"
    assert await output(lab, "pod/plain", *python(refused)) == "refused"
    await sh(lab, "plain", "mknod /v/passwd c 0 0; mknod /tmp/passwd c 0 0; test -s /etc/passwd")


TERMINALS = """
import os, time
held = []
try:
    while len(held) < 20000:
        held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
except OSError:
    pass
print("held", len(held), flush=True)
time.sleep(600)
"""


async def test_all_terminals_of_one_container_are_not_the_machines(lab: Lab) -> None:
    holding = asyncio.ensure_future(
        lab.exec("pod/plain", "sh", "-c", f"exec {INTERPRETER} -c '{TERMINALS}' >/tmp/held")
    )
    assert await eventually(lambda: sh(lab, "plain", "cat /tmp/held || :")) == "held 256"
    with Terminal(lab.name, "pod/other", "--", "tty") as terminal:
        assert await terminal.ends() == 0, terminal.shown
    holding.cancel()
    with Terminal(lab.name, "pod/plain", "--", "true") as terminal:
        await terminal.ends()


async def test_what_a_pod_with_the_nodes_processes_has_started_ends_with_it(lab: Lab) -> None:
    """So does what has come to it by exec, whatever session it is in and whatever it ignores."""
    script = "trap '' TERM HUP; echo begun; setsid sleep 77001 & while :; do sleep 0.1; done"
    left = "ps axo args | grep -c '^[s]leep 77001' || :"
    staying = asyncio.ensure_future(lab.exec("pod/stays", "sh", "-c", script))
    late = [asyncio.ensure_future(lab.exec("pod/stays", "sleep", "600")) for _ in range(5)]
    assert await eventually(lambda: _if(lab, "watches", left, "1"))
    await lab.delete("Pod", "stays")
    assert (await staying).status == 137
    for done in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(done, BaseException) or done.status != 0, done
    assert await eventually(lambda: _if(lab, "watches", left, "0"))
    assert await sh(lab, "watches", "ps axo args | grep -c '^[s]leep 600' || :") == "0"


async def _if(lab: Lab, name: str, script: str, wanted: str, container: str = "") -> bool:
    return await sh(lab, name, script, container) == wanted


async def test_what_a_container_leaves_to_others_of_its_pod_ends_with_its_life(lab: Lab) -> None:
    """It holds the log of that life, and the container isn't started again before that has ended."""
    left = "ps axo args | grep -c '^[s]leep 77002' || :"
    assert await sh(lab, "shares", left, "c0") == "1"
    await lab.exec("pod/shares", "touch", "/tmp/over", container="c1")

    async def again() -> bool:
        [found] = await lab.get("Pod", "shares")
        statuses = {status["name"]: status for status in found["status"]["containerStatuses"]}
        return bool(statuses["c1"]["restartCount"] == 1 and "running" in statuses["c1"]["state"])

    async with asyncio.timeout(20):
        assert await eventually(again)
    assert await eventually(lambda: _if(lab, "shares", left, "1", "c0"))


NEST = """
import os
os.chdir("/v")
os.symlink("/etc/passwd", "link"); os.mkfifo("pipe"); os.mknod("node", 0o20666, 0)
os.mkdir("locked"); os.mkdir("locked/in"); os.chmod("locked/in", 0); os.chmod("locked", 0)
for _ in range(2500):
    os.mkdir("n" * 200)
    os.chdir("n" * 200)
print("made")
"""


async def test_what_lies_in_a_volume_goes_with_it(lab: Lab) -> None:
    """However deep it is, whatever it is and whoever may enter it."""
    await lab.apply(pod("hoards", KEEPS, volumes=VOLUME))
    [found] = await lab.get("Pod", "hoards")
    assert await output(lab, "pod/hoards", *python(NEST)) == "made"
    await lab.delete("Pod", "hoards")
    folder = f"/proc/{_supervisor(lab)}/root{_run_folder()}/{lab.name}/private/pods"

    async def gone() -> bool:
        return found["metadata"]["uid"] not in await asyncio.to_thread(os.listdir, folder)

    assert await eventually(gone)


async def test_files_that_the_lab_writes_for_a_pod_are_what_they_were(lab: Lab) -> None:
    """Its containers may write to them, and the lab looks at them whenever one begins: it reads none of 1 TB."""
    spoil = (
        "truncate -s 1T /etc/hosts; printf '\\377' > /etc/resolv.conf; printf '\\377' > /dev/termination-log"
    )
    script = f"test -s /v/again || {{ echo x > /v/again; {spoil}; exit 3; }}; exec sleep 1000"
    await lab.apply(pod("spoils", {"command": ["sh", "-c", script], **KEEPS}, volumes=VOLUME), ready=False)

    async def again() -> bool:
        [found] = await lab.get("Pod", "spoils")
        status = (found["status"].get("containerStatuses") or [{}])[0]
        return status.get("restartCount", 0) > 0 and "running" in status["state"]

    await eventually(again)
    assert await sh(lab, "spoils", "grep -c spoils /etc/hosts; grep -c nameserver /etc/resolv.conf") == "1\n1"
    await lab.delete("Pod", "spoils")


# Deletion while containers start


SHARING: tuple[dict[str, Any], ...] = (
    {},
    {"shareProcessNamespace": True},
    {"hostPID": True},
    {"hostUsers": False},
)


def short_lived(name: str, **spec: Any) -> str:
    part = {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b"}]}
    starts = {"command": ["sh", "-c", "setsid sleep 77003 & exec sleep 77003"], **part}
    return pod(name, starts, starts, volumes=VOLUME, terminationGracePeriodSeconds=0, **spec)


def brief(name: str) -> str:
    """It has ended before anybody could look at it, and leaves something among the processes of its node."""
    return pod(
        name, {"command": ["sh", "-c", "setsid sleep 77003 & exit 0"]}, hostPID=True, restartPolicy="Never"
    )


@pytest.mark.parametrize("runtime", ["builtin", "crun", "runc"])
async def test_what_is_deleted_while_it_starts_leaves_nothing(runtime: str) -> None:
    """Files, mounts, cgroups, processes: of Pods that go at any moment of their containers' begin."""
    cluster = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}}
    cluster["spec"] = {"nodes": 1, "pods": {"runtime": runtime}}  # type: ignore[assignment]
    # What the Pods with hostPID share is there as long as the lab. These two have one process at any time.
    sleeps = {"command": ["sleep", "77000"]}
    first = pod("first", sleeps, hostPID=True) + pod("second", sleeps)
    async with Lab.from_text(json.dumps(cluster) + "\n---\n" + first) as lab:
        before = await asyncio.to_thread(left_of, lab)
        for round in range(3):
            names = [f"late{round}-{number}" for number in range(8)]
            text = "".join(short_lived(name, **SHARING[n % 4]) for n, name in enumerate(names))
            await lab.apply(text + brief(f"brief{round}"), ready=False)
            await asyncio.sleep(0.15 + 0.2 * round)
            entering = [asyncio.ensure_future(lab.exec(f"pod/{name}", "sleep", "77003")) for name in names]
            for name in (*reversed(names), f"brief{round}"):
                await lab.delete("Pod", name)
            async with asyncio.timeout(30):
                for done in await asyncio.gather(*entering, return_exceptions=True):
                    assert isinstance(done, EmulabError) or done.status in (1, 137), done  # type: ignore[union-attr]

        async def same() -> bool:
            return bool(await asyncio.to_thread(left_of, lab) == before)

        try:
            await eventually(same, 30)
        except AssertionError:
            assert await asyncio.to_thread(left_of, lab) == before
            raise


@pytest.mark.parametrize("runtime", ["builtin", "crun"])
async def test_who_was_with_a_stand_in_ends_with_its_pod(runtime: str) -> None:
    cluster = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}}
    cluster["spec"] = {"nodes": 1, "pods": {"runtime": runtime}}  # type: ignore[assignment]
    names = [f"plays{number}" for number in range(len(SHARING))]
    pods = "".join(pod(name, {}, **spec) for name, spec in zip(names, SHARING, strict=True))
    async with Lab.from_text(json.dumps(cluster) + "\n---\n" + pods) as lab:
        words = ("sh", "-c", "setsid sleep 77004 & echo here; exec sleep 77004")
        visits = [asyncio.ensure_future(lab.exec(f"pod/{name}", *words)) for name in names]
        supervisor = _supervisor(lab)

        async def there() -> bool:
            found = await asyncio.to_thread(descendants, supervisor)
            return sum(b"77004" in _command(process) for process in found) == 2 * len(names)

        await eventually(there)
        for name in names:
            await lab.delete("Pod", name)
        async with asyncio.timeout(30):
            assert [done.status for done in await asyncio.gather(*visits)] == [137] * len(names)
        assert not any(b"sleep 77004" in _command(process) for process in descendants(supervisor))


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""


def left_of(lab: Lab) -> dict[str, Any]:
    """What a lab has of its containers on the machine."""
    supervisor = _supervisor(lab)
    private = Path(f"/proc/{supervisor}/root{_run_folder()}/{lab.name}/private")
    kinds = ("runtime", "pods", "shm")
    found: dict[str, Any] = {
        kind: sorted(os.listdir(private / kind)) if (private / kind).exists() else [] for kind in kinds
    }
    found["mounts"] = len(Path(f"/proc/{supervisor}/mountinfo").read_text().splitlines())
    found["cgroups"] = sorted(
        str(path.name) for path in Path("/sys/fs/cgroup").glob(f"*/emulab/{lab.name}/*") if path.is_dir()
    )
    found["processes"] = len(descendants(supervisor))
    return found


def _supervisor(lab: Lab) -> int:
    text = (Path(_run_folder()) / lab.name / "lab.json").read_text()
    found = re.search(r'"pid": (\d+)', text)
    assert found
    return int(found[1])


async def test_rights_of_what_is_left_are_as_before(lab: Lab) -> None:
    """After all that, a container is still what it was, and the lab answers."""
    assert await status_of(lab, "plain", "Seccomp") == "2"
    assert await sh(lab, "plain", "id -u") == "0" and (AS_ROOT or os.geteuid() != 0)
