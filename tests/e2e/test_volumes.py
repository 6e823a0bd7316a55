"""Volumes and environments of containers with real programs: what they see, when it changes, and what is missing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import emulab, eventually, output

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.privilege]

ROOT = os.geteuid() == 0
SLEEP = "trap 'exit 0' TERM; sleep 1000 & wait"
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "settings"},
    "data": {"colour": "blue", "app.conf": "a=1\n"},
    "binaryData": {"blob": "AAEC"},
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "keys"},
    "stringData": {"password": "secret"},
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    top = tmp_path_factory.mktemp("host")
    for name in ("read", "write"):
        (top / name).mkdir()
        (top / name / "there").write_text(f"{name}\n")
        (top / name / "out").symlink_to("/etc")
    paths = [{"path": str(top / "read")}, {"path": str(top / "write"), "readOnly": False}]
    cluster = {
        "apiVersion": "emulab.dev/v1",
        "kind": "Cluster",
        "metadata": {"name": "volumes"},
        "spec": {"pods": {"hostPaths": paths}},
    }
    before = os.environ.get("http_proxy")
    os.environ["http_proxy"] = "http://192.0.2.1:1"
    try:
        async with Lab.from_text("\n---\n".join(map(json.dumps, (cluster, CONFIG, SECRET)))) as made:
            yield made
    finally:
        os.environ.pop("http_proxy")
        if before is not None:
            os.environ["http_proxy"] = before


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def nobody_stays(lab: Lab) -> AsyncIterator[None]:
    """What a test leaves that has failed holds up no other one."""
    yield
    for o in await lab.get("Pod", namespace="default"):
        if not o["metadata"].get("ownerReferences"):
            await end(lab, "Pod", o["metadata"]["name"])


@pytest.fixture
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which are those that Pods may see."""
    return tmp_path_factory.getbasetemp() / "host0"


def pod(
    name: str,
    script: str,
    volumes: dict[str, Any],
    mounts: list[dict[str, Any]],
    spec: Any = None,
    **container: Any,
) -> str:
    """A Pod that runs a shell script and sees these volumes, as JSON."""
    one = {"name": "main", "image": "x", "command": ["sh", "-c", script], "volumeMounts": mounts, **container}
    whole = {
        "terminationGracePeriodSeconds": 1,
        "containers": [one],
        "volumes": [{"name": volume, **source} for volume, source in volumes.items()],
        **(spec or {}),
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole})


def mount(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **more}


async def events(lab: Lab, name: str, reason: str) -> list[str]:
    found = await lab.get("Event", namespace="default")
    return [o["message"] for o in found if o["involvedObject"]["name"] == name and o["reason"] == reason]


async def told(lab: Lab, name: str, reason: str) -> list[str]:
    return await eventually(lambda: events(lab, name, reason))


async def waiting(lab: Lab, name: str) -> tuple[str, str]:
    """Reason and message of what a Pod's container waits for."""
    (found,) = await lab.get("Pod", name, "default")
    state = (found["status"].get("containerStatuses") or [{"state": {}}])[0]["state"]
    waits = state.get("waiting") or {}
    return waits.get("reason", ""), waits.get("message", "")


async def logs(lab: Lab, name: str) -> str:
    return (await emulab("-l", lab.name, "logs", name)).stdout.decode()


async def end(lab: Lab, kind: str, name: str) -> None:
    await lab.delete(kind, name)
    await gone(lab, kind, name)


async def gone(lab: Lab, kind: str, name: str) -> None:
    async def check() -> bool:
        namespace = "" if kind == "PersistentVolume" else "default"
        return not await lab.get(kind, name, namespace)

    await eventually(check)


# files of the kubelet


