"""What contains a container: a root of its own of which the host sees nothing, and the rights of its manifest."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import AS_ROOT, INTERPRETER, eventually, output

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.privilege]

HOME = os.path.expanduser("~")
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
DEFAULT = 0xA80425FB
"""The capabilities that containerd gives (pkg/oci, defaultUnixCaps)."""


def pod(name: str, *containers: dict[str, Any], **spec: Any) -> str:
    entries = [{"name": f"c{n}", "image": "busybox", "command": SLEEP, **c} for n, c in enumerate(containers)]
    body = {"terminationGracePeriodSeconds": 1, "containers": entries, **spec}
    return (
        json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}) + "\n---\n"
    )


def limited(**context: Any) -> dict[str, Any]:
    return {"securityContext": context}


STRICT = limited(
    runAsUser=1234,
    runAsGroup=2345,
    readOnlyRootFilesystem=True,
    allowPrivilegeEscalation=False,
    capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
)
PODS = (
    pod("plain", {})
    + pod("two", {}, {}, shareProcessNamespace=True)
    + pod("strict", STRICT, securityContext={"supplementalGroups": [3456], "fsGroup": 4567})
    + pod("free", limited(privileged=True, seccompProfile={"type": "Unconfined"}))
    + pod("asking", limited(capabilities={"add": ["SYS_ADMIN", "CAP_NET_ADMIN", "sys_ptrace"]}))
    + pod("tuned", {}, securityContext={"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "7"}]})
    + pod("away", {"workingDir": "/not/there/yet"})
)  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(PODS) as made:
        yield made


async def sh(lab: Lab, name: str, script: str, container: str = "") -> str:
    return await output(lab, f"pod/{name}", "sh", "-c", script, container=container)


async def fails(lab: Lab, name: str, *argv: str) -> str:
    """What a program says that has to fail."""
    done = await lab.exec(f"pod/{name}", *argv)
    assert done.status != 0, (argv, done.stdout)
    return (done.stdout + done.stderr).decode()


async def status_of(lab: Lab, name: str, field: str, script: str = "") -> str:
    text = await sh(lab, name, script or "cat /proc/self/status")
    found = re.search(rf"^{field}:\s*(.*)$", text, re.MULTILINE)
    assert found, text
    return found[1].strip()


# The host


FOLDERS = ("/etc", "/usr", "/var", "/root", "/opt", "/srv", "/home")
SETTINGS = ("/proc/sys/vm", "/proc/sys/kernel", "/proc/sys/fs")
CHANGING = re.compile(
    r"/proc/sys/(kernel/(random/|ns_last_pid|pty/nr|sched_domain)|fs/(dentry-state|inode|file-nr|aio-nr|quota))"
)
OTHERS = re.compile(r"__pycache__$|\.git$|\..*cache$|\.hypothesis$")
"""Folders that whoever else works on this machine writes all the time, as checks beside these tests do."""

SPOILER = """
for folder in / /etc /usr /usr/bin /var /var/lib /var/tmp /root /opt /srv /home /tmp /run /dev /dev/shm /boot /sys /proc
do
  echo spoilt > $folder/spoilt-by-a-pod; mkdir $folder/spoilt-folder
done
for file in /etc/passwd /etc/hostname /etc/resolv.conf /etc/hosts /usr/bin/env /bin/sh /root/.bashrc; do
  echo spoilt >> $file; chmod 777 $file; chown 77:77 $file; touch -d 2001-01-01 $file
