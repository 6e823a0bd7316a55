"""topologies/egress.yaml: the way out of a pod, and what the server outside sees of it."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from emulab import Lab

from .tools import (
    NAT,
    PROGRAMS,
    PYTHON,
    TOPOLOGIES,
    addresses,
    capture,
    connect,
    conntrack,
    datagram,
    eventually,
    output,
    pods,
)
from .tools import emulab as cli

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTSIDE = "198.51.100.3"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.from_files(TOPOLOGIES / "egress.yaml") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def server(lab: Lab) -> AsyncIterator[None]:
    """A real web server at `outside`."""
    work = asyncio.ensure_future(lab.exec("outside", PYTHON, str(PROGRAMS / "gate.py"), "8080", "/"))

    async def listening() -> bool:
        return ":8080" in await output(lab, "outside", "ss", "-ltn")

    await eventually(listening)
    yield
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_the_server_outside_sees_the_nat_gateway(lab: Lab, server: None) -> None:
    """Pod → node → router → internet: each hop is seen with its own source address."""
    [pod] = await pods(lab, app="caller")
    own, node = pod["status"]["podIP"], pod["spec"]["nodeName"]
    host = pod["status"]["hostIP"]
    async with (
        capture(lab, node, "tcp dst port 8080", link="eth0") as at_node,
        capture(lab, "outside", "tcp dst port 8080") as at_server,
    ):
        await at_node.until(rf"IP {re.escape(host)}\.\d+ > {OUTSIDE}\.8080: Flags \[S\]")
        await at_server.until(rf"IP {NAT}\.\d+ > {OUTSIDE}\.8080: Flags \[S\]")
    assert {source.rsplit(".", 1)[0] for source, _ in addresses(at_server.lines)} == {NAT}
    assert any(
        f"src={own} dst={OUTSIDE}" in x and f"dst={host}" in x
        for x in await conntrack(lab, node, "-p", "tcp")
    )
    tracked = await conntrack(lab, "router", "-p", "tcp")
    assert any(f"src={host} dst={OUTSIDE}" in x and f"dst={NAT}" in x for x in tracked)

    async def logged() -> bool:
        done = await cli("-l", lab.name, "logs", "deploy/caller")
        assert done.status == 0, done.stderr
        return f"200 from {OUTSIDE}" in done.text

    await eventually(logged)


async def test_pods_talk_to_each_other_and_to_nodes_without_nat(lab: Lab) -> None:
    """Only what leaves the cluster is masqueraded: a pod's own address is seen inside."""
    [pod] = await pods(lab, app="caller")
    [other] = [p for p in await pods(lab, "kube-system") if p["spec"]["nodeName"] != pod["spec"]["nodeName"]]
    caller = f"pod/{pod['metadata']['name']}"
    async with capture(
        lab, f"pod/{other['metadata']['name']}", "udp port 53", namespace="kube-system"
    ) as seen:
        question = b"\0\1\1\0\0\1\0\0\0\0\0\0\x03api\x07partner\x07example\x03net\0\0\1\0\1"
        assert await datagram(lab, caller, other["status"]["podIP"], 53, question)
        await seen.until(
            rf"IP {re.escape(pod['status']['podIP'])}\.\d+ > {re.escape(other['status']['podIP'])}\.53: "
        )


async def test_nobody_outside_can_open_a_connection_to_a_pod(lab: Lab) -> None:
    """Pod addresses mean nothing on the internet; a node gets there."""
    [pod, *_] = await pods(lab, "kube-system")
    _, writer = await connect(lab, "node1", pod["status"]["podIP"], 53)
    writer.close()
    for source in ("client", "outside"):
        with pytest.raises(OSError) as caught:
            await connect(lab, source, pod["status"]["podIP"], 53)
        assert caught.value.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH), caught.value
