"""Paths made by hand: one request through the whole default world, and some that fail."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from emulab.observe.path import Connection, Encapsulation, Failure, Hop, Path

CLIENT, RESOLVER, DNS = "198.51.100.2:40000", "198.51.100.53:53", "198.51.100.54:53"
VIP, NODE_PORT = "203.0.113.10:80", "10.0.0.11:30080"
INGRESS_POD = "ingress-nginx.ingress-nginx-controller-6c8d5b9f4d-x2x9z"
PRODUCT = "default.product-hdvnlsjrnv-kqbh4"
VETH1, VETH2, VETH3 = "veth46696d9501d", "veth864839667ff", "vethaaa32897356"
VXLAN = Encapsulation("vxlan", 1, "10.0.0.11", "10.0.0.12")
OVERLAY = "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"
RULE = (
    "ip daddr . ip protocol . th dport { 10.104.128.166 . tcp . 80 : goto n3 } "
    "dnat ip to ip daddr . ip protocol . th dport . numgen random mod 3 map @ep3"
)


@dataclass
class Story:
    """Hops in the order they are told, with their times in microseconds."""

    hops: list[Hop] = field(default_factory=list)
    now: float = 0.0
    connection: int = 0
    flight: int = 0
    direction: str = "request"
    ends: tuple[str, str] = ("", "")
    protocol: str = "tcp"
    translated: str = ""  # what the DNAT makes of `ends[1]`
    outside: tuple[tuple[str, str | None], ...] = ()  # the crossings before it

    def go(self, direction: str, detail: str, after: float = 10.0, *steps: tuple[Any, ...]) -> None:
        """A flight: steps are (place, interface, event) and perhaps a mapping of more fields."""
        self.direction = direction
        self.flight += 1
        self.now += after
        for place, interface, event, *more in steps:
            self.hop(place, interface, event, **{"detail": detail, **(more[0] if more else {})})
            self.now += 3.1

    def hop(self, place: str, interface: str | None, event: str, detail: str, **more: Any) -> None:
        behind = self.translated and (place, interface) not in self.outside
        ends = (self.ends[0], self.translated) if behind else self.ends
        source, destination = ends if self.direction == "request" else ends[::-1]
        fields: dict[str, Any] = {
            "index": len(self.hops),
            "time": round(self.now, 1),
            "delta": round(self.now - (self.hops[-1].time if self.hops else self.now), 1),
            "direction": self.direction,
            "place": place,
            "interface": interface,
            "event": event,
            "protocol": self.protocol,
            "source": source,
            "destination": destination,
            "detail": detail,
            "connection": self.connection,
            "flight": self.flight,
            "packets": 1 if interface else 0,
            "frames": (len(self.hops),) if interface else (),
        }
        self.hops.append(Hop(**{**fields, **more}))


def shop() -> Path:
    """GET http://shop.example.com/products/42: DNS, balancer, ingress, Service, VXLAN, and back."""
    story = Story(protocol="udp")
    _resolve(story)
    story.protocol = "tcp"
    _at_balancer(story)
    _at_ingress(story)
    _at_pod(story)
    _answers(story)
    duration = story.hops[-1].time
    return Path(
        source="client",
        url="http://shop.example.com/products/42",
        status=200,
        duration=duration,
        hops=story.hops,
        places=["client", "router", "public-lb", "node1", INGRESS_POD, "node2", PRODUCT],
        connections=[
            Connection(0, "name resolution: shop.example.com is 203.0.113.10", "client", "resolver", "udp"),
            Connection(1, f"client → public-lb: TCP {CLIENT} → {VIP}", "client", "public-lb", "tcp"),
            Connection(
                2,
                f"public-lb → {INGRESS_POD}: TCP 10.0.0.10:51000 → {NODE_PORT}",
                "public-lb",
                INGRESS_POD,
                "tcp",
            ),
            Connection(
                3,
                f"{INGRESS_POD} → {PRODUCT}: TCP 10.244.1.3:43586 → 10.104.128.166:80",
                INGRESS_POD,
                PRODUCT,
                "tcp",
            ),
        ],
        totals={
            "dns_us": 60.0,
            "client_us": 40.04,
            "kernel_us": {"veth": 200.0, "forwarding": 100.0, "nat": 50.04, "vxlan": 100.04},
            "servers_us": {"public-lb": 60.0, INGRESS_POD: 55.5},
            "container_us": {PRODUCT: duration - 665.62},
        },
        notes=["the close of connection 3 came after the answer and is not waited for"],
    )