done
rm -rf /etc/default /usr/share/doc /var/log /opt/* /srv/* /root/* /home/*
mv /etc/fstab /etc/fstab2; ln -sf /nowhere /etc/localtime
echo 77 > /proc/sys/vm/swappiness; echo '|/bin/false' > /proc/sys/kernel/core_pattern; echo b > /proc/sysrq-trigger
for file in $(find /sys/fs/cgroup /sys/kernel -name '*agent*' -o -name '*.max' -o -name uevent_helper | head -50); do
  echo 7 > $file; done
mkdir /sys/fs/cgroup/spoilt
hostname spoilt
mount -t tmpfs none /etc; mount --bind /tmp /usr; mount -o remount,rw /sys; umount /proc
echo done > /done
"""


def host() -> dict[str, str]:
    """What is the host's, by path: contents where they are small, else sizes and times."""
    found = {}
    for folder in FOLDERS:
        for entry in _walk(folder):
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            found[entry.path] = (
                f"{stat.st_mode} {stat.st_uid} {stat.st_gid} {stat.st_size} {stat.st_mtime_ns}"
            )
    for path in (entry.path for folder in SETTINGS for entry in _walk(folder)):
        if not CHANGING.match(path):
            try:
                found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            except OSError:
                continue  # it can only be written to
    found["/proc/mounts"] = Path("/proc/self/mountinfo").read_text()
    found["hostname"] = os.uname().nodename
    found["/"] = " ".join(sorted(os.listdir("/")))
    found["/boot"] = " ".join(sorted(os.listdir("/boot")))
    tops = ("/tmp", "/run", "/dev/shm", "/dev")
    found["spoilt"] = " ".join(str(path) for top in tops for path in Path(top).glob("spoilt*"))
    return found


def there(*paths: str) -> list[str]:
    """Those of these paths that the host has."""
    return [path for path in paths if os.path.lexists(path)]


def _walk(top: str) -> Iterator[os.DirEntry[str]]:
    """All files below a folder. There are hundreds of thousands, and each is asked for once.

    What leads to a folder is none: labs have such links at /etc/netns."""
    folders = [top]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if not _is_folder(entry):
                        yield entry
                    elif not entry.is_symlink() and not OTHERS.match(entry.name):
                        folders.append(entry.path)
        except OSError:
            continue  # it has gone, or is not ours to read


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, or leads to one. What leads to itself, or to where we may not look, doesn't."""
    try:
        return entry.is_dir()
    except OSError:
        return False


async def test_a_pod_that_spoils_all_it_can_spoils_nothing_of_the_host() -> None:
    """What else runs on the machine may change something of it meanwhile, but hardly three times in a row."""
    spoiling = {"command": ["sh", "-c", f"({SPOILER}) >/dev/null 2>&1; exec sleep 1000"]}
    pods = pod("spoils", spoiling) + pod("favoured", {**spoiling, **limited(privileged=True)})
    async with Lab.from_text(pod("innocent", {})) as lab:
        await output(lab, "pod/innocent", "true")
        changes = [await _changes(lab, pods)]
        while changes[-1] and len(changes) < 3:
            changes.append(await _changes(lab, pods))
        assert changes[-1] == {}, changes
        assert await sh(lab, "innocent", "ls -d /etc/spoilt* /tmp/spoilt* 2>/dev/null || echo none") == "none"


async def _changes(lab: Lab, pods: str) -> dict[str, tuple[str | None, str | None]]:
    """What is another on the host after the pods have done what they can, with what it was before."""
    before = await asyncio.to_thread(host)
    await lab.apply(pods)
    for name in ("spoils", "favoured"):
        await eventually(lambda name=name: _done(lab, name))  # type: ignore[misc]
        assert await sh(lab, name, "cat /etc/spoilt-by-a-pod /usr/spoilt-by-a-pod; ls /var/log 2>&1 || :")
    after = await asyncio.to_thread(host)
    for name in ("spoils", "favoured"):
        await lab.delete("Pod", name)

    async def gone() -> bool:  # else the next round would meet them on their way out
        return not {"spoils", "favoured"} & {o["metadata"]["name"] for o in await lab.get("Pod")}

    await eventually(gone)
    return {k: (before.get(k), after.get(k)) for k in before | after if before.get(k) != after.get(k)}


async def _done(lab: Lab, name: str) -> bool:
    return (await lab.exec(f"pod/{name}", "test", "-e", "/done")).status == 0


async def test_what_a_container_sees_of_the_host(lab: Lab) -> None:
    assert (await sh(lab, "plain", "ls -A /tmp /run /var/tmp /mnt /media")).split() == [
        word for name in ("/media", "/mnt", "/run", "/tmp", "/var/tmp") for word in [f"{name}:"]
    ]
    nodes = (
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout termination-log tty urandom zero"
    )
    assert (await sh(lab, "plain", "ls /dev")).split() == nodes.split()
    others = [name for name in os.listdir("/home") if f"/home/{name}" != HOME]
    for name in others:
        assert await sh(lab, "plain", f"ls -A /home/{name}") == ""
    folder = os.environ.get("EMULAB_RUN_DIR") or "/run/emulab"
    assert await sh(lab, "plain", f"ls -A {folder} 2>/dev/null || :") == ""
    for masked in ("kcore", "keys", "timer_list"):
        assert await sh(lab, "plain", f"head -c 9 /proc/{masked} | wc -c") == "0", masked
    assert await sh(lab, "plain", "ls -A /sys/firmware 2>/dev/null || :") == ""


async def test_devices_stay_the_hosts(lab: Lab) -> None:
    """A container writes to them, but their files are the host's own: nobody gives them away or locks others out."""
    before = os.stat("/dev/full")
    try:
        for what in ("chown 7:7", "chmod 600", "touch -d 2001-01-01"):
            assert "Read-only file system" in await fails(lab, "plain", *what.split(), "/dev/full")
        after = os.stat("/dev/full")
    finally:
        if AS_ROOT:
            os.chown("/dev/full", before.st_uid, before.st_gid)
            os.chmod("/dev/full", before.st_mode & 0o7777)
    wanted = (before.st_uid, before.st_gid, before.st_mode, before.st_mtime)
    assert (after.st_uid, after.st_gid, after.st_mode, after.st_mtime) == wanted
    assert await sh(lab, "plain", "echo 1 > /dev/null && echo written") == "written"


async def test_a_container_writes_to_a_root_of_its_own(lab: Lab) -> None:
    await sh(lab, "two", "echo 1 > /etc/mine; mkdir /usr/local/mine /var/mine; echo 2 > /tmp/mine", "c0")
    assert await sh(lab, "two", "cat /etc/mine /tmp/mine; ls -d /usr/local/mine /var/mine", "c0") == (
        "1\n2\n/usr/local/mine\n/var/mine"
    )
    assert await sh(lab, "two", "ls /etc/mine /tmp/mine 2>/dev/null || echo none", "c1") == "none"
    assert not there("/etc/mine", "/usr/local/mine")


async def test_a_working_directory_is_made(lab: Lab) -> None:
    assert await output(lab, "pod/away", "pwd") == "/not/there/yet"
    assert not there("/not")


# Namespaces


async def test_processes_are_a_containers_own(lab: Lab) -> None:
    assert await sh(lab, "plain", "cat /proc/1/cmdline | tr '\\0' ' '") == " ".join(SLEEP)
    seen = (await sh(lab, "plain", "ls /proc | grep -c '^[0-9]'")).strip()
    assert 1 < int(seen) < 8, seen


async def test_a_pod_may_share_its_processes(lab: Lab) -> None:
    for container in ("c0", "c1"):
        shown = await sh(
            lab, "two", "cat /proc/1/comm; grep -l 'trap' /proc/[0-9]*/cmdline | wc -l", container
        )
        name, number = shown.split()
        assert name == "pause" and int(number) >= 2, shown
        assert (
            await lab.exec("pod/two", "cat", "/proc/1/cmdline", container=container)
        ).stdout == b"/pause\0"
    refused = await fails(lab, "two", "sh", "-c", "cat /proc/1/environ || exit 7")
    assert "ermission" in refused
    assert "ermission" in await fails(lab, "two", "ls", "-l", "/proc/1/exe", "/proc/1/root/")


