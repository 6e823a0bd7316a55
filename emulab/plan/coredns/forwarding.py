"""`forward` of a Corefile. Pure."""

from __future__ import annotations

import re

from emulab.model.addresses import is_address, parse_address, socket_name
from emulab.plan.coredns import arguments
from emulab.plan.coredns.arguments import within, wrong
from emulab.plan.coredns.drafting import BlockDraft, duration, sayable, unfollowed, zones_of
from emulab.plan.coredns.imports import FOLDER, path_of
from emulab.plan.coredns.lines import CorefileError, is_port
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import ForwardConfig

_LIVES = {"expire": 10.0, "max_age": 0.0}
"""How long connections live, in seconds, where nothing is said."""
_UNFOLLOWED = frozenset(
    {
        *("tls", "tls_servername", "doh_method", "next", "next_on_nodata", "failover", "resolver"),
        *("source_address", "failfast_all_unhealthy_upstreams", "max_connect_attempts", "read_timeout"),
    }
)
"""Other options are about connections and checks of servers: here one that didn't answer is asked last for a while."""
_MOST_SERVERS = 15
_RESOLV_CONF = "/etc/resolv.conf"
_TRANSPORT = re.compile(r"(dns|tls|https3|https|quic|grpc|unix)://")
_FORWARDED = ("dns", "tls", "https")


def forward(draft: BlockDraft, told: Directive) -> None:
    if len(told.words) < 2:
        raise CorefileError(told.line, "forward: a domain and a server are needed")
    origin, *servers = told.words
    within(told, arguments.FORWARD)
    addresses = [address for text in servers for address in _servers(draft, told, text)]
    if not addresses and all(_file(draft, text) is not None for text in servers):
        raise wrong(told, f"no nameservers found in {' '.join(servers)}")
    if len(servers) > _MOST_SERVERS:
        raise wrong(told, f"more than {_MOST_SERVERS} servers: {len(servers)}")
    apart: tuple[str, ...] = ()
    policy, stream = "random", False
    times = {
        option.name: duration(option, option.words[0]) for option in told.inside if option.name in _LIVES
    }
    if 0 < times.get("max_age", 0) < times.get("expire", _LIVES["expire"]):
        raise wrong(told, "max_age must not be less than expire")
    for option in told.inside:
        if option.name == "except":
            apart += zones_of(option, option.words)
        elif option.name == "policy":
            policy = option.words[0]
        elif option.name == "force_tcp":
            stream = True
        elif option.name == "tls_servername" and any(_server_name(text) for text in servers):
            raise wrong(option, "the servers of forward have TLS servernames of their own")
        elif option.name in _UNFOLLOWED:
            unfollowed(draft, "forward", option)
    base, *others = zones_of(told, [origin])
    if others:
        draft.warn(told.line, f"forward: {origin} is several zones, of which {base} alone is forwarded")
    made = ForwardConfig(base, tuple(addresses), apart, policy != "sequential", stream)
    draft.block["forward"] = (*draft.block.get("forward", ()), made)


def _servers(draft: BlockDraft, told: Directive, text: str) -> list[str]:
    """The servers that a word names (plugin/pkg/parse/host.go, plugin/forward/resolve.go)."""
    transport = _TRANSPORT.match(text)
    means = transport[1] if transport else "dns"
    address = text[transport.end() :] if transport else text
    if means not in _FORWARDED:
        raise wrong(told, f"{means!r} is not supported as a destination protocol: {text}")
    if means == "https" and "/" in address:
        raise wrong(told, f"paths are not allowed in HTTPS upstream addresses: {text}")
    host, port = _parted(address)
    if is_address(host):
        if means == "dns" and port:
            return [socket_name(parse_address(host), int(port))]
    elif (named := _from_file(draft, told, address)) is not None:
        return named
    elif not _is_host(host):
        raise wrong(told, f"{text} is neither an IP address nor a file, nor can a host have that name")
    why = "plain DNS to an address alone is followed" if port else "there is no such port"
    draft.warn(told.line, f"forward: {text} is not asked: {why}")
    return []


def _server_name(text: str) -> bool:
    """Whether a server over TLS says which name its certificate is for."""
    return text.startswith("tls://") and "%" in text


def _parted(address: str) -> tuple[str, str]:
    """Host and port; no port where that is none."""
    plain, _, server_name = address.rpartition("%")
    if plain:  # what follows is the name that a certificate is for, and maybe the port
        closing, colon, port = server_name.rpartition(":")
        return plain.strip("[]"), _port(port) if colon and closing else "53"
    if is_address(address.strip("[]")):
        return address.strip("[]"), "53"
    host, colon, port = address.rpartition(":")
    return (host.strip("[]"), _port(port)) if colon else (address, "53")


def _port(text: str) -> str:
    return text if is_port(text) else ""


def _is_host(name: str) -> bool:
    """Whether a host may have a name, which no top-level domain of digits is (RFC 3696 section 2)."""
    last = name.rstrip(".").rpartition(".")[2]
    return sayable(f"{name.rstrip('.')}.") and not last.isdigit() and "/" not in name


def _from_file(draft: BlockDraft, told: Directive, path: str) -> list[str] | None:
    """The name servers of a file; None for what is none."""
    text = _file(draft, path)
    if text is not None:
        return [socket_name(parse_address(one), 53) for one in _name_servers(text)]
    if path.startswith(FOLDER) or not path.startswith("/"):
        return None
    if path != _RESOLV_CONF:
        draft.warn(told.line, f"forward: {path} isn't read: the servers of {_RESOLV_CONF} are asked for it")
    return [draft.default]


def _file(draft: BlockDraft, path: str) -> str | None:
    """What a file of the ConfigMap has; None for what is none."""
    return draft.files.get(path_of(path)) if path.startswith((FOLDER, "custom/")) or "/" not in path else None


def _name_servers(text: str) -> list[str]:
    """Those of a resolv.conf (resolv.conf(5)), whose zones CoreDNS takes away (`tryFile`)."""
    lines = (line.split() for line in text.splitlines())
    named = (words[1].partition("%")[0] for words in lines if words[:1] == ["nameserver"] and words[1:])
    return [name for name in named if is_address(name)]
