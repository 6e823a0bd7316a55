"""What clouds' annotations of Services and Ingresses say of a balancer: which of its fields, and which of them nobody
follows here.

A row is an annotation, the field of a balancer's spec that it says, and how its text is read; a ValueError of that is
what is wrong with it. Attributes are rows within one annotation, `key=value,key=value`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from emulab.model.addresses import IPAddress, is_address, parse_address
from emulab.model.checks import show
from emulab.model.yaml_scalars import plain

ALB = "alb.ingress.kubernetes.io/"
NLB = "service.beta.kubernetes.io/aws-load-balancer-"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
"""Kubernetes' own (`AnnotationLoadBalancerSourceRangesKey`): networks with commas between them."""
_DO = "service.beta.kubernetes.io/do-loadbalancer-"
_AZURE = "service.beta.kubernetes.io/azure-load-balancer-"
_HETZNER = "load-balancer.hetzner.cloud/"

SpecPath = tuple[str, ...]
ReadText = Callable[[str], Any]
_DURATION = re.compile(r"(\d+)(s|m|h)?")
_UNITS = {"s": 1, "m": 60, "h": 3600}


class SpecField(NamedTuple):
    """A field of a balancer's spec, and what is said of it."""

    path: SpecPath
    value: Any


def _upper(text: str) -> str:
    return text.strip().upper()


def _whole(text: str) -> Any:
    return plain(text.strip())


def _minutes(text: str) -> Any:
    minutes = plain(text.strip())
    return minutes * 60 if isinstance(minutes, int) else minutes


def _duration(text: str) -> Any:
    found = _DURATION.fullmatch(text.strip())
    return int(found[1]) * _UNITS[found[2] or "s"] if found else text


def _port(text: str) -> Any:
    return None if text.strip() == "traffic-port" else plain(text.strip())


def _algorithm(text: str) -> str:
    known = {"round_robin": "roundrobin", "least_connections": "leastconn"}
    if text.strip() not in known:
        raise ValueError(f'"{text}" is not one of {", ".join(known)}')
    return known[text.strip()]


def _when(value: Any, *texts: str) -> ReadText:
    """The value for one of these texts, and nothing for false."""

    def read(text: str) -> Any:
        word = text.strip().lower()
        if word not in (*texts, "false", ""):
            raise ValueError(f'"{text}" is not one of {", ".join(texts)}, false')
        return value if word in texts else None

    return read


def _checks(prefix: str, **names: str) -> dict[str, tuple[SpecPath, ReadText]]:
    reads: Mapping[str, ReadText] = {"protocol": _upper, "path": str, "codes": str, "port": _port}
    return {
        f"{prefix}{name}": (("healthCheck", own), reads.get(own, _duration)) for own, name in names.items()
    }


_ATTRIBUTES: Mapping[str, tuple[SpecPath, ReadText]] = {
    "proxy_protocol_v2.enabled": (("proxyProtocol",), _when("v2", "true")),
    "preserve_client_ip.enabled": (("preserveClientIP",), _whole),
    "deregistration_delay.timeout_seconds": (("draining",), _whole),
    "stickiness.type": (("algorithm",), _when("source", "source_ip")),
    "idle_timeout.timeout_seconds": (("idleTimeout",), _whole),
    "tcp.idle_timeout.seconds": (("idleTimeout",), _whole),
}
_DEFAULTS = {
    "stickiness.enabled": ("true", "false"),
    "load_balancing.cross_zone.enabled": ("true",),  # each balancer has the targets of all zones
    "proxy_protocol_v2.enabled": ("false",),
    "deletion_protection.enabled": ("true", "false"),
}
"""Attributes that say what is so in any case, or has no bearing."""
_OF_ATTRIBUTES = (
    *(f"{NLB}{name}" for name in ("target-group-attributes", "attributes")),
    *(f"{ALB}{name}" for name in ("target-group-attributes", "load-balancer-attributes")),
)

