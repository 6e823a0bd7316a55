"""How many words, and which, plug-ins of a Corefile and their options take (each plug-in's setup.go). Pure.

What CoreDNS doesn't start with is a CorefileError. A rule is a function of the line with the option.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from emulab.model.addresses import is_address
from emulab.plan.coredns.drafting import checked, duration, number, zones_of
from emulab.plan.coredns.lines import CorefileError, is_port
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import RCODES
from emulab.servers.dns.expressions import expression

_RATE = re.compile(r"\+?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")

ArgumentRule = Callable[[Directive], object]


def wrong(told: Directive, why: str) -> CorefileError:
    return CorefileError(told.line, f"{told.name}: {why}")


def count(least: int, most: int | None = None) -> ArgumentRule:
    """So many words; without `most` any number above."""

    def rule(told: Directive) -> None:
        if len(told.words) < least or (most is not None and len(told.words) > most):
            raise wrong(told, "wrong argument count or unexpected line ending")

    return rule


none, one, some, any_number = count(0, 0), count(1, 1), count(1), count(0)


def between(least: int, most: int) -> ArgumentRule:
    """One number within bounds."""

    def rule(told: Directive) -> None:
        one(told)
        if not least <= number(told, told.words[0]) <= most:
            raise wrong(told, f"{told.words[0]} is not within {least} and {most}")

    return rule


a_count, seconds = between(0, (1 << 31) - 1), between(1, (1 << 31) - 1)


def among(*words: str) -> ArgumentRule:
    """One of these words."""

    def rule(told: Directive) -> None:
        one(told)
        if told.words[0] not in words:
            raise wrong(told, f"{told.words[0]} is none of {', '.join(words)}")

    return rule


def time(told: Directive) -> None:
    """One duration."""
    one(told)
    duration(told, told.words[0])


def first_time(told: Directive) -> None:
    """A duration; of more words CoreDNS reads none."""
    some(told)
    duration(told, told.words[0])


def time_above_zero(told: Directive) -> None:
    """One duration that isn't nothing."""
    one(told)
    if not duration(told, told.words[0]):
        raise wrong(told, "must be positive")


def rate(told: Directive) -> None:
    """One number, with a fraction or without."""
    one(told)
    if not _RATE.fullmatch(told.words[0]):
        raise wrong(told, f"{told.words[0]} is no number from 0 on")


def response_codes(*refused: str) -> ArgumentRule:
    """Response codes by their names, in any case, but for some."""

    def rule(told: Directive) -> None:
        some(told)
        for word in told.words:
            if word.upper() not in RCODES or word.upper() in refused:
                raise wrong(told, f"{word} is not a response code that can be told here")

    return rule


def addresses(least: int, most: int | None = None, *, ports: bool = False) -> ArgumentRule:
    """Addresses, of which each may have a port."""

    def rule(told: Directive) -> None:
        count(least, most)(told)
        for word in told.words:
            host, colon, port = word.rpartition(":")
            with_port = ports and colon and is_port(port) and is_address(host.strip("[]"))
            if not (is_address(word) or with_port):
                raise wrong(told, f"{word} is no IP address")

    return rule


def check_ignore(told: Directive) -> None:
    """`ignore empty_service`: of more words CoreDNS reads none."""
    if told.words and told.words[0] != "empty_service":
        raise wrong(told, f"unable to parse ignore value: {told.words[0]}")


def check_extended_error(told: Directive) -> None:
    """`ederror CODE [REASON]`."""
    count(1, 2)(told)
    if number(told, told.words[0]) >= 1 << 16:
        raise wrong(told, f"{told.words[0]} is no extended DNS error code")


def check_forward_health(told: Directive) -> None:
    """`health_check DURATION [no_rec] [domain FQDN]`."""
    some(told)
    duration(told, told.words[0])
    match told.words[1:]:
        case () | ("no_rec",):
            pass
        case ("domain", name) | ("no_rec", "domain", name) | ("domain", name, "no_rec"):
            zones_of(told, [name])
        case _:
            raise wrong(told, f"{' '.join(told.words[1:])} is no option: no_rec and domain NAME are")


def check_prefetch(told: Directive) -> None:
    """`prefetch AMOUNT [[DURATION] [PERCENTAGE%]]`."""
    count(1, 3)(told)
    number(told, told.words[0])
    if len(told.words) > 1:
        duration(told, told.words[1])
    if len(told.words) > 2 and not (
        told.words[2].endswith("%") and 10 <= number(told, told.words[2][:-1]) <= 90
    ):
        raise wrong(told, f"{told.words[2]} is no percentage from 10% to 90%")


def check_consolidate(told: Directive) -> None:
    """`consolidate DURATION REGEXP [LEVEL] [show_first]`."""
    count(2, 4)(told)
    duration(told, told.words[0])
    checked(told, expression, told.words[1])
    rest = [*told.words[2:]]
    if rest and rest[0] in ("warning", "error", "info", "debug"):
        rest.pop(0)
    if rest not in ([], ["show_first"]):
        raise wrong(told, f"{' '.join(rest)} is neither one level nor show_first")