async def test_config_maps_and_secrets_are_files(lab: Lab) -> None:
    volumes = {
        "all": {"configMap": {"name": "settings"}},
        "some": {
            "configMap": {"name": "settings", "items": [{"key": "colour", "path": "in/c", "mode": 0o400}]}
        },
        "key": {"secret": {"secretName": "keys", "defaultMode": 0o440}},
        "none": {"secret": {"secretName": "nobody", "optional": True}},
    }
    mounts = [mount(name, f"/mnt/{name}") for name in volumes]
    mounts += [mount("all", "/mnt/file", subPath="app.conf")]
    script = (
        "cd /mnt; ls all; cat all/colour; echo; od -An -tx1 all/blob; stat -Lc %a all/colour some/in/c key/password;"
        " cat key/password file; ls none | wc -l; readlink all/colour; touch all/new || echo read-only;"
        + SLEEP
    )
    await lab.apply(pod("files", script, volumes, mounts))
    lines = [line for line in (await logs(lab, "files")).splitlines() if "Read-only" not in line]
    assert lines == [
        *("app.conf", "blob", "colour", "blue", " 00 01 02", "644", "400", "440"),
        *("secreta=1", "0", "..data/colour", "read-only"),
    ]
    await end(lab, "Pod", "files")


async def test_what_changes_is_seen_at_once_but_below_a_sub_path(lab: Lab) -> None:
    volumes = {
        "all": {"configMap": {"name": "settings"}},
        "pod": {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    }
    mounts = [mount("all", "/mnt/all"), mount("pod", "/mnt/pod"), mount("all", "/mnt/file", subPath="colour")]
    text = pod("changes", SLEEP, volumes, mounts)
    await lab.apply(text)
    old = await output(lab, "pod/changes", "readlink", "/mnt/all/..data")
    begun = time.monotonic()
    await lab.apply(json.dumps({**CONFIG, "data": {"colour": "red", "more": "m"}}))
    labelled = json.loads(text)
    labelled["metadata"]["labels"] = {"a": "b"}
    await lab.apply(json.dumps(labelled))

    async def changed() -> bool:
        seen = await output(lab, "pod/changes", "cat", "/mnt/all/colour", "/mnt/pod/labels")
        return seen == 'reda="b"'

    await eventually(changed)
    assert time.monotonic() - begun < 2
    assert await output(lab, "pod/changes", "cat", "/mnt/file") == "blue"
    assert (await output(lab, "pod/changes", "ls", "/mnt/all")).split() == ["blob", "colour", "more"]
    new = await output(lab, "pod/changes", "readlink", "/mnt/all/..data")
    folders = (await output(lab, "pod/changes", "sh", "-c", "cd /mnt/all; ls -d ..2*")).split()
    assert new != old and folders == [new]
    await lab.apply(json.dumps(CONFIG))
    await end(lab, "Pod", "changes")


async def test_a_volume_has_several_sources(lab: Lab) -> None:
    sources = [
        {"configMap": {"name": "settings", "items": [{"key": "colour", "path": "c"}]}},
        {"secret": {"name": "keys"}},
        {"downwardAPI": {"items": [{"path": "d/name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "vault"}},
    ]
    script = "cd /mnt/p; ls; cat c d/name; tr . ' ' <token | wc -w;" + SLEEP
    await lab.apply(
        pod("projects", script, {"p": {"projected": {"sources": sources}}}, [mount("p", "/mnt/p")])
    )
    assert (await logs(lab, "projects")).split() == ["c", "d", "password", "token", "blueprojects3"]
    await end(lab, "Pod", "projects")


async def test_a_pod_waits_for_a_volume_and_says_for_which(lab: Lab) -> None:
    late = {**CONFIG, "metadata": {"name": "late"}}
    volumes = {"late": {"configMap": {"name": "late"}}, "key": {"secret": {"secretName": "late"}}}
    mounts = [mount("late", "/mnt/late")]
    await lab.apply(pod("waits", f"cat /mnt/late/colour; {SLEEP}", volumes, mounts), ready=False)
    stand_in = json.loads(pod("stands", "", {"late": volumes["late"]}, mounts))
    del stand_in["spec"]["containers"][0]["command"]
    await lab.apply(json.dumps(stand_in), ready=False)
    await told(lab, "waits", "FailedMount")
    assert {*await events(lab, "waits", "FailedMount")} == {
        'MountVolume.SetUp failed for volume "late" : configmap "late" not found',
        'MountVolume.SetUp failed for volume "key" : secret "late" not found',
    }
    for name in ("waits", "stands"):
        assert await waiting(lab, name) == ("ContainerCreating", "")
    said = (await emulab("-l", lab.name, "up", "--timeout", "1s")).stderr.decode()
    assert 'main waits: ContainerCreating; MountVolume.SetUp failed for volume "' in said
    await lab.apply(json.dumps(late), ready=False)
    await lab.apply(json.dumps({**SECRET, "metadata": {"name": "late"}}))
    assert await logs(lab, "waits") == "blue"
    await end(lab, "Pod", "waits")
    await end(lab, "Pod", "stands")


async def test_a_stand_in_begins_without_a_secret_that_nobody_makes_here(lab: Lab) -> None:
    """As a controller whose certificate a Job makes, which runs no program here; a program waits for it."""
    spec = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "certgen"},
        "subjects": [{"kind": "ServiceAccount", "name": "certgen"}],
    }
    rules = {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}]}
    rbac = [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "certgen"}, **more}
        for kind, more in (("Role", rules), ("RoleBinding", spec))
    ]
    volumes, env = {"tls": {"secret": {"secretName": "made"}}}, {"secretKeyRef": {"name": "made", "key": "k"}}
    stand_in = json.loads(
        pod("serves", "", volumes, [mount("tls", "/tls")], env=[{"name": "K", "valueFrom": env}])
    )
    del stand_in["spec"]["containers"][0]["command"]
    stand_in["spec"]["containers"][0]["ports"] = [{"containerPort": 8443}]
    text = "\n---\n".join(map(json.dumps, (*rbac, stand_in)))
    done = await emulab("-l", lab.name, "apply", "-f", "-", stdin=text.encode())
    warned = "there is no Secret default/made, which ServiceAccount default/certgen would make in a cluster: stand-ins"
    assert warned in done.stderr.decode()
    await lab.wait("Pod", "serves", "condition=Ready")
    (o,) = await lab.get("Pod", "serves", "default")
    answer = await lab.request(f"http://{o['status']['podIP']}:8443/", source="node1")
    assert answer.json()["pod"] == "serves"
    await lab.apply(pod("runs", SLEEP, volumes, [mount("tls", "/tls")]), ready=False)
    await told(lab, "runs", "FailedMount")
    assert await waiting(lab, "runs") == ("ContainerCreating", "")
    for kind, name in (("Pod", "serves"), ("Pod", "runs"), ("Role", "certgen"), ("RoleBinding", "certgen")):
        await end(lab, kind, name)


