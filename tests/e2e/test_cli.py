"""The command line, as a user in a shell has it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from emulab.kernel.processes.launch import import_path
from emulab.kernel.processes.programs import this_program

from .tools import AS_ROOT, TOPOLOGIES, emulab, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = str(TOPOLOGIES / "shop.yaml")
URL = "http://shop.example.com/products/42"
LAB = f"e2e-{os.getpid()}-cli"

WRONG = """apiVersion: v1
kind: Service
metadata: {name: wrong}
spec:
  selector: {app: x}
  ports:
    - port: 99999
"""

FIRST = """apiVersion: v1
kind: Service
metadata: {name: first}
spec: {externalIPs: [192.0.2.77], selector: {app: product}, ports: [{port: 80, targetPort: 8080}]}
"""

BALANCED = "type: LoadBalancer, externalTrafficPolicy: Local"

SICK = """apiVersion: v1
kind: Pod
metadata: {name: sick}
spec: {containers: [{name: c, readinessProbe: {exec: {command: ['false']}}}]}
"""


def lab_name(what: str) -> str:
    return f"e2e-{os.getpid()}-{what}"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[str]:
    """A lab of the shop that `up` has left running."""
    up = await emulab("-l", LAB, "up", SHOP)
    try:
        assert up.status == 0, up.stderr
        yield LAB
    finally:
        assert (await emulab("-l", LAB, "down")).status == 0


async def labs() -> list[dict[str, object]]:
    done = await emulab("labs", "-o", "json")
    assert done.status == 0 and not done.stderr
    found: list[dict[str, object]] = json.loads(done.stdout)
    return found


def is_running(pid: object) -> bool:
    """Whether there is such a process, one that waits to be collected by its parent (a zombie) left out."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_run_has_the_status_and_output_of_its_command() -> None:
    """curl's answer on stdout and nothing else; `false` is 1; what isn't there is 127; the lab is gone."""
    done = await emulab("run", SHOP, "--", "curl", "-s", URL)
    assert done.status == 0 and json.loads(done.stdout)["service"] == "product-service"
    assert done.stderr == b""
    false, missing = await asyncio.gather(
        emulab("run", SHOP, "--", "false"), emulab("run", SHOP, "--", "no-such-program")
    )
    assert false.status == 1 and false.stdout == b""
    assert missing.status == 127 and b"no-such-program" in missing.stderr
    assert [one for one in await labs() if one["name"] != LAB] == []


@pytest.mark.parametrize("verb", ["up", "run", "plan", "apply"])
async def test_a_wrong_manifest_is_one_clear_line_and_nothing_is_left(
    verb: str, lab: str, tmp_path: Path
) -> None:
    """Status 1, `FILE:LINE: what`, no traceback; no lab comes of it and a running one is as before."""
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    name = lab if verb == "apply" else lab_name("wrong")
    arguments = {"apply": ["-f", str(file)], "run": [str(file), "--", "true"]}.get(verb, [str(file)])
    done = await emulab("-l", name, verb, *arguments)
    assert done.status == 1 and done.stdout == b""
    text = done.stderr.decode()
    assert "Traceback" not in text
    where = f"{re.escape(str(file))}:7: Service/wrong spec.ports\\[0\\].port: 99999 "
    assert re.match(f"(emulab: )?{where}", text.splitlines()[0]), text
    assert [one["name"] for one in await labs()] == [lab]
    found = await emulab("-l", lab, "get", "service", "wrong")
    assert found.status == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["up", "--nonsense"],
        ["exec"],
        ["exec", "client"],
        ["run", SHOP],
        ["-l", "No Name!", "labs"],
    ],
)
async def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    done = await emulab(*arguments)
    assert done.status == 2 and done.stdout == b"" and b"Traceback" not in done.stderr
    assert done.stderr.decode().splitlines()[0].strip()


