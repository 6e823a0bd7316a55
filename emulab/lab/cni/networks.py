"""The networks of pods that a chain of CNI plug-ins makes: ADD, now and then CHECK, and DEL at the end.

A pod's namespace is planned like any other and is empty. As soon as it is there the chain is called for it, one plug-in
after the other; what the last one says is the pod's addresses, and with these the pod is planned like any other. What
plug-ins make on a node lives in the node's namespace, so nothing of it outlives the lab.

The namespace is held open here until its DEL has been called, whoever else has let go of it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from emulab.cluster.store import timestamp
from emulab.errors import EmulabError
from emulab.kernel.plugins import PACKAGE
from emulab.kinds.core.hostnames import unfit_hostname
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.emulab.clusterview import Cluster, cluster_of
from emulab.kinds.emulab.plugins import FIRST
from emulab.kinds.registry import NODE, POD
from emulab.kinds.underlay import underlay_addresses
from emulab.lab.cni import configuration
from emulab.lab.cni.arguments import arguments, capabilities
from emulab.lab.cni.configuration import Attachment, Json, PluginError
from emulab.lab.cni.programs import PluginPrograms
from emulab.lab.kubelet import telling
from emulab.lab.kubelet.podstatus import ContainerState, pod_status, stamped
from emulab.lab.kubelet.telling import Said
from emulab.lab.supervisor.surroundings import Surroundings
from emulab.model.collection import Tell
from emulab.model.families import by_families
from emulab.model.keys import Key
from emulab.model.objects import Object
from emulab.plan.cni.plugin import Node
from emulab.plan.pods import awaits_network, identity

CHECKED_AFTER = 60.0
"""Seconds between two calls of CHECK for a pod."""
_FIRST, _MOST = 1.0, 10.0  # seconds until the next try; the kubelet's is 10 and no less
_UNCHECKED = ("bandwidth", "portmap")
"""Plug-ins that aren't asked: of Debian's containernetworking-plugins, 1.1.1, the one crashes where there is no limit,
and doesn't miss one, and the other fails whatever there is, as it looks for rules of both families with one address."""
_AT_ONCE = 8  # plug-ins that run side by side
_NOT_FOUND = "failed to find plugin"
_REMEDY = f"Debian and Ubuntu have the usual ones in their package {PACKAGE}"


class _PodNetwork:
    """One pod's."""

    def __init__(self, pod: Object, node: str, namespace: int) -> None:
        self.pod = pod
        self.node = node
        self.namespace = namespace  # an open descriptor of ours
        self.work: asyncio.Task[None] | None = None
        self.chain: Json = {}
        self.attachment: Attachment | None = None  # what is to be undone
        self.result: Json | None = None
        self.sound = True  # as far as the last CHECK said
        self.begun = asyncio.get_running_loop().time()