def port_of(told: Directive, default: int) -> int:
    """The port of a page, of the one word `[HOST]:PORT`."""
    count(0, 1)(told)
    if not told.words:
        return default
    host, colon, port = told.words[0].rpartition(":")
    named = host in ("", "localhost") or is_address(host.strip("[]"))
    if not (colon and named and is_port(port)):
        raise wrong(told, f"{told.words[0]} is no address with a port")
    return int(port)


def within(told: Directive, rules: Mapping[str, ArgumentRule]) -> None:
    """Checks what stands in a plug-in's braces."""
    for option in told.inside:
        rule = rules.get(option.name)
        if rule is None:
            known = f"; {', '.join(rules)} are" if rules else ""
            raise CorefileError(option.line, f"{told.name}: unknown property {option.name!r}{known}")
        rule(option)


FORWARD: Mapping[str, ArgumentRule] = {
    "except": some,
    "max_fails": a_count,
    "max_connect_attempts": a_count,
    "health_check": check_forward_health,
    "force_tcp": none,
    "prefer_udp": none,
    "tls": count(0, 3),
    "tls_servername": one,
    "expire": time,
    "max_age": time,
    "max_idle_conns": a_count,
    "read_timeout": time_above_zero,
    "doh_method": among("POST", "GET"),
    "policy": among("random", "round_robin", "sequential"),
    "max_concurrent": a_count,
    "next": response_codes(),
    "next_on_nodata": none,
    "failfast_all_unhealthy_upstreams": none,
    "failover": response_codes("NOERROR"),
    "resolver": addresses(1, ports=True),
    "source_address": addresses(1, 1),
}
FILE: Mapping[str, ArgumentRule] = {
    "fallthrough": any_number,
    "reload": time,
    "reload_by_mtime": any_number,
    "upstream": any_number,
}
CACHE: Mapping[str, ArgumentRule] = {
    "success": count(1, 3),
    "denial": count(1, 3),
    "prefetch": check_prefetch,
    "serve_stale": count(0, 5),
    "serve_stale_policy": one,
    "servfail": time,
    "disable": some,
    "keepttl": none,
}
KUBERNETES: Mapping[str, ArgumentRule] = {
    "endpoint_pod_names": none,
    "pods": among("disabled", "insecure", "verified"),
    "namespaces": some,
    "endpoint": some,
    "tls": count(3, 3),
    "labels": some,
    "namespace_labels": some,
    "fallthrough": any_number,
    "ttl": between(0, 3600),
    "noendpoints": none,
    "zonal": none,
    "ignore": check_ignore,
    "kubeconfig": count(1, 2),
    "multicluster": any_number,
    "startup_timeout": first_time,
    "apiserver_qps": rate,
    "apiserver_burst": a_count,
    "apiserver_max_inflight": a_count,
    # Of old, and ignored by CoreDNS since 1.7.
    "upstream": any_number,
    "resyncperiod": any_number,
    "transfer": any_number,
}
TEMPLATE: Mapping[str, ArgumentRule] = {
    "match": some,
    "answer": some,
    "additional": some,
    "authority": some,
    "rcode": one,
    "ederror": check_extended_error,
    "fallthrough": any_number,
    "upstream": any_number,
    "var": count(2),
    "expr": some,
}
ERRORS: Mapping[str, ArgumentRule] = {"stacktrace": none, "consolidate": check_consolidate}
HEALTH: Mapping[str, ArgumentRule] = {"lameduck": time}
READY: Mapping[str, ArgumentRule] = {"monitor": among("until-ready", "continuously")}
PROMETHEUS: Mapping[str, ArgumentRule] = {"runtime_metrics": none}
LOADBALANCE: Mapping[str, ArgumentRule] = {"prefer": some, "reload": time}
LOCAL: Mapping[str, ArgumentRule] = {"localhost_prefix": among("on", "off")}
BIND: Mapping[str, ArgumentRule] = {"except": some}
LOG: Mapping[str, ArgumentRule] = {"class": some}

ONCE = frozenset({"cache", "errors", "hosts", "kubernetes", "loop", "prometheus", "ready"})
"""Plug-ins that a server block has once at most."""

_NAMES = """
root metadata geoip cancel proxyproto quic grpc_server https https3 timeouts multisocket reload nsid bufsize bind debug
trace ready health pprof shed prometheus errors log dnstap local dns64 any chaos loadbalance tsig rewrite autopath acl
cache header dnssec tls minimal template transfer hosts route53 azure clouddns k8s_external kubernetes file auto
secondary etcd loop forward grpc erratic whoami on sign view nomad
"""
DIRECTIVES = frozenset(_NAMES.split())
"""What the stock CoreDNS knows (core/dnsserver/zdirectives.go)."""