async def test_a_program_may_be_a_volumes(lab: Lab) -> None:
    script = {
        **CONFIG,
        "metadata": {"name": "scripts"},
        "data": {"run.sh": f"#!/bin/sh\necho ran; {SLEEP}\n"},
    }
    volumes = {"own": {"configMap": {"name": "scripts", "defaultMode": 0o755}}}
    one = json.loads(pod("scripted", "", volumes, [mount("own", "/scripts")]))
    one["spec"]["containers"][0] |= {"image": "busybox", "command": ["/scripts/run.sh"]}
    await lab.apply("\n---\n".join(map(json.dumps, (script, one))))
    assert await logs(lab, "scripted") == "ran\n"
    await end(lab, "Pod", "scripted")


# environments


async def test_an_environment_is_the_containers_own(lab: Lab) -> None:
    env = [
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {
            "name": "ASKED",
            "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}},
        },
        {"name": "NODE", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "WORDS", "value": "$(P_colour) $(IP) $$(IP) $(NONE)"},
        {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
        {"name": "password", "value": "mine"},
    ]
    sources = [
        {"prefix": "P_", "configMapRef": {"name": "settings"}},
        {"secretRef": {"name": "keys"}},
        {"configMapRef": {"name": "nobody", "optional": True}},
    ]
    resources = {"limits": {"cpu": "1500m"}, "requests": {"memory": "100Mi"}}
    one = {"env": env, "envFrom": sources, "resources": resources, "args": ["x", "$(P_colour)"]}
    await lab.apply(pod("told", f'echo "args=$1"; env; {SLEEP}', {}, [], **one))
    found = dict(line.partition("=")[::2] for line in (await logs(lab, "told")).splitlines())
    (own,) = await lab.get("Pod", "told", "default")
    ip = own["status"]["podIP"]
    expected = {
        "args": "blue",
        "P_colour": "blue",
        "P_app.conf": "a=1",
        "password": "mine",
        "CPU": "1500",
        "ASKED": "100",
        "IP": ip,
        "WORDS": f"blue {ip} $(IP) $(NONE)",
        "HOSTNAME": "told",
        "HOME": "/root",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    }
    # dash has no variable of a name with a dot, and so doesn't hand it on.
    del expected["P_app.conf"]
    assert {name: found.get(name) for name in expected} == expected
    assert int(found["NODE"]) > 100
    ours = {name for name in found if not name.startswith("KUBERNETES_")} - expected.keys()
    assert ours <= {"NODE", "PWD", "SHLVL", "_", "P_app.conf"}
    await end(lab, "Pod", "told")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        (
            {"configMapKeyRef": {"name": "settings", "key": "k"}},
            "couldn't find key k in ConfigMap default/settings",
        ),
        ({"secretKeyRef": {"name": "keys", "key": "k"}}, "couldn't find key k in Secret default/keys"),
    ],
)
@pytest.mark.parametrize("runs", [True, False])
async def test_a_container_that_cant_be_told_waits(
    lab: Lab, source: dict[str, Any], message: str, runs: bool
) -> None:
    text = json.loads(pod("untold", SLEEP, {}, [], env=[{"name": "A", "valueFrom": source}]))
    if not runs:
        del text["spec"]["containers"][0]["command"]
    await lab.apply(json.dumps(text), ready=False)

    async def says() -> bool:
        return await waiting(lab, "untold") == ("CreateContainerConfigError", message)

    await eventually(says)
    assert f"Error: {message}" in await events(lab, "untold", "Failed")
    await end(lab, "Pod", "untold")