def _resolve(story: Story) -> None:
    story.ends = (CLIENT, RESOLVER)
    question = "DNS A? shop.example.com"
    story.go(
        "request",
        question,
        0.0,
        ("client", "eth0", "send"),
        ("resolver", "eth0", "deliver"),
        ("resolver", None, "dns-query", {"object": "cache: miss"}),
    )
    story.ends = ("198.51.100.53:35353", DNS)
    story.go("request", question, 20.0, ("resolver", "eth0", "send"), ("dns", "eth0", "deliver"))
    answer = "DNS A shop.example.com = 203.0.113.10, TTL 30"
    story.go("response", answer, 20.0, ("dns", "eth0", "send"), ("resolver", "eth0", "deliver"))
    story.ends = (CLIENT, RESOLVER)
    story.go(
        "response",
        answer,
        20.0,
        ("resolver", None, "dns-answer", {"object": "cache: stored for 30 s"}),
        ("resolver", "eth0", "send"),
        ("client", "eth0", "deliver"),
    )


TO_BALANCER = (
    ("client", "eth0", "send"),
    ("router", "inet0", "receive"),
    ("router", "vpc0", "forward", {"route": "203.0.113.10 dev vpc0 src 10.0.0.1"}),
    ("public-lb", "eth0", "deliver"),
)
TO_CLIENT = (
    ("public-lb", "eth0", "send"),
    ("router", "vpc0", "receive"),
    ("router", "inet0", "forward", {"route": "198.51.100.0/24 dev inet0 src 198.51.100.1"}),
    ("client", "eth0", "deliver"),
)
TO_INGRESS = (
    ("public-lb", "eth0", "send"),
    ("node1", "eth0", "receive"),
    ("node1", VETH1, "forward", {"route": f"10.244.1.3 dev {VETH1}"}),
    (INGRESS_POD, "eth0", "deliver"),
)
TO_POD = (
    (INGRESS_POD, "eth0", "send"),
    ("node1", VETH1, "receive"),
    ("node1", "flannel.1", "encapsulate", {"encapsulation": VXLAN, "route": OVERLAY}),
    ("node1", "eth0", "forward", {"encapsulation": VXLAN}),
    ("node2", "eth0", "receive", {"encapsulation": VXLAN}),
    ("node2", "flannel.1", "decapsulate"),
    ("node2", VETH2, "forward", {"route": f"10.244.2.3 dev {VETH2}"}),
    (PRODUCT, "eth0", "deliver"),
)


def back(steps: tuple[tuple[Any, ...], ...]) -> list[tuple[Any, ...]]:
    """The same crossings the other way round."""
    turned = {"send": "deliver", "deliver": "send", "receive": "forward", "forward": "receive"}
    turned |= {"encapsulate": "decapsulate", "decapsulate": "encapsulate"}
    return [(place, interface, turned[event]) for place, interface, event, *_ in reversed(steps)]


def _enter(story: Story, connection: int) -> None:
    """From here on hops are of this connection."""
    known: dict[int, tuple[tuple[str, str], str, tuple[tuple[str, str | None], ...]]] = {
        1: ((CLIENT, VIP), "", ()),
        2: (("10.0.0.10:51000", NODE_PORT), "10.244.1.3:80", (("public-lb", "eth0"), ("node1", "eth0"))),
        3: (
            ("10.244.1.3:43586", "10.104.128.166:80"),
            "10.244.2.3:8080",
            ((INGRESS_POD, None), (INGRESS_POD, "eth0"), ("node1", VETH1)),
        ),
    }
    story.connection = connection
    story.ends, story.translated, story.outside = known[connection]


def _at_balancer(story: Story) -> None:
    _enter(story, 1)
    story.go("request", "TCP SYN", 40.0, *TO_BALANCER)
    story.go("response", "TCP SYN, ACK", 5.0, *TO_CLIENT)
    story.go("request", "GET /products/42", 15.0, *TO_BALANCER)
    pick = "round robin: 1 of 2 healthy targets (node1, node2)"
    story.hop("public-lb", None, "proxy-accept", pick, object="LoadBalancer public-lb port 80 → node1:30080")
    story.now += 30


