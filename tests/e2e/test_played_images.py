"""Stand-ins that play the programs of the images that upstream suites use."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from emulab import Lab
from emulab.servers.selfsigned import self_signed

from .tools import NODE1, NODE2, connect, datagram, emulab, eventually, output, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.53"
WORLD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: netexec, labels: {{app: netexec}}}}
spec:
  containers:
    - {{name: c, image: {AGNHOST}, args: [netexec, --http-port=8083, --udp-port=8083]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: porter}}
spec:
  containers:
    - name: http
      image: {AGNHOST}
      args: [porter]
      env: [{{name: SERVE_PORT_80, value: eighty}}, {{name: SERVE_UDP_PORT_53, value: fifty-three}}]
    - {{name: raw, image: {AGNHOST}, command: [sh, -c, /agnhost serve-hostname --tcp --http=false --port=81]}}
---
apiVersion: v1
kind: Service
metadata: {{name: netexec}}
spec: {{selector: {{app: netexec}}, ports: [{{name: http, port: 80, targetPort: 8083}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: words}}
spec:
  containers:
    - name: echo
      image: hashicorp/http-echo
      args: [-text=hello from $(ME)]
      env: [{{name: ME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
    - {{name: whoami, image: traefik/whoami, args: [--port=8081]}}
    - {{name: nginx, image: "nginx:1.27"}}
---
apiVersion: v1
kind: Pod
metadata: {{name: basic}}
spec:
  containers:
    - name: c
      image: gcr.io/k8s-staging-gateway-api/echo-basic:v20240412-v1.0.0-394-g40c666fd
      env:
        - {{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
        - {{name: NAMESPACE, valueFrom: {{fieldRef: {{fieldPath: metadata.namespace}}}}}}
        - {{name: TLS_SERVER_CERT, value: /etc/server-certs/tls.crt}}
        - {{name: TLS_SERVER_PRIVKEY, value: /etc/server-certs/tls.key}}
---
apiVersion: v1
kind: Pod
metadata: {{name: asker}}
spec: {{containers: [{{name: c, image: busybox, command: [sleep, "10000"]}}]}}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_text(WORLD) as made:
        yield made


async def pod_of(lab: Lab, name: str) -> dict[str, Any]:
    (found,) = await lab.get("Pod", name, "default")
    return found


async def address(lab: Lab, name: str) -> str:
    return str((await pod_of(lab, name))["status"]["podIP"])


async def ask(lab: Lab, pod: str, port: int, path: str = "/", *options: str) -> str:
    url = f"http://{await address(lab, pod)}:{port}{path}"
    return await output(lab, "asker", "curl", "-s", "-m", "20", *options, url)


async def test_netexec_answers_the_suites(lab: Lab) -> None:
    assert await ask(lab, "netexec", 8083, "/hostname") == "netexec"
    assert (await ask(lab, "netexec", 8083, "/clientip")).startswith(f"{await address(lab, 'asker')}:")
    assert await ask(lab, "netexec", 8083, "/echo?msg=hi") == "hi"
    assert await output(lab, "asker", "curl", "-s", "http://netexec/hostname") == "netexec"
    where = await address(lab, "netexec")
    assert await datagram(lab, "asker", where, 8083, b"hostname") == b"netexec"


async def test_netexec_dials_from_its_own_pod(lab: Lab) -> None:
    (service,) = [o["spec"]["clusterIP"] for o in await lab.get("Service", "netexec", "default")]
    own = await address(lab, "netexec")
    query = f"/dial?request=clientip&protocol=http&host={service}&port=80&tries=2"
    dialled = json.loads(await ask(lab, "netexec", 8083, query))
    assert len(dialled["responses"]) == 2
    # Who comes back to itself has the address of its node.
    assert {one.rpartition(":")[0] for one in dialled["responses"]} <= {own, NODE1, NODE2}
    told = await ask(lab, "netexec", 8083, f"/dial?request=x&host={await address(lab, 'words')}&port=8081")
    assert f"\nRemoteAddr: {own}:" in json.loads(told)["responses"][0]
    porter = await address(lab, "porter")
    query = f"/dial?request=x&protocol=udp&host={porter}&port=53"
    assert json.loads(await ask(lab, "netexec", 8083, query)) == {"responses": ["fifty-three"]}
    query = f"/dial?request=hostname&host={porter}&port=82"
    failed = json.loads(await ask(lab, "netexec", 8083, query))
    assert list(failed) == ["errors"] and failed["errors"][0].endswith("connect: connection refused")


async def test_porter_and_serve_hostname(lab: Lab) -> None:
    assert await ask(lab, "porter", 80, "/any") == "eighty"
    reader, writer = await connect(lab, "asker", await address(lab, "porter"), 81)
    assert await reader.read() == b"porter"
    writer.close()


async def test_who_plays_a_program_listens_where_that_does_alone(lab: Lab) -> None:
    """8080 is netexec's where nobody says another port."""
    await refused(lab, "asker", await address(lab, "netexec"), 8080)
    assert await ask(lab, "netexec", 8083, "/echo?msg=there") == "there"