@pytest.mark.privilege
async def test_up_and_down_and_down_again() -> None:
    """`up` says what to try next; `labs` knows the lab; `down` removes it, and is content with nothing to do."""
    name = lab_name("updown")
    up = await emulab("-l", name, "up", SHOP)
    assert up.status == 0 and b"\x1b" not in up.stdout + up.stderr, "no colours into a pipe"
    assert "emulab" in up.text and "exec client -- curl" in up.text
    try:

        async def answers() -> dict[str, object]:  # `labs` waits just two seconds for a lab
            [found] = [one for one in await labs() if one["name"] == name]
            return found if found["state"] == "Ready" else {}

        mine = await eventually(answers)
        assert mine["nodes"] == 2 and int(str(mine["pods"])) >= 6
        assert is_running(mine["pid"])
        again = await emulab("-l", name, "up", SHOP)
        assert again.status == 0, "files are applied to the lab that runs"
    finally:
        down = await emulab("-l", name, "down")
    assert down.status == 0
    assert name not in [one["name"] for one in await labs()]
    assert not is_running(mine["pid"])
    assert (await emulab("-l", name, "down")).status == 0
    after = await emulab("-l", name, "exec", "client", "--", "true")
    assert after.status == 1 and b"is not up" in after.stderr


@pytest.mark.parametrize("mode", ["nftables", "iptables", "userspace"])
async def test_what_up_tells_to_try_works(mode: str, tmp_path: Path) -> None:
    cluster, name = tmp_path / "cluster.yaml", lab_name(mode)
    cluster.write_text(
        f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: x}}\nspec: {{proxy: {{mode: {mode}}}}}\n"
    )
    up = await emulab("-l", name, "up", SHOP, str(cluster))
    try:
        assert up.status == 0, up.stderr
        tries = [shlex.split(line) for line in up.stdout.decode().partition("Try:\n")[2].splitlines()]
        assert len(tries) == 5 and tries[-1][-1] == "down"
        for command, *words in tries:
            done = await emulab(*words)
            assert command == "emulab" and done.status == 0 and done.stdout, done.stderr
    finally:
        assert (await emulab("-l", name, "down")).status == 0


@pytest.mark.privilege
async def test_a_killed_supervisor_leaves_nothing() -> None:
    """kill -9: its processes and folder are gone with the next command, and `up` works again."""
    name = lab_name("killed")
    assert (await emulab("-l", name, "up", SHOP)).status == 0
    [mine] = [one for one in await labs() if one["name"] == name]
    os.kill(int(str(mine["pid"])), signal.SIGKILL)

    async def dead() -> bool:
        return name not in [one["name"] for one in await labs()]

    await eventually(dead)
    # The one before may have found its last process alive when it looked for what is to be removed.
    await labs()
    assert not (Path(os.environ["EMULAB_RUN_DIR"]) / name).exists()
    if AS_ROOT:
        assert not [p for p in os.listdir("/run/netns") if p.startswith(f"{name}.")]
    assert (await emulab("-l", name, "up", SHOP)).status == 0
    done = await emulab("-l", name, "exec", "client", "--", "curl", "-s", URL)
    assert done.status == 0 and b"product-service" in done.stdout
    assert (await emulab("-l", name, "down")).status == 0


async def test_get_prints_kubectls_columns(lab: str) -> None:
    done = await emulab("-l", lab, "get", "pods")
    header, *rows = done.stdout.decode().splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert len(rows) == 3 and all(re.match(r"product-\S+ +1/1 +Running +0 +\d+", row) for row in rows)
    wide = (await emulab("-l", lab, "get", "po", "-o", "wide", "-A")).stdout.decode().splitlines()
    assert wide[0].split()[:2] == ["NAMESPACE", "NAME"] and "IP" in wide[0] and "NODE" in wide[0]
    assert any("kube-system" in row and "coredns" in row for row in wide)
    service = (await emulab("-l", lab, "get", "svc", "product-service")).stdout.decode().splitlines()
    assert service[0].split() == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"]
    assert re.match(r"product-service +ClusterIP +10\.\d+\.\d+\.\d+ +<none> +80/TCP", service[1])
    ingress = (await emulab("-l", lab, "get", "ing")).stdout.decode()
    assert "shop-ingress" in ingress and "shop.example.com" in ingress and "203.0.113.10" in ingress
    nodes = (await emulab("-l", lab, "get", "no")).stdout.decode()
    assert re.search(r"(?m)^node1 +Ready", nodes) and re.search(r"(?m)^node2 +Ready", nodes)