class PodNetworks:
    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._programs = PluginPrograms(around)
        self._networks: dict[tuple[Key, str], _PodNetwork] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def sync(self) -> None:
        """Begins with pods that have come, and ends with those that have gone. The plan has been applied."""
        objects = self._around.store.objects()
        cluster = cluster_of(objects)
        if not cluster.chain and not self._networks:
            return
        self._programs.release()
        pods = {(p.key, str(p.metadata.get("uid"))): p for p in objects.kind(POD)}
        for known in [k for k in self._networks if not _needs_network(pods.get(k), cluster)]:
            self._spawn(self._end(self._networks.pop(known)))
        for key, pod in pods.items():
            handle = self._around.handles.get(identity(pod))
            if key not in self._networks and handle is not None and awaits_network(pod, cluster):
                network = self._networks[key] = _PodNetwork(pod, pod.spec["nodeName"], os.dup(handle.fd))
                network.work = self._spawn(self._keep(network, cluster))

    def coming(self, since: float) -> bool:
        """Whether a network is still being made that was begun since then; seconds of the loop's clock."""
        return any(n.result is None and n.begun > since for n in self._networks.values())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # one pod's life

    async def _keep(self, network: _PodNetwork, cluster: Cluster) -> None:
        await self._make(network, cluster)
        while configuration.has_check(network.chain):
            await asyncio.sleep(CHECKED_AFTER)
            await self._check(network)

    async def _make(self, network: _PodNetwork, cluster: Cluster) -> None:
        """Makes it; what fails is taken away again, and tried anew after a while, as a kubelet makes a new sandbox."""
        pause = _FIRST
        while network.result is None:
            try:
                network.result = await self._add(network, cluster)
            except (EmulabError, OSError) as error:
                await self._delete(network)
                self._tell_failure(network, telling.no_sandbox(str(error)))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MOST)
        self._take(network)

    async def _add(self, network: _PodNetwork, cluster: Cluster) -> Json:
        """The chain's result. Raises EmulabError and OSError."""
        pod, sandbox = network.pod, secrets.token_hex(32)
        if unfit := unfit_hostname(pod, PodSpec.of_pod(pod), cluster):
            raise PluginError(unfit)
        network.chain = configuration.conflist(cluster, self._node(network.node))
        path = f"/run/netns/cni-{uuid.uuid4()}"
        told = arguments(pod, sandbox)
        network.attachment = Attachment(sandbox, path, told, capabilities(pod, cluster))
        found: Json | None = None
        try:
            for plugin in network.chain["plugins"]:
                found = configuration.result(await self._call(network, "ADD", plugin, found), network.chain)
            assert found is not None
            if not configuration.addresses(found, network.attachment.interface):
                raise PluginError(f'failed to find network info for sandbox "{sandbox}"')
        except (EmulabError, OSError) as error:
            raise PluginError(f'failed to setup network for sandbox "{sandbox}": {error}') from None
        return found

    def _node(self, name: str) -> Node:
        o = self._around.store.get(NODE.key("", name))
        if o is None:
            raise PluginError(f"there is no node {name} any more")
        return Node.of(o)

    async def _call(self, network: _PodNetwork, command: str, plugin: Json, before: Json | None) -> bytes:
        """One call of a plug-in. Raises PluginError, which says whose failure it is."""
        attachment, node = network.attachment, self._around.handles.get(network.node)
        assert attachment is not None
        if node is None:
            raise PluginError(f"there is no node {network.node} any more")
        node.share()
        word = {"ADD": "add", "CHECK": "check", "DEL": "delete"}[command]
        try:
            async with self._turns:
                return await self._programs.run(
                    network.node,
                    plugin["type"],
                    configuration.environment(command, attachment, self._programs.folders),
                    configuration.request(network.chain, plugin, attachment, before),
                    network.namespace,
                    attachment.namespace,
                )
        except (EmulabError, OSError) as error:
            raise PluginError(f'plugin type="{plugin["type"]}" failed ({word}): {error}') from None

    async def _check(self, network: _PodNetwork) -> None:
        """Asks the plug-ins whether the network is as they made it, and tells where it isn't any more, or is again."""
        try:
            for plugin in network.chain["plugins"]:
                if plugin["type"] not in _UNCHECKED:
                    await self._call(network, "CHECK", plugin, network.result)
        except EmulabError as error:
            if network.sound:
                self._tell(network, telling.network_unsound(str(error)))
            network.sound = False
        else:
            if not network.sound:
                self._tell(network, telling.network_sound())
            network.sound = True

    async def _delete(self, network: _PodNetwork) -> None:
        """Calls the chain's DEL, the last plug-in first. What one of them can't undo doesn't keep the others from it,
        and goes with the pod's namespace or the node's."""
        if network.attachment is None:
            return
        for plugin in reversed(network.chain["plugins"]):
            try:
                await self._call(network, "DEL", plugin, network.result)
            except EmulabError as error:
                if _NOT_FOUND not in str(error):
                    print(f"pod {network.pod.namespace}/{network.pod.name}: {error}", flush=True)
        self._programs.forget(network.node, network.attachment.namespace)
        network.attachment = network.result = None

    async def _end(self, network: _PodNetwork) -> None:
        if network.work is not None:
            network.work.cancel()
            with suppress(asyncio.CancelledError):
                await network.work
        try:
            await self._delete(network)
        finally:
            os.close(network.namespace)

    # what is told

    def _take(self, network: _PodNetwork) -> None:
        """Tells the pod's status its addresses, with which it is planned."""
        assert network.result is not None
        pod = self._around.store.get(network.pod.key)
        if pod is None:
            return
        families = cluster_of(self._around.store.objects()).families
        given = configuration.addresses(network.result, FIRST)
        ips = [{"ip": str(address)} for address in by_families(given, families)]
        node = self._around.store.get(NODE.key("", network.node))
        hosts = [{"ip": str(a)} for a in (underlay_addresses(node) if node else ())]
        status = {
            **pod.status,
            "podIP": ips[0]["ip"],
            "podIPs": ips,
            "hostIP": hosts[0]["ip"] if hosts else "",
            "hostIPs": hosts,
        }
        self._around.store.put_status(pod.key, status, str(network.pod.metadata.get("uid")))
        self._around.changed()

    def _tell_failure(self, network: _PodNetwork, said: Said) -> None:
        """Says in an Event that there is no sandbox, and in the status what its containers wait for."""
        self._tell(network, said)
        pod = self._around.store.get(network.pod.key)
        if pod is None:
            return
        spec = PodSpec.of_pod(pod)
        why = f"{said.message}; {_REMEDY}" if _NOT_FOUND in said.message else said.message
        inits = [_waiting(c, why) for c in spec.init_containers]
        states = [_waiting(c, "" if inits else why) for c in spec.containers]
        before, now = pod.status.get("conditions") or (), timestamp()
        told = pod_status(states, inits, not inits, spec.readiness_gates, before)
        told["conditions"] = stamped(told["conditions"], before, now)
        uid = str(network.pod.metadata.get("uid"))
        self._around.store.put_status(pod.key, {**pod.status, "startTime": now, **pod.status, **told}, uid)
        self._around.changed()

    def _tell(self, network: _PodNetwork, said: Said) -> None:
        told = Tell(network.pod, said.type, said.reason, said.message, "kubelet", network.node)
        self._around.events.tell([told], time.time())


def _needs_network(pod: Object | None, cluster: Cluster) -> bool:
    """Whether a pod that has a network, or is to get it, still needs it."""
    if pod is None or not cluster.chain or pod.status.get("phase") in ("Succeeded", "Failed"):
        return False
    return bool(pod.status.get("podIPs")) or awaits_network(pod, cluster)


def _waiting(container: Container, why: str) -> ContainerState:
    return ContainerState(container.name, container.image, message=why)
