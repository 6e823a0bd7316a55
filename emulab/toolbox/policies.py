"""Who may reach whom in a lab, by its policies, and whether packets agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from emulab.errors import UserError
from emulab.kinds.cells import Raw
from emulab.kinds.emulab.plugins import chain_of
from emulab.kinds.emulab.proxymodes import USERSPACE, proxy_mode_of
from emulab.kinds.networking.clusterpolicyview import ACCEPT, ClusterNetworkPolicy
from emulab.kinds.networking.policyview import EGRESS, INGRESS, NetworkPolicy
from emulab.kinds.registry import CLUSTER_NETWORK_POLICY, NAMESPACE, NETWORK_POLICY, NODE, POD
from emulab.model.addresses import IPAddress
from emulab.model.families import Family, family_of, of_family
from emulab.model.objects import Object
from emulab.plan.pods import has_network, pod_addresses
from emulab.plan.policies.facts import PolicyPod, PolicyScene
from emulab.plan.policies.verdicts import DirectionVerdict, FlowVerdict, PolicyEnd, Verdicts
from emulab.python import Lab


class Policies:
    """The policies of a lab, and all that they are about."""

    def __init__(
        self,
        policies: Sequence[NetworkPolicy],
        scene: PolicyScene,
        cluster: Sequence[ClusterNetworkPolicy] = (),
        proxied: bool = False,
    ) -> None:
        """`proxied`: nodes connect to the endpoints of Services by themselves (proxy mode userspace)."""
        self.scene, self.proxied = scene, proxied
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
        proxied: bool = False,
    ) -> Policies:
        """Of objects as a lab tells them."""
        scene = PolicyScene.among(map(Object, pods), map(Object, namespaces), map(Object, nodes))
        ruling = [ClusterNetworkPolicy.of(Object(one)) for one in cluster]
        return cls([NetworkPolicy.of(Object(one)) for one in policies], scene, ruling, proxied)

    def end(self, address: IPAddress) -> PolicyEnd:
        """Whoever has an address."""
        pod = self._pods.get(address)
        return PolicyEnd(address, pod, self._nodes.get(address, "") if pod is None else "")

    def ends_of(self, pod: Raw) -> list[PolicyEnd]:
        """A Pod as an end, of each family: with its own addresses, or its node's where it has that network; none where
        it has ended."""
        o = Object(pod)
        return [self.end(address) for address in pod_addresses(o)] if has_network(o) else []

    def verdict(
        self, source: PolicyEnd, destination: PolicyEnd, protocol: str, port: int, by_service: bool = False
    ) -> FlowVerdict:
        """What becomes of a flow from the one to the other, or to a Service that leads there."""
        return self._verdicts.of(source, destination, protocol, port, by_service)

    def allows(self, source: PolicyPod, destination: PolicyPod, port: int, family: Family) -> bool:
        """Whether a TCP connection from the one pod to the other may begin."""
        ends = [self.end(of_family(pod.addresses, family)[0]) for pod in (source, destination)]
        return self.verdict(ends[0], ends[1], "tcp", port).allows


async def policies_of(lab: Lab) -> Policies:
    """Those of a lab that is up. Raises UserError where nobody enforces them."""
    proxied = False
    for cluster in await lab.get("Cluster"):
        proxied = proxy_mode_of(cluster["spec"]) == USERSPACE
        if chain_of(cluster["spec"].get("network") or {}):
            raise UserError(
                "policies aren't enforced here: plug-ins of this machine make the pods' networks (spec.network of the "
                "Cluster); leave that to the lab"
            )
    policies, ruling = await lab.get(NETWORK_POLICY.kind), await lab.get(CLUSTER_NETWORK_POLICY.kind)
    pods, namespaces = await lab.get(POD.kind), await lab.get(NAMESPACE.kind)
    return Policies.of(policies, pods, namespaces, await lab.get(NODE.kind), ruling, proxied)


def families_of(source: PolicyPod, destination: PolicyPod) -> list[Family]:
    """Those of which both have an address, the source's first one first."""
    known = {family_of(address) for address in destination.addresses}
    return [family for family in map(family_of, source.addresses) if family in known]


_BY_A_SERVICE = "allowed: a pod reaches itself by a Service, whatever NetworkPolicies say"


def reasons(found: FlowVerdict, source: str, destination: str) -> list[tuple[str, str]]:
    """For each direction what is said of it."""
    if found.itself:
        return [("itself", "a pod always reaches itself")]
    if found.kubelet:
        return [("kubelet", "a node always reaches the pods that it runs")]
    ends = {EGRESS: (found.egress, source), INGRESS: (found.ingress, destination)}
    return [
        (name, _BY_A_SERVICE)
        if found.hairpin and direction.ruled_by is None
        else (name, _reason(name, direction, whose))
        for name, (direction, whose) in ends.items()
    ]


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