async def test_a_pod_shares_memory_and_its_name(lab: Lab) -> None:
    await sh(lab, "two", "echo shared > /dev/shm/file", "c0")
    assert await sh(lab, "two", "cat /dev/shm/file; hostname", "c1") == "shared\ntwo"
    assert await sh(lab, "plain", "ls /dev/shm; hostname") == "plain"
    own = [await sh(lab, name, "readlink /proc/self/ns/ipc /proc/self/ns/uts") for name in ("plain", "two")]
    assert own[0] != own[1] and os.readlink("/proc/self/ns/ipc") not in own[0]
    kinds = "mnt pid uts ipc net cgroup"
    script = " ".join(f"/proc/self/ns/{kind}" for kind in kinds.split())
    for seen, ours in zip((await sh(lab, "plain", f"readlink {script}")).split(), kinds.split(), strict=True):
        assert seen != os.readlink(f"/proc/self/ns/{ours}"), ours


async def test_pods_of_a_node_may_share_its_processes_and_memory() -> None:
    """hostPID and hostIPC: with those of the node that ask for it, and neither with other Pods nor with the machine."""
    asks = {"hostPID": True, "hostIPC": True}
    text = (
        pod("one", {}, nodeName="node1", **asks)
        + pod("two", {}, nodeName="node1", **asks)
        + pod("far", {}, nodeName="node2", **asks)
        + pod("alone", {}, nodeName="node1")
    )
    async with Lab.from_text(text) as lab:
        await sh(lab, "one", "echo there > /dev/shm/file")
        # A shell that has forked and not executed yet has its command line twice: the least of several looks counts.
        look = "grep -lz '^trap' /proc/[0-9]*/cmdline | wc -l; sleep 0.02"
        script = f"cat /dev/shm/file 2>/dev/null; for i in 1 2 3 4 5 6 7 8 9; do {look}; done | sort -n | head -n 1"
        assert await sh(lab, "two", script) == "there\n2"
        assert await sh(lab, "far", script) == await sh(lab, "alone", script) == "1"
        kinds = "/proc/self/ns/pid /proc/self/ns/ipc"
        one, two, far = [await sh(lab, name, f"readlink {kinds}") for name in ("one", "two", "far")]
        assert one == two and not set(one.split()) & set(far.split())
        assert not {os.readlink(path) for path in kinds.split()} & {*one.split(), *far.split()}
        await lab.delete("Pod", "one")
        assert await sh(lab, "two", "echo well") == "well"


