"""`emulab compare`: real labs in several proxy modes, side by side."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from emulab.errors import EmulabError
from emulab.kernel import probe
from emulab.kernel.processes.launch import import_path
from emulab.kernel.processes.programs import Completed, run_program, this_program
from emulab.kinds.emulab.cluster import MODES
from emulab.lab.client.client import LabClient
from emulab.lab.folders import rundir
from emulab.model.families import Families

from .families import At, translated, with_families, worlds_of
from .proxyworld import WORLD
from .tools import INTERPRETER, TOPOLOGIES, emulab, eventually

SHOP = str(TOPOLOGIES / "shop.yaml")
ASKER = "pod/product-hdvnlsjrnv-kqbh4"


HANGS = 1800.0
"""Seconds after which a comparison hangs. In a virtual machine without KVM, beside other work, it may take long."""


@pytest.fixture(scope="module")
def modes(run_dir: Path) -> list[str]:
    """What this version and this kernel can do: two modes at least. kube-router's goes with its network alone."""
    possible = probe.proxy_modes(probe.features(run_dir))
    found = [mode for mode in MODES["proxy.mode"] if possible[mode] and mode != "kube-router"]
    assert len(found) > 1
    return found


def lab_name(what: str) -> str:
    return f"e2e-{os.getpid()}-{what}"


async def compare(*words: str) -> Completed:
    async with asyncio.timeout(HANGS):
        return await run_program([*this_program(), "-l", lab_name("compare"), "compare", *words])


async def differences(*words: str) -> dict[str, dict[str, Any]]:
    """Request → aspect → difference. Whatever differs must be known.

    Of so many requests one is spread as by no chance once in some 10,000 runs. What is no chance is so again.
    """
    for aspects in ({"endpoints", "fairness"}, set[str]()):
        done = await compare("-o", "json", *words)
        assert done.stdout, done.stderr.decode()
        found = json.loads(done.stdout)
        news = [r for r in found["requests"] if not all(d["expected"] for d in r["differences"])]
        if not {d["aspect"] for r in news for d in r["differences"] if not d["expected"]} & aspects:
            break
    assert not news and done.status == 0, json.dumps(news, indent=1)
    return {r["request"]: {d["aspect"]: d for d in r["differences"]} for r in found["requests"]}


async def test_the_shop_behaves_as_documented_in_every_mode(modes: list[str]) -> None:
    # So many that one of three endpoints is missed by chance, which would differ, once in a hundred thousand runs.
    done = await compare("--proxy", ",".join(modes), SHOP, "--connections", "45")
    text = done.stdout.decode()
    assert done.status == 0, text + done.stderr.decode()
    assert max(map(len, text.splitlines())) <= 100
    assert text.splitlines()[0].startswith(f"{len(modes)} labs ({', '.join(modes)}), ")
    assert "client=http://shop.example.com/products" in text
    assert "EXPECTED: ports that no Service has" in text
    for mode in modes:
        assert f"\n{mode} " in text
    assert text.endswith("The modes differ only as they are known to.\n")
    assert done.stderr == b"", "progress is for terminals"


@pytest.mark.parametrize("families", worlds_of("compared modes"))
async def test_every_rule_of_kube_proxy_in_every_mode(
    modes: list[str], families: Families, tmp_path: Path
) -> None:
    """The world of the semantics' tests: nothing in it differs in a way that isn't known."""
    at, file = At(families), tmp_path / "world.yaml"
    file.write_text(with_families(translated(WORLD.replace("MODE", modes[0]), at), families))
    # Ten for each endpoint are the least anyway. How fairly they are chosen is what test_proxy_modes.py asks thousands.
    found = await differences("--proxy", ",".join(modes), str(file), "--connections", "10")
    assert len(found) > 80
    unused = [differing for asked, differing in found.items() if re.match(r"node1=\S+:4444$", asked)]
    assert unused and all("status" in differing for differing in unused), "a port that no Service has"
    if "userspace" in modes:
        seen = found[f"client=http://{at.host(at.node1)}:30082/"]["source"]["seen"]  # the policy Local
        assert seen["nftables"] == ["itself"] and seen["userspace"] == ["node/node1"]
    local = found[f"client=http://{at.host(at('10.0.0.13'))}:30082/"]
    assert local == {}, "a node without an endpoint drops, in every mode"


