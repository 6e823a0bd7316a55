"""Pods' networks by the CNI plug-ins of this machine, and containers of others that `emulab cni` attaches."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.kernel.processes.programs import this_program

from .crashes import User
from .proxyworld import pod, service
from .tools import (
    AS_ROOT,
    NODE1,
    NODE2,
    TOPOLOGIES,
    cluster_ip,
    datagram,
    emulab,
    eventually,
    output,
    refused,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHOP = (TOPOLOGIES / "shop.yaml").read_text()
URL = "http://shop.example.com/products/42"


def cluster(network: str) -> str:
    return f"""
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {{name: plugged}}
spec: {{network: {network}}}
---"""


WEB = pod(
    "web",
    "node1",
    ports="{containerPort: 8080, hostPort: 8888}, {containerPort: 8081, hostPort: 5353, protocol: UDP}",
).replace(
    "metadata: {name: web",
    "metadata: {annotations: {kubernetes.io/ingress-bandwidth: 100M, kubernetes.io/egress-bandwidth: 50M}, name: web",
)
WORLD = (
    SHOP
    + "\n---"
    + WEB
    + pod("asker", "node2")
    + service("web", "{selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}")
)
NETWORKS = {
    "bridge": "{cni: bridge}",
    "ptp": "{cni: ptp, mode: routed}",
    "written": "{cni: {cniVersion: 0.4.0, plugins: [{type: ptp, ipam: {type: host-local}},"
    ' {type: tuning, sysctl: {net.ipv4.conf.all.arp_ignore: "1"}},'
    " {type: portmap, capabilities: {portMappings: true}}, {type: bandwidth, capabilities: {bandwidth: true}}]}}",
}


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=NETWORKS)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with Lab.from_text(cluster(NETWORKS[request.param]), WORLD) as made:
        made.network = request.param  # type: ignore[attr-defined]
        yield made


@pytest.fixture(autouse=True)
def no_files_on_the_host() -> Iterator[None]:
    """host-local and others leave nothing where they do it on a node."""
    paths = [Path("/var/lib/cni"), Path("/run/cni"), Path("/run/xtables.lock")]
    before = [path.exists() for path in paths]
    yield
    assert [path.exists() for path in paths] == before


async def test_a_request_goes_the_whole_way(lab: Lab) -> None:
    """Client, balancer, ingress, Service, pod: on the ingress' node and on the other one."""
    for _ in range(8):
        answer = await lab.request(URL)
        assert answer.status == 200 and answer.json()["service"] == "product-service"


async def test_the_plugins_addresses_are_the_pods(lab: Lab) -> None:
    for found in await lab.get("Pod", namespace="default"):
        name, node = found["metadata"]["name"], found["spec"]["nodeName"]
        address = found["status"]["podIP"]
        assert address.startswith(f"10.244.{node[-1]}."), "of the node's range"
        assert found["status"]["podIPs"] == [{"ip": address}] and found["status"]["hostIP"]
        [link] = json.loads(await output(lab, f"pod/{name}", "ip", "-j", "-4", "address", "show", "eth0"))
        assert [a["local"] for a in link["addr_info"]] == [address]
        assert link["mtu"] == (1500 if lab.network == "ptp" else 1450)  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["pod/asker", "pod/web", "node1", "node2"])
async def test_a_service_leads_to_a_pod_from_everywhere(lab: Lab, place: str) -> None:
    """The pod itself included, whose packets come back to the link that they left by."""
    address = await cluster_ip(lab, "web")
    answer = await lab.request(f"http://{address}/", source=place)
    assert answer.json()["pod"] == "web"
    assert (await lab.request("http://web/", source="pod/asker")).json()["pod"] == "web", "by its name"


@pytest.mark.parametrize("place", ["client", "node2", "pod/asker"])
async def test_portmap_makes_host_ports(lab: Lab, place: str) -> None:
    assert await output(lab, place, "curl", "-s", "-m", "20", f"http://{NODE1}:8888/hostname") == "web"
    assert await datagram(lab, place, NODE1, 5353, b"hello") == b"hello"
    await refused(lab, place, NODE2, 8888)


async def test_the_lab_has_no_rules_of_its_own_for_host_ports(lab: Lab) -> None:
    assert "CNI-HOSTPORT-DNAT" in await output(lab, "node1", "iptables-nft-save", "-t", "nat")
    assert "cni_hostport" not in await output(lab, "node1", "nft", "list", "tables")


async def test_bandwidth_limits_the_pod_that_says_so(lab: Lab) -> None:
    shown = await output(lab, "node1", "tc", "qdisc", "show")
    assert "rate 100Mbit" in shown and "rate 50Mbit" in shown
    assert "tbf" not in await output(lab, "node2", "tc", "qdisc", "show")