def _at_ingress(story: Story) -> None:
    _enter(story, 2)
    pair = {
        "before": f"10.0.0.10:51000 → {NODE_PORT}",
        "after": "10.0.0.10:51000 → 10.244.1.3:80",
        "answers": "10.244.1.3:80 → 10.0.0.10:51000",
    }
    service = (
        "Service ingress-nginx/ingress-nginx-controller port 80 (NodePort 30080) → pod "
        + INGRESS_POD.replace(".", "/")
    )
    first = list(TO_INGRESS)
    evidence = {
        "detail": f"destination {NODE_PORT} → 10.244.1.3:80",
        "object": service,
        "rule": RULE,
        "conntrack": pair,
    }
    first.insert(2, ("node1", None, "dnat", evidence))
    story.go("request", "TCP SYN", 10.0, *first)
    story.go("response", "TCP SYN, ACK", 5.0, *back(TO_INGRESS))
    story.go("request", "GET /products/42", 15.0, *TO_INGRESS)
    rule = "Ingress default/shop-ingress: shop.example.com /products Prefix"
    story.hop(INGRESS_POD, None, "proxy-accept", "GET /products/42", object=rule)
    story.now += 30


def _at_pod(story: Story) -> None:
    _enter(story, 3)
    pair = {
        "before": "10.244.1.3:43586 → 10.104.128.166:80",
        "after": "10.244.1.3:43586 → 10.244.2.3:8080",
    }
    service = "Service default/product-service port 80 → pod default/product-hdvnlsjrnv-kqbh4"
    first: list[tuple[Any, ...]] = list(TO_POD)
    first.insert(0, (INGRESS_POD, None, "proxy-connect", {"object": "upstream product-service.default:80"}))
    detail = "destination 10.104.128.166:80 → 10.244.2.3:8080"
    evidence = {"detail": detail, "object": service, "rule": RULE, "conntrack": pair}
    first.insert(3, ("node1", None, "dnat", evidence))
    story.go("request", "TCP SYN", 10.0, *first)
    story.go("response", "TCP SYN, ACK", 5.0, *back(TO_POD))
    story.go("request", "GET /products/42", 15.0, *TO_POD)
    story.now += 900.0
    story.go("response", "HTTP 200 (612 bytes)", 1.0, *back(TO_POD))


def _answers(story: Story) -> None:
    _enter(story, 2)
    story.go("response", "HTTP 200 (640 bytes)", 40.0, *back(TO_INGRESS))
    _enter(story, 1)
    story.go("response", "HTTP 200 (640 bytes)", 30.0, *TO_CLIENT)
    story.go("request", "TCP FIN, ACK", 20.0, *TO_BALANCER)


def refused() -> Path:
    """A NodePort whose packets a rule drops, three SYNs long."""
    story = Story(connection=1, ends=("10.0.0.200:40000", "10.0.0.11:30090"))
    evidence = {"rule": "ip daddr 10.0.0.11 tcp dport 30090 drop", "object": "Service app/web port 80"}
    for wait in (0.0, 1_000_000.0, 2_000_000.0):
        story.go(
            "request",
            "TCP SYN",
            wait,
            ("office", "eth0", "send"),
            ("node1", "eth0", "receive"),
            ("node1", None, "drop", evidence),
        )
    return Path(
        source="office",
        url="10.0.0.11:30090",
        status=None,
        duration=story.hops[-1].time,
        hops=story.hops,
        places=["office", "node1"],
        connections=[
            Connection(1, "office → node1: TCP 10.0.0.200:40000 → 10.0.0.11:30090", "office", "node1", "tcp")
        ],
        failure=Failure(
            place="node1",
            reason="no-endpoints",
            text="node1 dropped the connection: Service app/web has no ready endpoint",
            remedy="make a pod that its selector (app=web) matches ready: emulab -l default get pods -n app",
            object="Service app/web port 80",
            kernel_reason="NETFILTER_DROP",
        ),
        totals={"dns_us": 0.0, "client_us": story.hops[-1].time - 10.0, "kernel_us": {"veth": 10.0}},
    )


def secure() -> Path:
    """The shop over HTTPS."""
    return replace(
        shop(),
        url="https://shop.example.com/products/42",
        tls={
            "version": "TLSv1.3",
            "cipher": "TLS_AES_256_GCM_SHA384",
            "server_name": "shop.example.com",
            "subject": "CN=shop.example.com",
            "issuer": "CN=shop CA",
            "names": ["shop.example.com", "*.shop.example.com"],
            "not_before": 1_767_225_600,
            "not_after": 1_798_761_600,
        },
    )