_ROWS: Mapping[str, tuple[SpecPath, ReadText]] = {
    **_checks(
        f"{ALB}healthcheck-",
        protocol="protocol",
        path="path",
        port="port",
        interval="interval-seconds",
        timeout="timeout-seconds",
    ),
    **_checks(ALB, codes="success-codes", rise="healthy-threshold-count", fall="unhealthy-threshold-count"),
    **_checks(
        f"{NLB}healthcheck-",
        protocol="protocol",
        path="path",
        port="port",
        codes="success-codes",
        interval="interval",
        timeout="timeout",
        rise="healthy-threshold",
        fall="unhealthy-threshold",
    ),
    **_checks(
        f"{_DO}healthcheck-",
        protocol="protocol",
        path="path",
        port="port",
        interval="check-interval-seconds",
        timeout="response-timeout-seconds",
        rise="healthy-threshold",
        fall="unhealthy-threshold",
    ),
    **_checks(
        f"{_AZURE}health-probe-",
        protocol="protocol",
        path="request-path",
        interval="interval",
        fall="num-of-probe",
    ),
    **_checks(
        f"{_HETZNER}health-check-",
        protocol="protocol",
        path="http-path",
        port="port",
        interval="interval",
        timeout="timeout",
        fall="retries",
        codes="http-status-codes",
    ),
    f"{NLB}proxy-protocol": (("proxyProtocol",), _when("v2", "*")),
    f"{_DO}enable-proxy-protocol": (("proxyProtocol",), _when("v1", "true")),
    "service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v1": (
        ("proxyProtocol",),
        _when("v1", "true", "*"),
    ),
    "service.beta.kubernetes.io/scw-loadbalancer-proxy-protocol-v2": (
        ("proxyProtocol",),
        _when("v2", "true", "*"),
    ),
    f"{_HETZNER}uses-proxyprotocol": (("proxyProtocol",), _when("v1", "true")),
    "loadbalancer.openstack.org/proxy-protocol": (("proxyProtocol",), _when("v1", "true")),
    f"{NLB}connection-idle-timeout": (("idleTimeout",), _whole),
    f"{NLB}connection-draining-timeout": (("draining",), _whole),
    f"{_AZURE}tcp-idle-timeout": (("idleTimeout",), _minutes),
    f"{_DO}algorithm": (("algorithm",), _algorithm),
    f"{_HETZNER}algorithm-type": (("algorithm",), _algorithm),
}
_KIND, _FAMILIES = f"{NLB}type", f"{NLB}ip-address-type"
_TARGET = f"{NLB}nlb-target-type"
_OF_NLB = ("nlb", "nlb-ip", "external")
_CLASSIC = ("", "clb", "elb", "classic")

ADDRESSES = (
    *("metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs", "kube-vip.io/loadbalancerIPs"),
    *("lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips", f"{_AZURE}ipv4", f"{_AZURE}ipv6"),
)
"""Annotations that ask for addresses, as `loadBalancerIP` does."""