# Rights


async def test_the_rights_of_a_runtime(lab: Lab) -> None:
    for field in ("CapPrm", "CapEff", "CapBnd"):
        assert int(await status_of(lab, "plain", field), 16) == DEFAULT
    assert (
        int(await status_of(lab, "plain", "CapInh"), 16)
        == int(await status_of(lab, "plain", "CapAmb"), 16)
        == 0
    )
    assert (
        await status_of(lab, "plain", "Seccomp") == "2" and await status_of(lab, "plain", "NoNewPrivs") == "0"
    )
    assert await status_of(lab, "plain", "CapEff", "cat /proc/1/status") == f"{DEFAULT:016x}"


async def test_a_security_context_is_followed(lab: Lab) -> None:
    assert int(await status_of(lab, "strict", "CapBnd"), 16) == 1 << 10
    assert await status_of(lab, "strict", "NoNewPrivs") == "1"
    assert "Read-only" in await fails(lab, "strict", "touch", "/etc/x")
    assert "Read-only" in await fails(lab, "strict", "touch", "/tmp/x")
    if AS_ROOT:
        assert await sh(lab, "strict", "id -u; id -g; id -G") == "1234\n2345\n2345 3456 4567"
        assert await status_of(lab, "strict", "Uid", "cat /proc/1/status") == "1234\t1234\t1234\t1234"
        assert int(await status_of(lab, "strict", "CapEff"), 16) == 0
    else:
        assert await sh(lab, "strict", "id -u") == "0"


async def test_what_reaches_the_machine_is_withheld(lab: Lab) -> None:
    withheld = 1 << 21 | 1 << 19 | 1 << 16 | 1 << 17 | 1 << 22 | 1 << 25 | 1 << 2 | 1 << 39 | 1 << 34
    for name in ("free", "asking"):
        assert int(await status_of(lab, name, "CapBnd"), 16) & withheld == 0, name
    assert int(await status_of(lab, "asking", "CapEff"), 16) == DEFAULT | 1 << 12
    assert int(await status_of(lab, "free", "CapEff"), 16) & (DEFAULT | 1 << 12) == DEFAULT | 1 << 12
    events = await lab.get("Event", namespace="default")
    told = {(e["involvedObject"]["name"], e["message"]) for e in events if e["reason"] == "SecurityContext"}
    wanted = "CAP_SYS_ADMIN, CAP_SYS_PTRACE would reach beyond the lab and is withheld"
    assert ("asking", wanted) in told
    assert any(name == "free" and message.startswith("privileged gives all") for name, message in told)
    assert not AS_ROOT or not any(name in ("plain", "strict") for name, _ in told)
    assert AS_ROOT or any(name == "strict" and "runAsUser" in message for name, message in told)


