"""What an OCI runtime is told of a container, and what one is found to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emulab.errors import KernelError
from emulab.kernel.containers import runtimes
from emulab.kernel.containers.build import LaidBind
from emulab.kernel.containers.confine import Credentials
from emulab.kernel.containers.ocispec import OciContainer, config, seccomp
from emulab.kernel.containers.rights import DEFAULT_CAPABILITIES, Rights


def told(rights: Rights | None = None, **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "argv": ("sleep", "1"),
        "environment": {"A": "b=c"},
        "working_directory": "",
        "identity": Credentials(0, 0, (), "/root"),
        "root": "/mnt/root",
        "machine": "x86_64",
        **more,
    }
    return json.loads(json.dumps(config(OciContainer(rights=rights or Rights(), **values))))


def test_a_process_is_its_user_with_its_capabilities() -> None:
    process = told()["process"]
    assert process["args"] == ["sleep", "1"] and process["cwd"] == "/" and not process["terminal"]
    assert process["env"] == ["HOME=/root", "A=b=c"]
    assert process["user"] == {"uid": 0, "gid": 0} and not process["noNewPrivileges"]
    held = process["capabilities"]
    assert set(held["bounding"]) == {f"CAP_{name}" for name in DEFAULT_CAPABILITIES}
    assert held == dict.fromkeys(("bounding", "effective", "permitted"), held["bounding"])

    strict = Rights(capabilities=("NET_RAW", "SYS_TIME"), no_new_privileges=True)
    identity = Credentials(7, 8, (9, 10), "/home/seven")
    process = told(strict, identity=identity, environment={"HOME": "/x"}, permitted=1 << 13)["process"]
    assert process["user"] == {"uid": 7, "gid": 8, "additionalGids": [9, 10]}
    assert process["env"] == ["HOME=/x"] and process["noNewPrivileges"]
    assert process["capabilities"]["bounding"] == ["CAP_NET_RAW"], "what the lab doesn't have can't be given"


def test_namespaces_are_joined_made_anew_or_the_runtimes() -> None:
    namespaces = told(namespaces={"net": "/ns/net", "uts": "/ns/uts"})["linux"]["namespaces"]
    by_type = {entry["type"]: entry.get("path") for entry in namespaces}
    assert by_type == {"mount": None, "pid": None, "cgroup": None, "network": "/ns/net", "uts": "/ns/uts"}
    linux = told(namespaces={"pid": "/ns/pid", "users": "/ns/users"}, first_user=65536)["linux"]
    by_type = {entry["type"]: entry.get("path") for entry in linux["namespaces"]}
    assert by_type == {"mount": None, "pid": "/ns/pid", "cgroup": None, "user": "/ns/users"}
    assert (
        linux["uidMappings"] == [{"containerID": 0, "hostID": 65536, "size": 65536}] == linux["gidMappings"]
    )


def test_mounts_keep_what_they_forbid() -> None:
    document = told(binds=[LaidBind("/mnt/binds/0", "/etc/hosts", ["ro", "nodev"])], read_only=True)
    assert document["root"] == {"path": "/mnt/root", "readonly": True}
    proc, hosts = document["mounts"]
    assert (proc["destination"], proc["type"]) == ("/proc", "proc")
    assert hosts == {
        "destination": "/etc/hosts",
        "type": "bind",
        "source": "/mnt/binds/0",
        "options": ["rbind", "rprivate", "ro", "nodev"],
    }


def test_what_of_the_kernel_is_seen() -> None:
    linux = told()["linux"]
    assert "/proc/kcore" in linux["maskedPaths"] and "/proc/sys" in linux["readonlyPaths"]
    linux = told(Rights(seccomp="none"), unmasked=True)["linux"]
    assert not {"maskedPaths", "readonlyPaths", "seccomp", "uidMappings"} & linux.keys()


def test_system_calls_are_those_of_containerds_profile() -> None:
    profile = seccomp(("NET_RAW",), "x86_64")
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO" and profile["defaultErrnoRet"] == 1
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    always = set(profile["syscalls"][0]["names"])
    assert {"read", "arch_prctl", "mknod"} <= always
    assert not {"mount", "unshare", "clone", "clone3", "socket", "bpf"} & always
    rules: dict[str, list[dict[str, Any]]] = {}
    for rule in profile["syscalls"][1:]:
        rules.setdefault(rule["names"][0], []).append(rule)
    (clone,) = rules["clone"]
    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    assert rules["clone3"] == [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    families = [(rule["args"][0]["op"], rule["args"][0]["value"]) for rule in rules["socket"]]
    assert families == [("SCMP_CMP_LT", 38), ("SCMP_CMP_EQ", 39), ("SCMP_CMP_GT", 40)]

    free = seccomp(("SYS_ADMIN",), "aarch64")
    assert {"mount", "clone", "clone3", "sync_file_range2"} <= set(free["syscalls"][0]["names"])
    assert {rule["names"][0] for rule in free["syscalls"][1:]} == {"socket", "personality"}
    assert seccomp((), "s390x")["syscalls"][-2]["args"][0]["index"] == 1


def test_without_a_profile_what_no_namespace_divides_is_refused() -> None:
    profile = told(Rights(seccomp="unconfined"))["linux"]["seccomp"]
    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    refused = {rule["names"][0]: rule for rule in profile["syscalls"]}
    assert {"add_key", "socket", "clone", "unshare", "clone3"} == refused.keys()
    new_users = {"index": 0, "value": 1 << 28, "valueTwo": 1 << 28, "op": "SCMP_CMP_MASKED_EQ"}
    assert refused["clone"]["args"] == refused["unshare"]["args"] == [new_users]
    own = told(Rights(seccomp="unconfined", makes_users=True))["linux"]["seccomp"]
    assert [rule["names"][0] for rule in own["syscalls"]] == ["add_key", "socket"]


def test_a_runtime_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "PATH", str(tmp_path))
    with pytest.raises(KernelError, match=r"^crun isn't installed; apt install crun$"):
        runtimes.run_of("crun", "/folder", "id")
    (tmp_path / "crun").write_text("")
    (tmp_path / "crun").chmod(0o755)
    run = runtimes.run_of("crun", "/folder", "id")
    assert run.command == (f"{tmp_path}/crun", "--cgroup-manager=disabled") and not run.binds_devices


def test_what_a_runtime_says_of_a_failure(tmp_path: Path) -> None:
    assert runtimes.last_error(tmp_path) == ""
    lines = (
        '{"msg":"no such file","level":"error","time":"1"}',
        '{"msg":"all is well","level":"warning"}',
        "not JSON",
    )
    (tmp_path / "log").write_text("\n".join(lines))
    assert runtimes.last_error(tmp_path) == "no such file"
