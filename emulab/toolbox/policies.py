"""Who may reach whom in a lab, by its policies, and whether packets agree."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from emulab.kinds.cells import Raw
from emulab.kinds.networking.clusterpolicyview import ACCEPT, ClusterNetworkPolicy
from emulab.kinds.networking.policyview import EGRESS, INGRESS, NetworkPolicy
from emulab.kinds.registry import CLUSTER_NETWORK_POLICY, NAMESPACE, NETWORK_POLICY, NODE, POD
from emulab.lab.client.requesting import connect
from emulab.model.addresses import IPAddress
from emulab.model.families import family_of
from emulab.model.objects import Object
from emulab.plan.pods import has_network, pod_addresses
from emulab.plan.policies.facts import PolicyPod, PolicyScene
from emulab.plan.policies.verdicts import DirectionVerdict, FlowVerdict, PolicyEnd, Verdicts
from emulab.python import Lab

PATIENCE = 1.0
"""Seconds without a word after which a packet has been dropped."""
_AT_ONCE = 64  # connections


class Policies:
    """The policies of a lab, and all that they are about."""

    def __init__(
        self,
        policies: Sequence[NetworkPolicy],
        scene: PolicyScene,
        cluster: Sequence[ClusterNetworkPolicy] = (),
    ) -> None:
        self.scene = scene
        self._nodes = {address: name for name, node in scene.nodes.items() for address in node.addresses}
        self._verdicts = Verdicts(policies, scene, cluster)
        self._pods = {address: pod for pod in scene.pods for address in pod.addresses}

    @classmethod
    def of(
        cls,
        policies: Iterable[Raw],
        pods: Iterable[Raw],
        namespaces: Iterable[Raw],
        nodes: Iterable[Raw] = (),
        cluster: Iterable[Raw] = (),
    ) -> Policies:
        """Of objects as a lab tells them."""
        scene = PolicyScene.among(map(Object, pods), map(Object, namespaces), map(Object, nodes))
        ruling = [ClusterNetworkPolicy.of(Object(one)) for one in cluster]
        return cls([NetworkPolicy.of(Object(one)) for one in policies], scene, ruling)

    def end(self, address: IPAddress) -> PolicyEnd:
        """Whoever has an address."""
        pod = self._pods.get(address)
        return PolicyEnd(address, pod, self._nodes.get(address, "") if pod is None else "")

    def end_of(self, pod: Raw) -> PolicyEnd | None:
        """A Pod as an end: with its own address, or its node's where it has that network; None where it has ended."""
        o = Object(pod)
        return self.end(pod_addresses(o)[0]) if has_network(o) else None

    def verdict(
        self, source: PolicyEnd, destination: PolicyEnd, protocol: str, port: int, by_service: bool = False
    ) -> FlowVerdict:
        """What becomes of a flow from the one to the other, or to a Service that leads there."""
        return self._verdicts.of(source, destination, protocol, port, by_service)


async def policies_of(lab: Lab) -> Policies:
    """Those of a lab that is up."""
    policies, ruling = await lab.get(NETWORK_POLICY.kind), await lab.get(CLUSTER_NETWORK_POLICY.kind)
    pods, namespaces = await lab.get(POD.kind), await lab.get(NAMESPACE.kind)
    return Policies.of(policies, pods, namespaces, await lab.get(NODE.kind), ruling)


def shared_addresses(source: PolicyPod, destination: PolicyPod) -> tuple[IPAddress, IPAddress] | None:
    """An address of each, of one family; None where they have none in common."""
    for one in source.addresses:
        for other in destination.addresses:
            if family_of(one) is family_of(other):
                return one, other
    return None


class ProbedFlow(NamedTuple):
    """A connection that one pod might begin to a port of another."""

    source: PolicyPod
    destination: PolicyPod
    port: int


async def probe(lab: Lab, flows: Sequence[ProbedFlow], patience: float = PATIENCE) -> list[bool]:
    """Whether a packet passes, for each of these: there is an answer, be it that nobody listens. Raises UserError for a
    pod that doesn't run."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def passes(flow: ProbedFlow) -> bool:
        addresses = shared_addresses(flow.source, flow.destination)
        if addresses is None:
            return False
        family = family_of(addresses[1]).number
        async with room:
            with await lab.socket(
                f"pod/{flow.source.name}", namespace=flow.source.namespace, family=family
            ) as sock:
                try:
                    async with asyncio.timeout(patience):
                        await connect(sock, str(addresses[1]), flow.port)
                except ConnectionRefusedError:
                    return True
                except (TimeoutError, OSError):
                    return False
                return True

    return list(await asyncio.gather(*map(passes, flows)))


def reasons(found: FlowVerdict, source: str, destination: str) -> list[tuple[str, str]]:
    """For each direction what is said of it."""
    if found.itself:
        return [("itself", "a pod always reaches itself")]
    if found.kubelet:
        return [("kubelet", "a node always reaches the pods that it runs")]
    ends = {EGRESS: (found.egress, source), INGRESS: (found.ingress, destination)}
    return [(name, _reason(name, direction, whose)) for name, (direction, whose) in ends.items()]


def _reason(name: str, direction: DirectionVerdict, whose: str) -> str:
    if direction.ruled_by is not None:
        word = "allowed" if direction.ruled_by.action == ACCEPT else "denied"
        return f"{word} by {direction.ruled_by}"
    if not direction.policies:
        return f"allowed: no NetworkPolicy isolates {whose}"
    if direction.allowed_by is not None:
        policy, number = direction.allowed_by
        return f"allowed by spec.{name}[{number}] of {policy}"
    names = ", ".join(f"{one.namespace}/{one.name}" for one in direction.policies)
    word = "NetworkPolicy" if len(direction.policies) == 1 else "NetworkPolicies"
    return f"denied: {whose} is isolated by {word} {names}, of which no rule of spec.{name} allows it"