async def test_a_container_that_waited_is_told_what_has_come(lab: Lab) -> None:
    entry = {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "comes", "key": "colour"}}}
    await lab.apply(pod("patient", f"echo $A; {SLEEP}", {}, [], env=[entry]), ready=False)
    await told(lab, "patient", "Failed")
    await lab.apply(json.dumps({**CONFIG, "metadata": {"name": "comes"}}))
    assert await logs(lab, "patient") == "blue\n"
    (found,) = await lab.get("Pod", "patient", "default")
    assert found["status"]["containerStatuses"][0]["restartCount"] == 0
    await end(lab, "Pod", "patient")


# folders


async def test_an_empty_folder_is_shared_bounded_and_goes_with_its_pod(lab: Lab) -> None:
    volumes = {"scratch": {"emptyDir": {}}, "small": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}}
    mounts = [mount("scratch", "/mnt/s"), mount("small", "/mnt/small")]
    prepares = {
        "name": "prepares",
        "image": "x",
        "command": ["sh", "-c", "mkdir /mnt/s/a; echo $POD >/mnt/s/a/from-init; rm -rf /mnt/s/nothing"],
        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "volumeMounts": [mount("scratch", "/mnt/s")],
    }
    mounts += [
        mount("scratch", "/mnt/a", subPath="a", readOnly=True),
        mount("scratch", "/mnt/own", subPathExpr="$(POD)/deep"),
    ]
    script = (
        "cat /mnt/a/from-init; touch /mnt/a/x || echo read-only; touch /mnt/own/mine; ls /mnt/s/shares/deep;"
        " head -c 2M /dev/zero >/mnt/small/big || echo full; wc -c </mnt/small/big; stat -c %a /mnt/s /mnt/small;"
        + SLEEP
    )
    text = pod("shares", script, volumes, mounts, {"initContainers": [prepares]}, env=prepares["env"])
    await lab.apply(text)
    lines = [line for line in (await logs(lab, "shares")).splitlines() if ":" not in line]
    assert lines == ["shares", "read-only", "mine", "full", str(1 << 20), "777", "1777"]
    await end(lab, "Pod", "shares")
    await lab.apply(text)
    assert "mine" in await logs(lab, "shares")
    await end(lab, "Pod", "shares")


