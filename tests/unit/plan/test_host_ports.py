"""Host ports: what becomes of them on a node."""

from __future__ import annotations

from worlds import world

from emulab.plan.rules.meaning import DNAT, SNAT, Meaning, MeantRule
from emulab.plan.state import Ruleset, Tuning, UdpBackends, World

TABLE = "ip cni_hostport"


def pod(name: str, ports: str, more: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec: {{nodeName: node1, {more} containers: [{{name: c, ports: [{ports}]}}]}}
---"""


def table(built: World, node: str = "node1") -> Ruleset | None:
    found = built.network.rulesets.get((node, TABLE))
    assert found is None or isinstance(found, Ruleset)
    return found


def address(built: World, name: str) -> str:
    return str(built.places[f"default.{name}"].addresses[0])


def test_a_host_port_leads_to_its_pod() -> None:
    built = world(
        pod("web", "{containerPort: 80, hostPort: 8080}, {containerPort: 81}"),
        pod("dns", "{containerPort: 53, hostPort: 5353, protocol: UDP, hostIP: 10.0.0.11}"),
    )
    found, web, dns = table(built), address(built, "web"), address(built, "dns")
    assert found is not None and table(built, "node2") is None
    rules = list(found.chains["hostports"][1:])
    assert rules == [
        f"tcp dport 8080 dnat to {web}:80",
        f"ip daddr 10.0.0.11 udp dport 5353 dnat to {dns}:53",
    ]
    (first, _) = rules
    assert isinstance(first, MeantRule)
    assert first.meaning == Meaning("portmap", DNAT, "spec.containers.ports.hostPort", "pod default/web")
    for hook in ("prerouting", "output"):
        assert found.chains[hook][1:] == ("fib daddr type local jump hostports",)
    masquerading = found.chains["masquerading"][1:]
    assert masquerading[:2] == (
        f"ip saddr {web} ip daddr {web} masquerade",
        f"ip saddr 127.0.0.1 ip daddr {web} masquerade",
    )
    assert all(isinstance(r, MeantRule) and r.meaning.does == SNAT for r in masquerading)


def test_the_pods_link_lets_loopback_addresses_across() -> None:
    built = world(pod("web", "{containerPort: 80, hostPort: 8080}"))
    links = built.network.rulesets["node1", "host-port-links"]
    assert isinstance(links, Tuning)
    ((setting, value),) = links.sysctls
    assert setting.startswith("net/ipv4/conf/veth") and setting.endswith("/route_localnet") and value == "1"


def test_udp_flows_from_before_the_first_host_port_are_known() -> None:
    nobody = world(pod("web", "{containerPort: 80}"))
    assert nobody.network.rulesets["node1", "udp-host-ports"] == UdpBackends({})
    assert table(nobody) is None
    built = world(pod("dns", "{containerPort: 53, hostPort: 5353, protocol: UDP}"))
    flows = built.network.rulesets["node1", "udp-host-ports"]
    assert flows == UdpBackends({("", 5353): frozenset({f"{address(built, 'dns')}:53"})})


def test_what_has_no_rules() -> None:
    """A pod on its node's network has the port itself; an address of no family of the pod's leads nowhere."""
    built = world(
        pod("own", "{containerPort: 80, hostPort: 80}", "hostNetwork: true,"),
        pod("six", '{containerPort: 81, hostPort: 81, hostIP: "fd00::1"}'),
    )
    assert table(built) is None
    everywhere = world(pod("all", "{containerPort: 81, hostPort: 81, hostIP: 0.0.0.0}"))
    found = table(everywhere)
    assert found is not None and found.chains["hostports"][1].startswith("tcp dport 81 dnat")