async def test_given_requests_and_numbers(modes: list[str]) -> None:
    given = [
        "http://shop.example.com/products/42",
        f"{ASKER}=http://product-service/",
        "node1=10.96.0.10:53/udp",
    ]
    given += [f"{ASKER}=http://nowhere/"]
    command = ("--proxy", ",".join(modes[:2]), SHOP, "-o", "json", "--connections", "60")
    done = await compare(*command, "--wait", "30s", "--", *given)
    found = json.loads(done.stdout)
    assert done.status == 0, found
    front, inside, dns, nowhere = found["requests"]
    assert front["request"] == f"client={given[0]}"
    for mode in modes[:2]:
        seen = front["observed"][mode]
        assert seen["status"] == {"HTTP 200": 60} and seen["answer"] == {
            "default/product-service /products/42": 60
        }
        assert len(inside["observed"][mode]["endpoints"]) == 3
        assert dns["observed"][mode]["status"] == {"DNS NOERROR": 60}
        assert nowhere["observed"][mode]["status"] == {"NXDOMAIN": 2}
        assert inside["observed"][mode]["latency_ms"]["p50"] > 0
        for node in ("node1", "node2"):
            assert sum(found["rules"][mode][node].values()) > 10
    done = await compare(*command, "--", f"{ASKER}=product-service:81")
    [unused] = json.loads(done.stdout)["requests"]
    assert done.status == 0 and [unused["observed"][mode]["answered"] for mode in modes[:2]] == [0, 0]


GUARD = """
from http.server import *
class Guard(BaseHTTPRequestHandler):
    def do_GET(self):
        *network, host = self.client_address[0].split(".")
        self.send_response(200 if network[:2] == ["10", "244"] and host != "0" else 403)  # .0: a node's overlay
        self.end_headers()
ThreadingHTTPServer(("", 8080), Guard).serve_forever()
"""


async def test_a_difference_that_nobody_knows_of(modes: list[str], tmp_path: Path) -> None:
    """A server that lets pods in alone keeps them out where a process of the node stands in between."""
    ready = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    container = {"name": "c", "command": [INTERPRETER, "-c", GUARD], "readinessProbe": ready}
    guard = {"containers": [container], "nodeName": "node1"}
    asker = {"containers": [{"name": "c"}], "nodeName": "node2"}
    objects: list[dict[str, Any]] = [
        {"kind": "Pod", "metadata": {"name": "guard", "labels": {"app": "guard"}}, "spec": guard},
        {"kind": "Pod", "metadata": {"name": "asker"}, "spec": asker},
        {
            "kind": "Service",
            "metadata": {"name": "guard"},
            "spec": {"selector": {"app": "guard"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]
    file = tmp_path / "guard.yaml"
    file.write_text(
        json.dumps(
            {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", **o} for o in objects]}
        )
    )
    assert "userspace" in modes
    command = ("--proxy", "nftables,userspace", "--wait", "30s", str(file))
    done = await compare(*command, "--", "pod/asker=http://guard/")
    text = done.stdout.decode()
    assert done.status == 1, text + done.stderr.decode()
    assert (
        "DIFFERENT\n  pod/asker=http://guard/\n    status: nftables: HTTP 200; userspace: HTTP 403\n" in text
    )
    assert text.endswith("The modes differ in 1 request, and not as they are known to.\n")


async def test_what_can_not_be_compared_is_said_before_anything_is_built(modes: list[str]) -> None:
    missing = [mode for mode in MODES["proxy.mode"] if mode not in (*modes, "kube-router")]
    for mode in missing:
        done = await compare("--proxy", f"{modes[0]},{mode}", SHOP)
        assert done.status == 1 and done.stdout == b""
        assert done.stderr.decode().startswith(f"emulab: proxy mode {mode} is not ")
        assert done.stderr.count(b"\n") == 1
    for wrong in ("nftables", "nftables,bpf", "nftables,nftables"):
        assert (await compare("--proxy", wrong, SHOP)).status == 2
    done = await compare("--proxy", ",".join(modes[:2]), SHOP, "--", "pod/nobody=http://x/")
    assert done.status == 1 and b"there is no pod nobody" in done.stderr


async def test_the_labs_are_gone_after_an_interruption(modes: list[str]) -> None:
    name = lab_name("broken")
    command = [*this_program(), "-l", name, "compare", "--proxy", ",".join(modes[:2]), SHOP]
    command += ["--connections", "2000"]  # so many that it is not over before it is interrupted
    environment = {**os.environ, "PYTHONPATH": import_path()}
    for asked in (False, True):  # while they are built, and while they are asked
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=-3, stderr=-3)

        async def begun() -> bool:
            return all(rundir.is_alive(rundir.folder(f"{name}-{mode}")) for mode in modes[:2])

        async def answered() -> bool:
            with suppress(EmulabError), LabClient(rundir.folder(f"{name}-{modes[0]}")) as client:
                status = await asyncio.to_thread(client.request, "server-status", name="stand-ins")
                return int(status.get("requests", 0)) > 0
            return False  # it isn't up by now

        await eventually(answered if asked else begun, pause=0.005)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            assert await process.wait() == 130
        assert json.loads((await emulab("labs", "-o", "json")).stdout) == []


async def test_the_labs_are_gone_when_one_does_not_get_ready(modes: list[str], tmp_path: Path) -> None:
    probe = {"exec": {"command": ["false"]}}
    spec = {"containers": [{"name": "c", "readinessProbe": probe}]}
    file = tmp_path / "never.yaml"
    file.write_text(
        json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "never"}, "spec": spec})
    )
    done = await compare("--proxy", ",".join(modes[:2]), "--timeout", "1s", str(file))
    assert done.status == 1 and done.stdout == b""
    assert done.stderr.decode().startswith("emulab: not ready in time: ")
    assert json.loads((await emulab("labs", "-o", "json")).stdout) == []