_OF_CLOUDS = (
    *("service.beta.kubernetes.io/", "service.kubernetes.io/aws-load-balancer-", "cloud.google.com/"),
    *("networking.gke.io/", "metallb.io/", "metallb.universe.tf/", "load-balancer.hetzner.cloud/"),
    *("loadbalancer.openstack.org/", "oci.oraclecloud.com/", "oci-network-load-balancer.oraclecloud.com/"),
    *("kubernetes.digitalocean.com/", "lbipam.cilium.io/", "io.cilium/", "kube-vip.io/", "purelb.io/"),
    *("service.cloud.tencent.com/", "service.kubernetes.io/ibm-", "k8s.cloudscale.ch/", "vultr.com/"),
    *("service.kubernetes.io/qcloud-", "service.kubernetes.io/tke-", "service.kubernetes.io/local-svc-"),
    *("kubernetes.civo.com/", "loadbalancer.ovhcloud.com/", "lb.stackit.cloud/", "kubernetes.io/elb."),
    *("cloud.ionos.com/", "metal.equinix.com/", "tailscale.com/", "service.cilium.io/", "lb.kubesphere.io/"),
    *("eip.openelb.kubesphere.io/", "protocol.openelb.kubesphere.io/", "beta.cloud.google.com/"),
    *("projectcalico.org/loadBalancerIPs", "projectcalico.org/ipv4pools", "projectcalico.org/ipv6pools"),
)
"""What annotations of clouds for Services' balancers begin with."""
_OF_OTHERS = (
    *(ALB, "appgw.ingress.kubernetes.io/", "networking.gke.io/", "cloud.google.com/"),
    *("ingress.gcp.kubernetes.io/", "kubernetes.io/ingress.global-static-ip-name", "ingress.kubernetes.io/"),
    *("kubernetes.io/ingress.allow-http", "ingress.appscode.com/", "traefik.ingress.kubernetes.io/"),
    *("nginx.org/", "nginx.com/", "appprotect.f5.com/", "haproxy.org/", "haproxy-ingress.github.io/"),
    *("konghq.com/", "projectcontour.io/", "getambassador.io/", "k8s.apisix.apache.org/"),
)
"""What annotations of controllers for Ingresses begin with that aren't here."""
_HEARD_ELSEWHERE = (
    *("metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip", "lbipam.cilium.io/sharing-key"),
    *("metallb.io/ip-allocated-from-pool", "metallb.universe.tf/ip-allocated-from-pool"),
    *(SOURCE_RANGES, "cloud.google.com/neg-status", _FAMILIES),
)
"""Annotations that others than this table follow, or that controllers write."""


_SO_ANYWAY: Mapping[str, tuple[str, ...]] = {
    f"{NLB}cross-zone-load-balancing-enabled": ("true",),
    _TARGET: ("instance",),
    f"{NLB}access-log-enabled": ("false",),
    f"{NLB}backend-protocol": ("tcp", "TCP"),
    f"{NLB}connection-draining-enabled": ("true",),
    f"{ALB}target-type": ("instance",),
    f"{ALB}scheme": ("internet-facing",),
}
"""Annotations by values that say what is so in any case."""


def said(annotations: Mapping[str, str]) -> Iterator[tuple[str, SpecField | str]]:
    """What the annotations say, each by its name; or what is wrong with it, or isn't followed of it, in words."""
    for name, text in annotations.items():
        rows = list(_attributes(name, text)) if _of_attributes(name) else [(_ROWS.get(name), text, "")]
        for row, value, unfollowed in rows:
            if unfollowed:
                yield name, unfollowed
            if row is None:
                continue
            try:
                read = row[1](value)
            except ValueError as error:
                yield name, str(error)
                continue
            if read is not None:
                yield name, SpecField(row[0], read)
    kind = annotations.get(_KIND, "").strip().lower()
    if asks_for_nlb(annotations):
        yield _KIND, SpecField(("mode",), "nat")
    elif kind not in _CLASSIC:
        yield (
            _KIND,
            f"{show(annotations[_KIND])} is not one of {', '.join(_OF_NLB)}, so the balancer is a proxy",
        )


def _of_attributes(name: str) -> bool:
    return name.startswith(_OF_ATTRIBUTES) and name.partition("attributes")[2][:1] in ("", ".")


def _attributes(name: str, text: str) -> Iterator[tuple[tuple[SpecPath, ReadText] | None, str, str]]:
    if name.partition("attributes")[2]:
        yield None, "", "isn't followed for one port: the balancer has one way for all"
        return
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (word.strip() for word in pair.partition("="))
        row = _ATTRIBUTES.get(key)
        if not equals:
            yield None, "", f'"{pair}" is not a pair of a key and a value'
        elif value not in _DEFAULTS.get(key, ()):
            yield row, value, "" if row else f"{key} isn't followed"