async def test_who_must_not_be_root_is_not_started(lab: Lab) -> None:
    await lab.apply(pod("nobody", limited(runAsNonRoot=True)), ready=False)

    async def waiting() -> dict[str, Any]:
        [found] = await lab.get("Pod", "nobody")
        state = (found["status"].get("containerStatuses") or [{}])[0].get("state", {}).get("waiting") or {}
        return state if state.get("message") else {}

    state = await eventually(waiting)
    assert state["reason"] == "CreateContainerConfigError"
    [found] = await lab.get("Pod", "nobody")
    about = f'(pod: "nobody_default({found["metadata"]["uid"]})", container: c0)'
    assert state["message"] == f"container has runAsNonRoot and image will run as root {about}"
    await lab.delete("Pod", "nobody")


async def test_settings_of_the_kernel(lab: Lab) -> None:
    path = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert await sh(lab, "tuned", f"cat {path}") == "7"
    assert "Read-only" in await fails(lab, "tuned", "sh", "-c", f"echo 9 > {path}")
    unsafe = {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}
    await lab.apply(pod("unsafe", {}, securityContext=unsafe), ready=False)
    [found] = await lab.get("Pod", "unsafe")
    status = found["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "SysctlForbidden")
    assert status["message"] == 'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted'
    await lab.delete("Pod", "unsafe")


# Users of a pod's own


OWN_USERS = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: users}
spec: {nodes: 1, pods: {userNamespaces: true}}
---
"""


async def test_pods_with_users_of_their_own() -> None:
    """`hostUsers: false`, which a Cluster may make the default: root of a pod is nobody on the host (KEP-127)."""
    user, shared = limited(runAsUser=7, runAsGroup=7), limited(capabilities={"add": ["NET_ADMIN"]})
    wide = pod("wide", limited(seccompProfile={"type": "Unconfined"}))
    text = (
        pod("first", {}, user)
        + pod("second", {})
        + pod("host", {}, hostUsers=True)
        + pod("admin", shared)
        + wide
    )
    async with Lab.from_text(OWN_USERS + text) as lab:
        maps = {
            name: (await sh(lab, name, "cat /proc/self/uid_map")).split()
            for name in ("first", "second", "host")
        }
        assert await sh(
            lab, "first", "id -u; touch /etc/x /usr/bin/x /tmp/x /x; stat -c %u /etc/x /etc/passwd"
        ) == ("0\n0\n0")
        if AS_ROOT:
            words = (await sh(lab, "first", "id -u; cat /proc/self/gid_map", "c1")).split()
            assert words == ["7", *maps["first"]]
        events = await lab.get("Event", namespace="default")
        told = {
            (e["involvedObject"]["name"], e["message"]) for e in events if e["reason"] == "SecurityContext"
        }
        effect = "CAP_NET_ADMIN has no effect with hostUsers: false, as the pod's network is the lab's"
        if not AS_ROOT:
            assert maps["first"] == maps["second"] == maps["host"]
            return
        assert ("admin", effect) in told
        firsts = {name: int(first) for name, (_, first, number) in maps.items() if number == "65536"}
        assert firsts.keys() == {"first", "second"} and firsts["first"] != firsts["second"]
        assert all(first % 65536 == 0 and first > 0 for first in firsts.values())
        assert maps["host"] == ["0", "0", "4294967295"]
        owners = Counter(_owners_of(SLEEP))
        assert (  # at least: pods of other labs may have the very same users
            owners[firsts["first"]] >= 1
            and owners[firsts["first"] + 7] >= 1
            and owners[firsts["second"]] >= 1
        )
        assert await sh(lab, "first", "ping -c 1 -W 5 127.0.0.1 >/dev/null && echo heard") == "heard"
        script = "mkdir -p /tmp/cg; mount -t cgroup -o freezer none /tmp/cg || mount -t cgroup2 none /tmp/cg"
        tried = f"unshare -UrmC sh -c '({script}) && echo mounted; mkdir /tmp/cg/made; echo $?' 2>/dev/null"
        assert await sh(lab, "wide", tried) == "mounted\n1"  # the cgroups there are of another, root


def _owners_of(command: list[str]) -> Iterator[int]:
    """The host's numbers of those who run a program like that."""
    wanted = "\0".join(command).encode() + b"\0"
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if (folder / "cmdline").read_bytes() == wanted:
                    yield folder.stat().st_uid
            except OSError:
                continue


# Ways out