FRONT = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front}
spec:
  ingressClassName: nginx
  rules:
    - host: "*.front.test"
      http:
        paths:
          - {path: /a, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
          - {path: /none, pathType: Exact, backend: {service: {name: missing, port: {number: 80}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: example/web:1, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


async def test_ingresses_of_three_programs_behave_alike(tmp_path: Path) -> None:
    file = tmp_path / "front.yaml"
    file.write_text(FRONT)
    done = await compare("--ingress", "builtin,nginx,haproxy", "-o", "json", "--connections", "12", str(file))
    assert done.status == 0, done.stdout.decode() + done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["modes"] == ["builtin", "nginx", "haproxy"] and found["behaviour"] == "same"
    assert {
        r["request"]: {m: [*o["status"]] for m, o in r["observed"].items()} for r in found["requests"]
    } == {
        "client=http://www.front.test/a": {mode: ["HTTP 200"] for mode in found["modes"]},
        "client=http://www.front.test/none": {mode: ["HTTP 503"] for mode in found["modes"]},
    }


async def test_an_engine_that_there_is_not_is_refused(tmp_path: Path) -> None:
    done = await compare("--ingress", "builtin,caddy", SHOP)
    assert (
        done.status == 2
        and b"there is no engine 'caddy'; the engines are builtin, nginx, haproxy" in done.stderr
    )
    done = await compare("--ingress", "builtin,nginx", "--proxy", "nftables,iptables", SHOP)
    assert done.status == 2 and b"not allowed with" in done.stderr


BALANCED = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
    - {name: web, image: example/web, ports: [{containerPort: 8080}, {containerPort: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  loadBalancerIP: 203.0.113.20
  selector: {app: web}
  ports: [{name: h, port: 80, targetPort: 8080}, {name: u, port: 53, protocol: UDP}]
---
apiVersion: emulab.dev/v1
kind: LoadBalancer
metadata: {name: alb}
spec: {network: internet, address: 203.0.113.41, ports: [80], target: {service: {name: web, port: h}}}
"""


async def test_balancers_differ_in_datagrams_alone(tmp_path: Path) -> None:
    file = tmp_path / "balanced.yaml"
    file.write_text(BALANCED)
    done = await compare("--balancer", "builtin,haproxy", "-o", "json", "--connections", "12", str(file))
    assert done.status == 0, done.stdout.decode() + done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["modes"] == ["builtin", "haproxy"] and found["behaviour"] == "as documented"
    seen = {r["request"]: {m: [*o["status"]] for m, o in r["observed"].items()} for r in found["requests"]}
    datagrams = seen.pop("client=203.0.113.20:53/udp")
    assert datagrams["builtin"] == ["DNS NOERROR"] and "DNS NOERROR" not in datagrams["haproxy"]
    answered = {mode: ["HTTP 200"] for mode in found["modes"]}
    assert seen == {f"client=http://{address}/": answered for address in ("203.0.113.20", "203.0.113.41")}