async def test_texts(lab: Lab) -> None:
    assert await ask(lab, "words", 5678) == "hello from words"
    told = await ask(lab, "words", 8081, "/path", "-A", "tester/1")
    assert told.startswith("Hostname: words\nIP: 127.0.0.1\n")
    assert "\nGET /path HTTP/1.1\r\nHost: " in told and "\r\nUser-Agent: tester/1\r\n" in told
    page = await ask(lab, "words", 80, "/", "-i")
    assert "Server: nginx/" in page and "Welcome to nginx!" in page
    assert "404 Not Found" in await ask(lab, "words", 80, "/app")


async def test_echo_basic_in_clear_and_in_tls(lab: Lab) -> None:
    told = json.loads(await ask(lab, "basic", 3000, "/p"))
    assert (told["path"], told["namespace"], told["pod"], told["httpPort"]) == (
        "/p",
        "default",
        "basic",
        "3000",
    )
    assert "tls" not in told
    where = await address(lab, "basic")
    resolve = f"secret.test:8443:{where}"
    secured = json.loads(
        await output(lab, "asker", "curl", "-sk", "--resolve", resolve, "https://secret.test:8443/")
    )
    assert secured["tls"]["serverName"] == "secret.test" and secured["tls"]["version"] == "TLSv1.3"


async def test_each_container_has_its_own_log(lab: Lab) -> None:
    await ask(lab, "words", 5678, "/logged")

    async def logged() -> str:
        said = (await emulab("-l", lab.name, "logs", "words", "-c", "echo")).stdout.decode()
        return said if '"GET /logged HTTP/1.1" 200' in said else ""

    await eventually(logged)
    assert "/logged" not in (await emulab("-l", lab.name, "logs", "words", "-c", "nginx")).stdout.decode()


async def test_a_program_that_is_told_to_exit_is_started_again(lab: Lab) -> None:
    body = {"name": "ends", "image": AGNHOST, "args": ["netexec"]}
    spec = {"containers": [body], "restartPolicy": "OnFailure"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ends"}, "spec": spec}
    await lab.apply(json.dumps(pod))
    url = f"http://{await address(lab, 'ends')}:8080/exit"
    assert (await lab.exec("asker", "curl", "-s", f"{url}?code=3")).status == 52  # an empty reply

    async def restarted() -> dict[str, Any]:
        (status,) = (await pod_of(lab, "ends"))["status"]["containerStatuses"]
        return dict(status) if status["restartCount"] == 1 and "running" in status["state"] else {}

    status = await eventually(restarted)
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert status["containerID"] != status["lastState"]["terminated"]["containerID"]
    assert (await lab.exec("asker", "curl", "-s", f"{url}?code=0")).status == 52

    async def completed() -> bool:
        return str((await pod_of(lab, "ends"))["status"]["phase"]) == "Succeeded"

    await eventually(completed)
    await lab.delete("Pod", "ends", "default")


async def test_the_liveness_server_of_the_documents_is_restarted(lab: Lab) -> None:
    probe = {"periodSeconds": 1, "failureThreshold": 1, "httpGet": {"path": "/healthz", "port": 8080}}
    probe["timeoutSeconds"] = 10  # a second isn't always enough on a machine that runs other tests
    body = {"name": "liveness", "image": AGNHOST, "args": ["liveness"], "livenessProbe": probe}
    spec = {"containers": [body], "terminationGracePeriodSeconds": 1}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "liveness-http"}, "spec": spec}
    await lab.apply(json.dumps(pod))
    begun = time.monotonic()
    kept = f"exec 3<>/dev/tcp/{await address(lab, 'liveness-http')}/8080; timeout 60 cat <&3"
    connected = asyncio.ensure_future(lab.exec("asker", "bash", "-c", kept))

    async def restarted() -> bool:
        (status,) = (await pod_of(lab, "liveness-http"))["status"]["containerStatuses"]
        return int(status["restartCount"]) == 1

    await eventually(restarted)
    assert time.monotonic() - begun > 8
    assert (await connected).status == 0, "whoever was connected was cut off"
    assert await ask(lab, "liveness-http", 8080, "/healthz") == "ok"
    await lab.delete("Pod", "liveness-http", "default")


async def test_echo_basic_has_the_certificate_that_it_mounts(lab: Lab) -> None:
    """And the next one as soon as its Secret has that."""

    async def give(name: str) -> str:
        certificate, key = self_signed("tests", name, [f"{name}.test"])
        data = {"tls.crt": certificate, "tls.key": key}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "certs"},
            "type": "kubernetes.io/tls",
        }
        await lab.apply(json.dumps({**secret, "stringData": data}))
        return certificate

    first = await give("first")
    env = [
        {"name": f"TLS_SERVER_{n}", "value": f"/certs/tls.{f}"}
        for n, f in (("CERT", "crt"), ("PRIVKEY", "key"))
    ]
    mounts = [{"name": "v", "mountPath": "/certs"}]
    container = {"name": "c", "image": "gateway-api/echo-basic", "env": env, "volumeMounts": mounts}
    spec = {"containers": [container], "volumes": [{"name": "v", "secret": {"secretName": "certs"}}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "certified"}, "spec": spec}
    await lab.apply(json.dumps(pod))
    where = await address(lab, "certified")

    async def shown() -> str:
        words = ("curl", "-sk", "-o", "/dev/null", "-w", "%{certs}", f"https://{where}:8443/")
        return (await output(lab, "asker", *words)).strip()

    assert first.strip() in await shown()
    second = await give("second")

    async def renewed() -> bool:
        return second.strip() in await shown()

    await eventually(renewed)
    await lab.delete("Pod", "certified", "default")