ESCAPES = {
    "a mount": ["mount", "-t", "tmpfs", "none", "/mnt"],
    "a mount of the host's disk": ["sh", "-c", "mknod /tmp/d b 254 0 && head -c 1 /tmp/d"],
    "a device of the host's memory": ["sh", "-c", "mknod /tmp/m c 1 1 && head -c 1 /tmp/m"],
    "a device in /dev": ["sh", "-c", "mknod /dev/m c 1 1 && head -c 1 /dev/m"],
    "a user namespace": ["unshare", "-U", "true"],
    "a mount namespace": ["unshare", "-m", "true"],
    "the namespaces of the first process": ["nsenter", "-t", "1", "-m", "-p", "true"],
    "what is run when a process dumps": ["sh", "-c", "echo '|/x' > /proc/sys/kernel/core_pattern"],
    "what is run when a cgroup is empty": [
        "sh", "-c", "mkdir /tmp/cg && mount -t cgroup -o memory none /tmp/cg && echo /x > /tmp/cg/release_agent",
    ],
    "the kernel's settings": ["sysctl", "-w", "vm.swappiness=7"],
    "the kernel's memory": ["sh", "-c", "test $(head -c 9 /proc/kcore | wc -c) -gt 0"],
    "the kernel's keys": ["sh", "-c", "test $(head -c 9 /proc/keys | wc -c) -gt 0"],
    "a way back from a root": [
        INTERPRETER, "-c",
        "import os; os.mkdir('/tmp/jail'); fd = os.open('/', 0); os.chroot('/tmp/jail'); os.fchdir(fd)\n"
        "for _ in range(64): os.chdir('..')\n"
        "os.chroot('.'); os.stat('/run/emulab') if os.path.exists('/run/emulab') else 1 / 0",
    ],
    "a file by its handle": [
        INTERPRETER, "-c",
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        "handle = ctypes.create_string_buffer(b'\\x08\\0\\0\\0\\x01\\0\\0\\0\\x02\\0\\0\\0\\0\\0\\0\\0')\n"
        "import os; fd = os.open('/etc', 0); n = libc.open_by_handle_at(fd, handle, 0); assert n >= 0",
    ],
    "the clock": ["date", "-s", "2001-01-01"],
    "the machine's cgroups": [
        "sh", "-c",
        "mkdir -p /tmp/cgroups && unshare -UrmC sh -c"
        " 'mount -t cgroup -o freezer none /tmp/cgroups || mount -t cgroup2 none /tmp/cgroups'",
    ],
    "keys of the host's user": [
        INTERPRETER, "-c",
        "import ctypes, platform; libc = ctypes.CDLL(None)\n"
        "number = {'x86_64': 250, 's390x': 280, 'ppc64le': 271}.get(platform.machine(), 219)\n"
        "assert libc.syscall(number, 0, -4, 0) > 0",
    ],
    "the machine below this one": [INTERPRETER, "-c", "import socket; socket.socket(40, socket.SOCK_STREAM)"],
    "another's module": ["sh", "-c", "modprobe dummy && grep dummy /proc/modules"],
    "a filter in the kernel": [
        INTERPRETER, "-c", "import ctypes; assert ctypes.CDLL(None).syscall(321, 0, 0, 0) == 0 or False",
    ],
    "descriptors of who started it": ["sh", "-c", "ls /proc/1/fd | grep -qv '^[012]$'"],
    "the host's processes": ["sh", "-c", "tr '\\0' ' ' < /proc/*/cmdline | grep emulab.lab.supervisor"],
    "the root of another process": [
        "sh", "-c", "for p in /proc/[0-9]*; do ! ls $p/root/run/emulab || exit 0; done; exit 1",
    ],
}  # fmt: skip


async def test_the_interpreter_that_a_container_is_made_by_is_not_the_hosts(lab: Lab) -> None:
    """Whose interpreter is /proc/self/exe is given what the process was until then (CVE-2019-5736)."""
    script = "#!/proc/self/exe\nimport os\nos.fchmod(os.open('/proc/self/exe', 0), 0o755)\nprint('changed')\n"
    await output(lab, "pod/plain", "sh", "-c", f'printf %s "{script}" > /tmp/x; chmod 755 /tmp/x')
    host = INTERPRETER
    before = os.stat(host).st_ctime_ns
    done = await lab.exec("pod/plain", "/tmp/x")
    assert os.stat(host).st_ctime_ns == before, done
    pid = (await asyncio.to_thread(Path(f"{_run_folder()}/{lab.name}/lab.json").read_text)).split('"pid": ')[
        1
    ]
    number = int(re.match(r"\d+", pid)[0])  # type: ignore[index]
    assert _program_of(number).startswith("/memfd:"), "the supervisor isn't a copy"