async def test_a_sub_path_stays_in_its_volume(lab: Lab) -> None:
    """A link that a container has made leads nowhere else (CVE-2021-25741)."""
    prepares = {
        "name": "prepares",
        "image": "x",
        "command": ["sh", "-c", "ln -s /etc /mnt/s/link; ln -s ../../../../etc /mnt/s/up"],
        "volumeMounts": [mount("s", "/mnt/s")],
    }
    mounts = [mount("s", "/mnt/link", subPath="link"), mount("s", "/mnt/up", subPath="up/deep")]
    script = f"ls -A /mnt/link /mnt/up | grep -c passwd; {SLEEP}"
    await lab.apply(
        pod("links", script, {"s": {"emptyDir": {}}}, mounts, {"initContainers": [prepares]}), ready=False
    )

    async def known() -> str:
        (found,) = await lab.get("Pod", "links", "default")
        status = (found["status"].get("containerStatuses") or [{}])[0]
        return (
            (await logs(lab, "links"))
            if "running" in status.get("state", {}) or status.get("lastState")
            else ""
        )

    assert "passwd" not in await eventually(known)
    await end(lab, "Pod", "links")


async def test_a_folder_of_the_hosts_is_seen_where_the_cluster_says_so(lab: Lab, host: Path) -> None:
    volumes = {
        "read": {"hostPath": {"path": str(host / "read"), "type": "Directory"}},
        "write": {"hostPath": {"path": str(host / "write/made/deep"), "type": "DirectoryOrCreate"}},
        "file": {"hostPath": {"path": str(host / "write/there"), "type": "File"}},
    }
    mounts = [mount(name, f"/mnt/{name}") for name in volumes]
    script = (
        "cat /mnt/read/there /mnt/file; touch /mnt/read/x || echo read-only; echo kept >/mnt/write/note;"
        + SLEEP
    )
    await lab.apply(pod("hosted", script, volumes, mounts))
    lines = [line for line in (await logs(lab, "hosted")).splitlines() if ":" not in line]
    assert lines == ["read", "write", "read-only"]
    assert (host / "write/made/deep/note").read_text() == "kept\n"
    assert not (host / "read/x").exists()
    await end(lab, "Pod", "hosted")


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("/etc", "", "hostPath /etc isn't allowed: name it in spec.pods.hostPaths of the Cluster"),
        (
            "{host}/reading",
            "",
            "hostPath {host}/reading isn't allowed: name it in spec.pods.hostPaths of the Cluster",
        ),
        (
            "{host}/read/there",
            "Directory",
            "hostPath type check failed: {host}/read/there is not a directory",
        ),
        ("{host}/read/none", "File", "hostPath type check failed: {host}/read/none is not a file"),
        ("{host}/read/none", "", "hostPath {host}/read/none isn't there, and Pods can't write there"),
        (
            "{host}/read/out/passwd",
            "File",
            "hostPath type check failed: {host}/read/out/passwd is not a file",
        ),
    ],
)
async def test_what_of_the_host_a_pod_does_not_see(
    lab: Lab, host: Path, path: str, kind: str, message: str
) -> None:
    volumes = {"h": {"hostPath": {"path": path.format(host=host), "type": kind}}}
    await lab.apply(pod("outside", SLEEP, volumes, [mount("h", "/mnt/h")]), ready=False)
    expected = f'MountVolume.SetUp failed for volume "h" : {message.format(host=host)}'

    async def says() -> bool:
        return expected in await events(lab, "outside", "FailedMount")

    await eventually(says)
    assert await waiting(lab, "outside") == ("ContainerCreating", "")
    assert not (host / "read/none").exists()
    await end(lab, "Pod", "outside")


async def test_the_group_of_a_volume(lab: Lab) -> None:
    volumes = {"s": {"emptyDir": {}}, "c": {"configMap": {"name": "settings", "defaultMode": 0o400}}}
    script = f"touch /mnt/s/new; stat -Lc '%a %g' /mnt/s /mnt/s/new /mnt/c/colour; {SLEEP}"
    context = {"securityContext": {"fsGroup": 4321}}
    await lab.apply(pod("grouped", script, volumes, [mount("s", "/mnt/s"), mount("c", "/mnt/c")], context))
    lines = (await logs(lab, "grouped")).splitlines()
    if ROOT:
        assert lines == ["2777 4321", "644 4321", "440 4321"]
    else:
        assert lines == ["777 0", "644 0", "400 0"]
        assert len(await events(lab, "grouped", "NoFSGroup")) == 2
    await end(lab, "Pod", "grouped")