async def test_pods_reach_the_internet_with_the_nat_gateways_address(lab: Lab) -> None:
    answer = (await lab.request(URL, source="pod/asker")).json()
    assert answer["service"] == "product-service"


async def test_a_trace_names_what_the_plugins_have_made(lab: Lab) -> None:
    path = await lab.trace(f"http://{await cluster_ip(lab, 'web')}/", source="pod/asker")
    assert path.status == 200
    names = {hop.interface for hop in path.hops if hop.place == "node1" and hop.interface}
    assert any(name.startswith("veth") for name in names), names
    assert not [name for name in names if name.startswith("if")], "every link has its name"
    assert [h for h in path.hops if h.event == "deliver" and h.place == "default.web"]


async def test_a_trace_shows_the_rule_that_portmap_made(lab: Lab) -> None:
    path = await lab.trace(f"http://{NODE1}:8888/")
    (hop,) = [h for h in path.hops if h.event == "dnat"]
    assert hop.object == "host port 8888 of pod default/web → pod default/web"
    assert hop.rule and "CNI-DN-" in hop.rule


async def test_a_pod_that_goes_gives_back_what_it_had(lab: Lab) -> None:
    await lab.apply(pod("short", "node2", ports="{containerPort: 8080, hostPort: 9999}"))
    await lab.ready()
    links = await output(lab, "node2", "ip", "-br", "link")
    assert "dport 9999" in await output(lab, "node2", "iptables-nft-save", "-t", "nat")
    await lab.delete("Pod", "short")

    async def gone() -> bool:
        now = await output(lab, "node2", "ip", "-br", "link")
        rules = await output(lab, "node2", "iptables-nft-save", "-t", "nat")
        return "dport 9999" not in rules and len(now.splitlines()) < len(links.splitlines())

    await eventually(gone)


async def test_the_chain_of_a_running_lab_stays(lab: Lab) -> None:
    with pytest.raises(Exception, match=r"spec\.network\.cni: can't be changed in a running lab"):
        await lab.apply(cluster("{cni: macvlan, mode: routed}"))


# Plug-ins that fail

FAILING = """#!/bin/sh
# A bridge, but for some pods: one has no cable until the file `mended` is there, and one keeps everybody waiting.
case "$CNI_COMMAND;$CNI_ARGS" in
ADD*=broken\\;*) [ -e "${0%/*}/mended" ] || {
    cat >/dev/null
    echo '{"cniVersion": "1.0.0", "code": 101, "msg": "no cable", "details": "plug one in"}'; exit 1; } ;;
ADD*=slow\\;*) sleep 1000 ;;
ADD*=spoiler\\;*)
    for folder in /etc /usr /usr/lib/cni /var/lib /var/lib/cni /run /tmp /root; do touch $folder/spoilt; done
    echo 7 >/proc/sys/vm/swappiness
    [ -e /sys/class/net/cni0 ] || exit 9 ;;
esac
exec /usr/lib/cni/bridge
"""


@asynccontextmanager
async def scripted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    """A lab whose plug-in is the script."""
    script = folder / "failing"
    script.write_text(FAILING)
    for path in (folder, script):
        path.chmod(0o755)
    monkeypatch.setenv("CNI_PATH", str(folder))
    network = (
        "{cni: {plugins: [{type: failing, isDefaultGateway: true, bridge: cni0, ipam: {type: host-local}}]}}"
    )
    async with Lab.from_text(cluster(network)) as made:
        yield made


async def events(lab: Lab, reason: str) -> list[str]:
    return [str(e["message"]) for e in await lab.get("Event") if e["reason"] == reason]