def _program_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/exe")


def _run_folder() -> str:
    own = "/run/emulab" if AS_ROOT else os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/emulab-{os.geteuid()}"
    return os.environ.get("EMULAB_RUN_DIR") or own


async def test_nobody_waits_for_what_a_container_has_put_there(lab: Lab) -> None:
    """A FIFO in place of /etc/passwd, which is looked at for who a program is; and what ends all that come."""
    await sh(lab, "two", "rm /etc/passwd /etc/group; mkfifo /etc/passwd; ln -s /dev/zero /etc/group", "c1")
    async with asyncio.timeout(60):
        assert await sh(lab, "two", "echo heard", "c1") == "heard"
        assert await sh(lab, "plain", "echo heard") == "heard"


async def test_devices_of_the_host_keep_their_modes(lab: Lab) -> None:
    for path in ("/dev/full", "/dev/null", "/proc/self/fd/0"):
        before = os.stat("/dev/null").st_mode, os.stat("/dev/full").st_mode
        await fails(lab, "plain", "sh", "-c", f"exec < /dev/null; chmod 640 {path}")
        assert (os.stat("/dev/null").st_mode, os.stat("/dev/full").st_mode) == before, path


async def test_a_hostpath_leads_to_nothing_of_emulabs(tmp_path: Path) -> None:
    folder = str(Path(_run_folder()).parent)
    cluster = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": "c"}}
    allowed = json.dumps({**cluster, "spec": {"pods": {"hostPaths": [{"path": folder}]}}})
    mounted = {"volumeMounts": [{"name": "v", "mountPath": "/h"}]}
    text = pod("peeping", mounted, volumes=[{"name": "v", "hostPath": {"path": folder}}])
    async with Lab.from_text(allowed + "\n---\n" + pod("innocent", {})) as made:
        await made.apply(text, ready=False)

        async def told() -> list[str]:
            events = await made.get("Event", namespace="default")
            return [e["message"] for e in events if e["reason"] == "FailedMount"]

        assert f"emulab keeps its own files at {_run_folder()}" in (await eventually(told))[0]


@pytest.mark.parametrize("name", ["plain", "free", "asking"])
async def test_there_is_no_way_out(lab: Lab, name: str) -> None:
    ways = {}
    for what, argv in ESCAPES.items():
        done = await lab.exec(f"pod/{name}", *argv)
        if done.status == 0:
            ways[what] = done.stdout
    assert not ways, ways


WATCHER = """
import os, sys, time
secret, seen, end = sys.argv[1], set(), time.monotonic() + 6
print("watching", flush=True)
while time.monotonic() < end:
    for pid in os.listdir("/proc"):
        if not pid.isdecimal() or int(pid) == os.getpid():
            continue
        for way in (f"root{secret}", "exe", "environ", "fd/0", "maps"):
            try:
                path = f"/proc/{pid}/{way}"
                if way == "environ":
                    found = open(path).read()
                    if "EMULAB" in found: seen.add(way)
                elif way == "exe":
                    if "python" in os.readlink(path): seen.add(way)
                elif way.startswith("root") and os.path.exists(path):
                    seen.add("root")
            except OSError:
                pass
print("seen", sorted(seen), flush=True)
"""


async def test_who_enters_a_container_cannot_be_looked_into(lab: Lab) -> None:
    """What comes into a container's namespaces has the lab's memory and root, until it is one of the container's."""
    secret = str(Path(os.environ.get("EMULAB_RUN_DIR") or "/run/emulab") / lab.name / "lab.json")
    watching = asyncio.ensure_future(lab.exec("pod/two", INTERPRETER, "-c", WATCHER, secret))
    while not watching.done():
        await asyncio.gather(*(lab.exec("pod/two", "true", container=c) for c in ("c0", "c1")))
    lines = watching.result().stdout.decode().splitlines()
    # Its own interpreter, which is a program of the container's, is all that it may find of that kind.
    assert lines[0] == "watching" and lines[-1] == "seen []", lines