async def test_a_program_beside_a_stand_in_sees_its_volumes(lab: Lab) -> None:
    probe = {"exec": {"command": ["grep", "blue", "/mnt/c/colour"]}, "periodSeconds": 1}
    text = json.loads(pod("probed", "", {"c": {"configMap": {"name": "settings"}}}, [mount("c", "/mnt/c")]))
    text["spec"]["containers"][0]["readinessProbe"] = probe
    del text["spec"]["containers"][0]["command"]
    await lab.apply(json.dumps(text))
    assert not await events(lab, "probed", "Unhealthy")
    assert await output(lab, "pod/probed", "cat", "/mnt/c/colour") == "blue"
    await end(lab, "Pod", "probed")


# claims


def claim(name: str, **spec: Any) -> str:
    asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    raw = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": asked}
    return json.dumps(raw)


async def test_a_claims_folder_outlives_pods_and_goes_with_the_claim(lab: Lab) -> None:
    await lab.apply(claim("data"))
    (found,) = await lab.get("PersistentVolumeClaim", "data", "default")
    assert found["status"]["phase"] == "Pending"
    volumes = {"d": {"persistentVolumeClaim": {"claimName": "data"}}}
    text = pod("keeps", f"echo once >>/mnt/d/log; cat /mnt/d/log; {SLEEP}", volumes, [mount("d", "/mnt/d")])
    await lab.apply(text)
    await end(lab, "Pod", "keeps")
    await lab.apply(text)
    assert await logs(lab, "keeps") == "once\nonce\n"
    shown = (await emulab("-l", lab.name, "get", "pvc", "data")).text.splitlines()
    assert shown[0].split() == [
        *(
            "NAME",
            "STATUS",
            "VOLUME",
            "CAPACITY",
            "ACCESS",
            "MODES",
            "STORAGECLASS",
            "VOLUMEATTRIBUTESCLASS",
            "AGE",
        ),
    ]
    (found,) = await lab.get("PersistentVolumeClaim", "data", "default")
    volume = found["spec"]["volumeName"]
    assert shown[1].split()[:7] == ["data", "Bound", volume, "1Gi", "RWO", "standard", "<unset>"]
    await emulab("-l", lab.name, "delete", "pvc", "data", "--wait=false")
    assert "Terminating" in (await emulab("-l", lab.name, "get", "pvc", "data")).text
    await end(lab, "Pod", "keeps")
    await gone(lab, "PersistentVolumeClaim", "data")
    await gone(lab, "PersistentVolume", volume)


async def test_a_pod_has_no_node_before_its_claim_is_there(lab: Lab) -> None:
    volumes = {"d": {"persistentVolumeClaim": {"claimName": "absent"}}}
    await lab.apply(pod("early", SLEEP, volumes, [mount("d", "/mnt/d")]), ready=False)
    assert await told(lab, "early", "FailedScheduling") == [
        '0/2 nodes are available: persistentvolumeclaim "absent" not found.'
    ]
    await lab.apply(claim("absent"))
    await end(lab, "Pod", "early")
    await lab.delete("PersistentVolumeClaim", "absent")


async def test_a_pod_with_a_node_waits_for_its_claim(lab: Lab) -> None:
    volumes = {"d": {"persistentVolumeClaim": {"claimName": "none"}}}
    await lab.apply(pod("placed", SLEEP, volumes, [mount("d", "/mnt/d")], {"nodeName": "node1"}), ready=False)
    assert (await told(lab, "placed", "FailedMount"))[0] == (
        "Unable to attach or mount volumes: unmounted volumes=[d], unattached volumes=[], failed to process"
        " volumes=[d]: error processing PVC default/none: failed to fetch PVC from API server:"
        ' persistentvolumeclaims "none" not found'
    )
    await end(lab, "Pod", "placed")