def asks_for_nlb(annotations: Mapping[str, str]) -> bool:
    """Whether a Service asks for a network load balancer of AWS."""
    return annotations.get(_KIND, "").strip().lower() in _OF_NLB


def asks_pods(annotations: Mapping[str, str]) -> bool:
    """Whether a Service wants pods for targets of its balancer of AWS, instead of nodes."""
    kind, target = (annotations.get(name, "").strip().lower() for name in (_KIND, _TARGET))
    return kind == "nlb-ip" or target in ("ip", "nlb-ip")


def unfollowed(annotations: Mapping[str, str], of_service: bool) -> Iterator[tuple[str, str]]:
    """Annotations of clouds that say nothing here, in words: those of balancers, or those of Ingresses' controllers."""
    begin = _OF_CLOUDS if of_service else _OF_OTHERS
    known = (*_HEARD_ELSEWHERE, *ADDRESSES, _KIND)
    for name, text in annotations.items():
        heard = name in known or name in _ROWS or _of_attributes(name) or text in _SO_ANYWAY.get(name, ())
        if name.startswith(begin) and not heard:
            so = _SO_ANYWAY.get(name)
            yield (
                name,
                f"{show(text)} isn't followed here, where it is always {so[0]}"
                if so
                else "isn't followed here",
            )


def unheard_families(annotations: Mapping[str, str], both: bool) -> Iterator[tuple[str, str]]:
    """What AWS' annotation says of a balancer's families where its Service, of `both` or of one, says otherwise."""
    name, text = _FAMILIES, annotations.get(_FAMILIES)
    if text is None:
        return
    if text not in ("ipv4", "dualstack"):
        yield name, f"{show(text)} is not one of ipv4, dualstack: a balancer has its Service's families"
    elif (text == "dualstack") != both:
        remedy = (
            "PreferDualStack, in a Cluster of both, gives it both" if not both else "SingleStack gives it one"
        )
        yield name, f"isn't followed: a balancer has its Service's families, and ipFamilyPolicy: {remedy}"


def addresses_asked(annotations: Mapping[str, str]) -> list[IPAddress]:
    """The addresses that annotations ask for."""
    return [parse_address(word) for _, word in _addresses(annotations) if _can_be_asked(word)]


def unheard_addresses(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Of the addresses that annotations ask for those that can't be had: a Service asks for one of each family."""
    heard: dict[int, IPAddress] = {}
    for name, word in _addresses(annotations):
        if not _can_be_asked(word):
            yield name, f'"{word}" is no address to ask for'
            continue
        address = parse_address(word)
        first = heard.setdefault(address.version, address)
        if first != address:
            yield name, f"{word} isn't followed: of addresses of a family the first is asked for, {first}"


def unheard_beside(annotations: Mapping[str, str], asked: str) -> Iterator[tuple[str, str]]:
    """The addresses that annotations ask for where `spec.loadBalancerIP` asks for another."""
    for name, word in _addresses(annotations):
        if not (_can_be_asked(word) and parse_address(word) == parse_address(asked)):
            yield name, f"{word} isn't followed: spec.loadBalancerIP asks for {asked} (MetalLB refuses both)"


def is_of_balancers(name: str) -> bool:
    """Whether an annotation says something of a balancer that is followed here."""
    return name in _ROWS or name in (*ADDRESSES, _KIND, _FAMILIES) or _of_attributes(name)


def _addresses(annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name in ADDRESSES:
        yield from ((name, word.strip()) for word in annotations.get(name, "").split(",") if word.strip())


def _can_be_asked(word: str) -> bool:
    """Whether it is an address, and not 0.0.0.0, by which kube-vip has DHCP asked."""
    return is_address(word) and not parse_address(word).is_unspecified


def source_ranges(annotations: Mapping[str, str]) -> list[str]:
    """The networks that may come in by the annotation."""
    return [word.strip() for word in annotations.get(SOURCE_RANGES, "").split(",") if word.strip()]