async def test_a_plugin_that_fails_keeps_the_pod_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted(tmp_path, monkeypatch) as lab:
        await lab.apply(pod("broken", "node1"), ready=False)
        [message, *_] = await eventually(lambda: events(lab, "FailedCreatePodSandBox"))
        assert message.startswith(
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox"
        )
        assert message.endswith('plugin type="failing" failed (add): no cable; plug one in')
        [found] = await lab.get("Pod", "broken")
        assert found["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
        told = (await emulab("-l", lab.name, "up", "--timeout", "1s")).stderr.decode()
        assert "Pod default/broken container c waits: ContainerCreating: Failed to create pod sandbox" in told
        (tmp_path / "mended").touch()
        await lab.ready()
        [found] = await lab.get("Pod", "broken")
        answer = await lab.request(f"http://{found['status']['podIP']}:8080/", source="node2")
        assert answer.json()["pod"] == "broken"


async def test_a_plugin_that_hangs_is_ended_and_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted(tmp_path, monkeypatch) as lab:
        await lab.apply(pod("slow", "node1"), pod("quick", "node1"), ready=False)
        await eventually(lambda: address(lab, "quick"), seconds=14)
        [message, *_] = await eventually(lambda: events(lab, "FailedCreatePodSandBox"))
        assert "signal: killed, as it hadn't ended after 15 s" in message
        await lab.apply(pod("third", "node1"), ready=False)
        await lab.delete("Pod", "slow")
        await lab.ready()


async def address(lab: Lab, name: str) -> str:
    [found] = await lab.get("Pod", name)
    return str(found.get("status", {}).get("podIP") or "")


async def test_a_plugin_changes_nothing_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = spoils()
    async with scripted(tmp_path, monkeypatch) as lab:
        await lab.apply(pod("first", "node1"))
        await lab.ready()
        await lab.apply(pod("spoiler", "node1"))
        await eventually(
            lambda: address(lab, "spoiler")
        )  # it has the bridge of the one before: the node's links alone
        await lab.ready()
    assert spoils() == before


def spoils() -> tuple[list[str], str]:
    """What the plug-in would have left on the host."""
    folders = ("/etc", "/usr", "/usr/lib/cni", "/var/lib", "/var/lib/cni", "/run", "/tmp", "/root")
    left = [folder for folder in folders if os.path.lexists(f"{folder}/spoilt")]
    return left, Path("/proc/sys/vm/swappiness").read_text()


@pytest.fixture
def file() -> Iterator[Path]:
    """A file that everybody can read."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder, "world.yaml")


def written(file: Path, text: str) -> str:
    """The path of the file, which has the text then."""
    file.write_text(text)
    return str(file)


async def test_a_plugin_that_is_not_there_is_named(user: User, file: Path) -> None:
    world = written(file, cluster("{cni: no-such-plugin}") + pod("web", "node1"))
    done = await asyncio.to_thread(user.run, "up", "--timeout", "3s", world)
    assert done.returncode == 1
    assert 'failed to find plugin "no-such-plugin" in path [' in done.stderr
    assert "containernetworking-plugins" in done.stderr, "how to mend it"


@pytest.mark.parametrize("plugin", ["bridge", "ptp"])
async def test_root_and_ordinary_users_have_it_and_nothing_stays(user: User, plugin: str, file: Path) -> None:
    await asyncio.to_thread(user.up, written(file, f"{cluster(NETWORKS[plugin])}\n{WORLD}"))
    assert await asyncio.to_thread(user.answers)
    curl = ("exec", "client", "--", "curl", "-s", "-m", "20", f"http://{NODE1}:8888/hostname")
    assert (await asyncio.to_thread(user.run, *curl)).stdout == "web"
    os.kill(user.supervisor(), 9)
    await asyncio.to_thread(user.assert_gone)


# `emulab cni`

LEGACY = """
apiVersion: v1
kind: Service
metadata: {name: legacy}
spec: {selector: {app: legacy}, ports: [{port: 80, targetPort: 9000}]}
---
"""
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"legacy sees {self.client_address[0]}".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", 9000), Handler)
print("ready", flush=True)
server.serve_forever()
"""


class Container:
    """A program in a network namespace that isn't the lab's, and a runtime that calls the plug-in for it."""

    def __init__(self, folder: Path, lab: str) -> None:
        self.program = subprocess.Popen(
            ["unshare", "-n", sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
        )
        assert self.program.stdout is not None and self.program.stdout.readline() == "ready\n"
        self.netns = f"/proc/{self.program.pid}/ns/net"
        # What a runtime finds in CNI_PATH by the type of the configuration.
        words = " ".join(f"'{word}'" for word in this_program())
        self.plugin = folder / "emulab"
        self.plugin.write_text(f"#!/bin/sh\nexec {words}\n")
        self.plugin.chmod(0o755)
        self.config: dict[str, Any] = {
            "cniVersion": "1.0.0",
            "name": "others",
            "type": "emulab",
            "lab": lab,
            "node": "node1",
            "podName": "legacy",
            "labels": {"app": "legacy"},
            "runtimeConfig": {"portMappings": [{"hostPort": 7777, "containerPort": 9000, "protocol": "tcp"}]},
        }

    def call(self, command: str, netns: str = "", **config: Any) -> tuple[int, Any]:
        """The plug-in's exit status and answer."""
        environment = {
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c0ffee",
            "CNI_NETNS": netns or self.netns,
            "CNI_IFNAME": "net0",
            "CNI_PATH": str(self.plugin.parent),
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=other",
        }
        done = subprocess.run(
            [str(self.plugin)],
            input=json.dumps({**self.config, **config}),
            capture_output=True,
            text=True,
            env=environment,
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else None

    def inside(self, *argv: str) -> str:
        return subprocess.run(
            ["nsenter", f"--net={self.netns}", *argv], capture_output=True, text=True, check=True
        ).stdout

    def links(self) -> list[str]:
        return [link["ifname"] for link in json.loads(self.inside("ip", "-j", "link"))]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path, "")
    try:
        yield made
    finally:
        made.program.kill()
        made.program.wait()


if AS_ROOT:  # a namespace of another user's can't be attached

    async def test_a_container_of_others_is_a_pod(container: Container) -> None:
        async with Lab.from_text(LEGACY, pod("asker", "node2")) as lab:
            container.config["lab"] = lab.name
            call = lambda *words, **more: asyncio.to_thread(container.call, *words, **more)  # noqa: E731
            status, result = await call("ADD")
            assert status == 0, result
            [ip] = result["ips"]
            address = ip["address"].partition("/")[0]
            assert result["interfaces"][ip["interface"]]["sandbox"] == container.netns
            assert await call("CHECK", prevResult=result) == (0, None)
            await lab.ready()
            [found] = await lab.get("Pod", "legacy")
            assert found["status"]["podIP"] == address and found["status"]["phase"] == "Running"

            # Services select it, host ports lead to it, and it is a place like any other.
            text = (await lab.request("http://legacy/", source="pod/asker")).text()
            assert text.startswith("legacy sees 10.244.2.")
            assert (await lab.request(f"http://{NODE1}:7777/")).status == 200
            assert address in await output(lab, "pod/legacy", "ip", "-br", "address", "show", "net0")
            path = await lab.trace("http://legacy/", source="pod/asker")
            assert [h for h in path.hops if h.event == "deliver" and h.place == "default.legacy"]
            own = await cluster_ip(lab, "legacy")
            assert "legacy sees" in await asyncio.to_thread(
                container.inside, "curl", "-s", "-m", "20", f"http://{own}/"
            )

            # What a runtime isn't to do is refused, and all can be undone twice.
            status, error = await call("ADD")
            assert status == 1 and error["code"] == 7 and "already" in error["msg"]
            assert await call("DEL", prevResult=result) == (0, None)
            assert await call("DEL", prevResult=result) == (0, None)
            assert container.links() == ["lo"]
            assert await lab.get("Pod", "legacy") == []
            status, error = await call("CHECK", prevResult=result)
            assert status == 1 and error["code"] == 3

            # What its runtime has lost is let go of by GC.
            assert (await call("ADD"))[0] == 0
            valid = [{"containerID": "c0ffee", "ifname": "net0"}]
            assert await call("GC", **{"cni.dev/valid-attachments": valid}) == (0, None)
            assert len(await lab.get("Pod", "legacy")) == 1
            assert await call("GC", **{"cni.dev/valid-attachments": []}) == (0, None)
            assert await lab.get("Pod", "legacy") == [] and container.links() == ["lo"]

            # With the lab its link goes, and nothing else.
            assert (await call("STATUS"))[0] == 0
            assert (await call("ADD"))[0] == 0

        async def gone() -> bool:  # the kernel takes namespaces away when it has time
            return container.links() == ["lo"]

        await eventually(gone)
        assert await call("DEL") == (0, None)
        status, error = await call("STATUS")
        assert status == 1 and error["code"] == 50
        status, error = await call("ADD")
        assert status == 1 and error["code"] == 11

    async def test_what_cannot_be_attached(container: Container, tmp_path: Path) -> None:
        async with Lab.from_text(LEGACY) as lab:
            container.config["lab"] = lab.name
            refusals = {
                "/proc/self/ns/net": (7, "this machine's own"),
                "/proc/self/ns/mnt": (5, "no network namespace"),
                "/nowhere": (5, "No such file"),
                f"/run/netns/{lab.name}.client": (100, "one of this lab already"),
            }
            for netns, (code, words) in refusals.items():
                status, error = await asyncio.to_thread(container.call, "ADD", netns)
                assert (status, error["code"]) == (1, code) and words in error["msg"], netns
            status, error = await asyncio.to_thread(container.call, "ADD", node="node7")
            assert status == 1, error
            assert await lab.get("Pod", "legacy") == [] and container.links() == ["lo"]

            # What can't be made whole is taken back: it has a way out already.
            for words in ("link add own type bridge", "link set own up", "route add default dev own"):
                await asyncio.to_thread(container.inside, "ip", *words.split())
            status, error = await asyncio.to_thread(container.call, "ADD")
            assert (status, error["code"]) == (1, 100) and "add route 0.0.0.0/0" in error["msg"]
            assert await lab.get("Pod", "legacy") == [] and container.links() == ["lo", "own"]