async def test_a_volume_that_is_there_is_found_by_its_claim(lab: Lab, host: Path) -> None:
    spec = {
        "capacity": {"storage": "2Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "manual",
        "hostPath": {"path": str(host / "write")},
    }
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "fixed"}, "spec": spec}
    await lab.apply(f"{json.dumps(volume)}\n---\n{claim('found', storageClassName='manual')}")
    (found,) = await lab.get("PersistentVolumeClaim", "found", "default")
    assert (found["spec"]["volumeName"], found["status"]["capacity"]) == ("fixed", {"storage": "2Gi"})
    volumes = {"d": {"persistentVolumeClaim": {"claimName": "found", "readOnly": True}}}
    script = f"cat /mnt/d/there; touch /mnt/d/x || echo read-only; {SLEEP}"
    await lab.apply(pod("finds", script, volumes, [mount("d", "/mnt/d")]))
    assert (await logs(lab, "finds")).splitlines()[::2] == ["write", "read-only"]
    await end(lab, "Pod", "finds")
    await lab.delete("PersistentVolumeClaim", "found")
    (left,) = await lab.get("PersistentVolume", "fixed", "")
    assert left["status"]["phase"] == "Released"
    await lab.delete("PersistentVolume", "fixed", "")


async def test_a_stateful_set_has_a_claim_for_each_pod(lab: Lab) -> None:
    template = {"metadata": {"name": "d"}, "spec": json.loads(claim("d"))["spec"]}
    one = json.loads(pod("x", f"echo $HOSTNAME >>/mnt/d/log; {SLEEP}", {}, [mount("d", "/mnt/d")]))["spec"]
    spec = {
        "serviceName": "set",
        "replicas": 2,
        "selector": {"matchLabels": {"app": "set"}},
        "template": {"metadata": {"labels": {"app": "set"}}, "spec": {"containers": one["containers"]}},
        "volumeClaimTemplates": [template],
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
    }
    spec["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    await lab.apply(
        json.dumps(
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "set"}, "spec": spec}
        )
    )
    await emulab("-l", lab.name, "delete", "pod", "set-0")
    await lab.ready()
    assert await output(lab, "pod/set-0", "cat", "/mnt/d/log") == "set-0\nset-0"
    await emulab("-l", lab.name, "scale", "sts/set", "--replicas=1")
    await gone(lab, "PersistentVolumeClaim", "d-set-1")
    await lab.delete("StatefulSet", "set")
    (kept,) = await lab.get("PersistentVolumeClaim", "d-set-0", "default")
    assert kept["metadata"]["labels"] == {"app": "set"}
    await lab.delete("PersistentVolumeClaim", "d-set-0")


async def test_a_pods_own_claim_goes_with_it(lab: Lab) -> None:
    template = {"volumeClaimTemplate": {"spec": json.loads(claim("d"))["spec"]}}
    await lab.apply(
        pod("owns", f"touch /mnt/d/x; {SLEEP}", {"d": {"ephemeral": template}}, [mount("d", "/mnt/d")])
    )
    (found,) = await lab.get("PersistentVolumeClaim", "owns-d", "default")
    assert found["metadata"]["ownerReferences"][0]["name"] == "owns"
    await end(lab, "Pod", "owns")
    await gone(lab, "PersistentVolumeClaim", "owns-d")


async def test_of_what_labs_have_not_a_program_is_told(lab: Lab) -> None:
    volumes = {"n": {"nfs": {"server": "10.0.0.9", "path": "/"}}}
    await lab.apply(pod("remote", SLEEP, volumes, [mount("n", "/mnt/n")]), ready=False)
    assert await told(lab, "remote", "FailedMount") == [
        'MountVolume.SetUp failed for volume "n" : a lab has no volumes of type nfs; give the Pod a'
        " persistentVolumeClaim instead"
    ]
    await end(lab, "Pod", "remote")
    stand_in = json.loads(pod("stands", "", volumes, [mount("n", "/mnt/n")]))
    del stand_in["spec"]["containers"][0]["command"]
    await lab.apply(json.dumps(stand_in))
    await end(lab, "Pod", "stands")