async def test_get_prints_json_and_yaml(lab: str) -> None:
    listed = json.loads((await emulab("-l", lab, "get", "pods", "-o", "json")).stdout)
    assert listed["kind"] == "List" and len(listed["items"]) == 3
    assert all(p["kind"] == "Pod" and p["status"]["podIP"] and p["metadata"]["uid"] for p in listed["items"])
    one = json.loads((await emulab("-l", lab, "get", "deploy", "product", "-o", "json")).stdout)
    assert one["kind"] == "Deployment" and one["status"]["readyReplicas"] == 3
    text = (await emulab("-l", lab, "get", "deploy/product", "-o", "yaml")).text
    assert "kind: Deployment" in text and "readyReplicas: 3" in text
    none = await emulab("-l", lab, "get", "pods", "nobody")
    assert none.status == 1 and b"nobody" in none.stderr and none.stdout == b""


@pytest.mark.parametrize(
    "words", ["Deployment", "deploy.apps", "deployments.apps", "deployment.apps/product"]
)
async def test_kinds_go_by_all_of_kubectls_names(lab: str, words: str) -> None:
    listed = (await emulab("-l", lab, "get", words)).text
    assert listed.splitlines()[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert re.search(r"(?m)^product +3/3 ", listed)


async def test_describe_tells_what_matters(lab: str) -> None:
    done = await emulab("-l", lab, "describe", "service", "product-service")
    assert done.status == 0
    assert "product-service" in done.text and re.search(
        r"Endpoints:\s+10\.244\.\d\.\d+:8080,10\.244", done.text
    )


async def test_scale_apply_and_delete(lab: str, tmp_path: Path) -> None:
    """Each returns when the data plane has changed."""

    async def names() -> set[str]:
        listed = json.loads((await emulab("-l", lab, "get", "pods", "-o", "json")).stdout)
        return {p["metadata"]["name"] for p in listed["items"] if "deletionTimestamp" not in p["metadata"]}

    assert (await emulab("-l", lab, "scale", "deployment/product", "--replicas", "4")).status == 0
    assert len(await names()) == 4
    assert (await emulab("-l", lab, "scale", "deployment/product", "--replicas", "3")).status == 0
    assert len(await names()) == 3
    file = tmp_path / "extra.yaml"
    file.write_text("apiVersion: v1\nkind: Pod\nmetadata: {name: extra}\nspec: {containers: [{name: c}]}\n")
    applied = await emulab("-l", lab, "apply", "-f", str(file))
    assert applied.status == 0 and applied.text == "pod/extra created"
    assert (await emulab("-l", lab, "apply", "-f", str(file))).text == "pod/extra unchanged"
    deleted = await emulab("-l", lab, "delete", "-f", str(file))
    assert deleted.status == 0 and "pod" in deleted.text and "extra" in deleted.text

    async def gone() -> bool:
        return (await emulab("-l", lab, "get", "pod", "extra")).status == 1

    await eventually(gone)  # applied while it is terminating, it would go all the same
    missing = await emulab("-l", lab, "delete", "pod", "extra-2")
    assert missing.status == 1 and b"extra-2" in missing.stderr
    piped = await emulab("-l", lab, "apply", "-f", "-", stdin=file.read_bytes())
    assert piped.status == 0
    assert (await emulab("-l", lab, "delete", "pod", "extra")).status == 0


async def test_a_service_changes_its_type_in_what_get_shows(lab: str, tmp_path: Path) -> None:
    """What its old type had goes with that, unless it was changed as well."""
    written = tmp_path / "edited.yaml"

    async def edited(**changes: str) -> str:
        shown = json.loads((await emulab("-l", lab, "get", "svc", "edited", "-o", "json")).stdout)
        shown["spec"].update(changes)
        written.write_text(json.dumps(shown))
        done = await emulab("-l", lab, "apply", "-f", str(written))
        return done.text + done.stderr.decode()

    written.write_text(
        FIRST.replace("name: first", "name: edited").replace("externalIPs: [192.0.2.77]", BALANCED)
    )
    assert (await emulab("-l", lab, "apply", "-f", str(written))).status == 0
    assert "loadBalancerClass: may not be set" in await edited(
        type="ClusterIP", loadBalancerClass="a.example/b"
    )
    for changes in ({"type": "ClusterIP"}, {"type": "ExternalName", "externalName": "www.example.com"}):
        assert "edited configured" in await edited(**changes)
    spec = json.loads((await emulab("-l", lab, "get", "svc", "edited", "-o", "json")).stdout)["spec"]
    assert set(spec) == {
        *("externalName", "internalTrafficPolicy", "ports", "selector", "sessionAffinity", "type"),
    }
    assert await edited(type="NodePort") and (await emulab("-l", lab, "delete", "svc", "edited")).status == 0


async def test_a_lab_that_is_not_ready_in_time_stays_up(tmp_path: Path) -> None:
    """What isn't Ready is named, and can be looked at; who doesn't want to wait isn't told of it."""
    name, file = lab_name("late"), tmp_path / "sick.yaml"
    file.write_text(SICK)
    try:
        up = await emulab("-l", name, "up", str(file), "--timeout", "1s")
        assert up.status == 1 and b"not ready in time: Pod default/sick container c" in up.stderr, up.stderr
        assert (await emulab("-l", name, "get", "pod", "sick")).status == 0
        again = await emulab("-l", name, "up", str(file), "--wait=false")
        assert again.status == 0 and "built in" in again.text
    finally:
        down = await emulab("-l", name, "down")
    assert (down.status, down.text) == (0, f"lab {name} is down")


async def test_warnings_are_about_what_the_lab_has(lab: str, tmp_path: Path) -> None:
    """A selector may be right only with what is there already, and an address taken only by what is."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(FIRST)
    second.write_text(FIRST.replace("first", "second"))
    applied = await emulab("-l", lab, "apply", "-f", str(first))
    assert (applied.status, applied.stderr) == (0, b"")
    applied = await emulab("-l", lab, "apply", "-f", str(second))
    taken = "Service/second spec.externalIPs[0]: port 80/TCP of 192.0.2.77 is Service default/first's"
    assert (applied.status, applied.stderr.decode()) == (0, f"warning: {second}:1: {taken}\n")
    deleted = await emulab("-l", lab, "delete", "-f", str(first), "-f", str(second))
    assert deleted.status == 0, deleted.stderr


@pytest.mark.privilege
async def test_run_ended_by_a_signal_takes_its_lab_along() -> None:
    """SIGTERM to `emulab run`: the command gets it and the lab is gone, long before the command would have ended."""
    process = await asyncio.create_subprocess_exec(
        *(*this_program(), "run", SHOP, "--", "sh", "-c", "echo up; exec sleep 1000"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": import_path()},
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"up\n"
        process.terminate()
        assert await process.wait() == 143

    async def only_ours() -> bool:
        return not [one for one in await labs() if str(one["name"]).startswith("run-")]

    await eventually(only_ours)
    if AS_ROOT:
        assert not [p for p in os.listdir("/run/netns") if p.startswith(f"run-{process.pid}.")]


@pytest.mark.privilege
async def test_plan_and_doctor_need_no_lab() -> None:
    """`plan` prints what would be built; `doctor` says what works here."""
    before = {(one["name"], one["pid"]) for one in await labs()}
    plan = await emulab("plan", SHOP)
    assert plan.status == 0 and "flannel.1" in plan.text and "public-lb" in plan.text
    doctor = await emulab("doctor")
    assert doctor.status == 0 and doctor.text
    assert {(one["name"], one["pid"]) for one in await labs()} == before


@pytest.mark.root
async def test_places_are_named_namespaces_for_root(lab: str) -> None:
    """`ip netns exec LAB.PLACE` and LAB.NAMESPACE.POD work, and have the place's own resolv.conf."""
    listed = json.loads((await emulab("-l", lab, "get", "pods", "-o", "json")).stdout)
    pod = next(p for p in listed["items"] if "deletionTimestamp" not in p["metadata"])
    process = await asyncio.create_subprocess_exec(
        *(
            "ip",
            "netns",
            "exec",
            f"{lab}.default.{pod['metadata']['name']}",
            "ip",
            "-4",
            "-br",
            "address",
            "show",
            "eth0",
        ),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0 and pod["status"]["podIP"].encode() in out
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", f"{lab}.client", "curl", "-s", URL), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0 and json.loads(out)["service"] == "product-service"
