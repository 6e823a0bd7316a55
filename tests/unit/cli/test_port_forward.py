"""Which Pod and which ports `emulab port-forward` means."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import struct
from typing import Any

import pytest
from lab_in_process import Client
from lab_objects import obj

from emulab.cli.pods import Chosen, choose
from emulab.cli.portmapping import PortMapping, port_mapping
from emulab.cli.verbs import port_forward
from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.kinds.registry import DEPLOYMENT, POD, SERVICE

READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
SPEC = {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]}
LABELS = {"app": "web"}


@pytest.fixture
def client() -> Client:
    store = Store()
    for name, status in (
        ("a", {"phase": "Pending"}),
        ("b", {"phase": "Running"}),
        ("c", READY),
        ("d", READY),
    ):
        store.put(obj("Pod", name, metadata={"labels": LABELS}).replace(spec=SPEC))
        store.put_status(POD.key("default", name), status)
    store.put(obj("Pod", "other").replace(spec=SPEC))
    ports: list[dict[str, Any]] = [
        {"name": "web", "port": 80, "targetPort": "http"},
        {"name": "raw", "port": 81, "targetPort": 9000},
    ]
    store.put(obj("Service", "web").replace(spec={"selector": LABELS, "ports": ports}))
    store.put(obj("Service", "none").replace(spec={"ports": ports}))
    store.put(obj("Deployment", "web").replace(spec={"selector": {"matchLabels": LABELS}, "template": {}}))
    return Client(store)


@pytest.mark.parametrize(
    ("target", "kind", "pods"),
    [
        ("other", POD, ["other"]),
        ("pod/b", POD, ["b"]),
        ("svc/web", SERVICE, ["c", "d", "b", "a"]),
        ("deploy/web", DEPLOYMENT, ["c", "d", "b", "a"]),
    ],
)
def test_pods_behind_a_target(client: Any, target: str, kind: Any, pods: list[str]) -> None:
    chosen = choose(client, target, "default")
    assert chosen.kind == kind and [pod["metadata"]["name"] for pod in chosen.pods] == pods


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("nix", r'Error from server \(NotFound\): pods "nix" not found'),
        ("svc/none", "svc/none has no pods in namespace default"),
        ("cm/x", "cm/x: a ConfigMap has no pods"),
    ],
)
def test_targets_without_pods(client: Any, target: str, error: str) -> None:
    with pytest.raises(UserError, match=error):
        choose(client, target, "default")


@pytest.mark.parametrize(
    ("target", "text", "local", "remote"),
    [
        ("c", "80", 80, 80),
        ("c", "8080:80", 8080, 80),
        ("c", ":80", 0, 80),
        ("c", "1:http", 1, 8080),
        ("c", "http", 8080, 8080),
        ("svc/web", "80", 80, 8080),
        ("svc/web", "9:raw", 9, 9000),
        ("svc/web", ":81", 0, 9000),
        ("deploy/web", ":81", 0, 81),
    ],
)
def test_ports(client: Any, target: str, text: str, local: int, remote: int) -> None:
    assert port_mapping(text, choose(client, target, "default")) == (local, remote)


@pytest.mark.parametrize(
    ("target", "text", "error"),
    [
        ("c", "a:b:c", "invalid port format 'a:b:c'"),
        ("c", "80:", "invalid port format '80:'"),
        ("c", "x:80", "error parsing local port 'x'"),
        ("c", "65536:80", "error parsing local port '65536'"),
        ("c", "0", "remote port must be > 0"),
        ("c", "grpc", "Pod 'c' does not have a named port 'grpc'"),
        ("svc/web", "8080", "Service web does not have a service port 8080"),
    ],
)
def test_ports_that_are_not_there(client: Any, target: str, text: str, error: str) -> None:
    chosen: Chosen = choose(client, target, "default")
    with pytest.raises(UserError, match=error):
        port_mapping(text, chosen)


async def test_who_leaves_by_a_reset_is_gone_for_the_pod_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(100):
                pass
        ended.set()
        writer.close()

    async def connect(_: object, port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        return sock

    monkeypatch.setattr(port_forward._Forwarding, "_connect", connect)
    pod: Any = {"metadata": {"name": "a", "namespace": "default"}}
    options = argparse.Namespace(lab="none", address="127.0.0.1")
    forwarding = port_forward._Forwarding(options, Chosen(POD, pod, [pod]))
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        remote = server.sockets[0].getsockname()[1]
        (local,) = await forwarding._listen(PortMapping(0, remote))
        _, writer = await asyncio.open_connection(*local.sockets[0].getsockname())
        writer.write(b"anyone?")
        await writer.drain()
        await asyncio.sleep(0.05)
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 30)
        local.close()
