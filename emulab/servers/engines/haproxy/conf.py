"""haproxy.cfg, and the files beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files as resources

from emulab.dataclass import dataclass
from emulab.servers.engines.backendfiles import backend_files
from emulab.servers.engines.haproxy import verifying
from emulab.servers.engines.haproxy.backends import default_backend, route_backends
from emulab.servers.engines.haproxy.filters import access
from emulab.servers.engines.haproxy.frontend import frontend
from emulab.servers.engines.haproxy.logged import FORMAT
from emulab.servers.engines.haproxy.maps import RouteMaps, route_maps
from emulab.servers.engines.haproxy.pages import STATUSES, page_file, pages_of, whole
from emulab.servers.engines.haproxy.places import CERTIFICATES, CFG, MAPS, PLACES, PROGRAM, UNREACHABLE
from emulab.servers.engines.haproxy.text import CfgLines, milliseconds
from emulab.servers.engines.shared import KnownName, bounded, certificate_names
from emulab.servers.l7.config import ANY_HOST, L7Config
from emulab.servers.l7.dated import dated


@dataclass(frozen=True, slots=True)
class HaproxyPlace:
    """What isn't in the configuration: the descriptors of the sockets that are handed over, a number that tells which
    configuration is in use, and what is known of names of servers."""

    descriptors: Mapping[str, int]  # by the key in `listen`
    generation: int
    names: Mapping[str, KnownName]
    threads: int = 1


def haproxy_files(config: L7Config, place: HaproxyPlace, fake: str) -> Mapping[str, str]:
    """The texts of all files by their paths, haproxy.cfg first. `fake`: certificate and key of hosts without one."""
    maps = route_maps(config.routes)
    cfg = haproxy_cfg(config, place, maps)
    files = {
        CFG: cfg,
        f"{MAPS}/hosts.map": maps.hosts,
        f"{MAPS}/exact.map": maps.exact,
        f"{MAPS}/prefixes.map": maps.prefixes,
        PROGRAM: _program(),
        **pages_of(cfg),
        UNREACHABLE: whole(502),
        **access.files(config),
    }
    files |= {f"{CERTIFICATES}/{name}": text for name, text in backend_files(config.routes).items()}
    if config.tls_listen:
        files |= {**_certificates(config, fake), **verifying.files(config.verifications)}
    return files


@lru_cache(maxsize=1)
def _program() -> str:
    """What is done in Lua."""
    return (resources("emulab.servers.engines.haproxy") / "ingress.lua").read_text()


def _certificates(config: L7Config, fake: str) -> Mapping[str, str]:
    """The certificates, and which host has which: HAProxy shows the first one to who names no host that it knows."""
    files, lines, seen = {f"{CERTIFICATES}/fake.pem": fake}, CfgLines(), set[str]()
    certificates = dated(config.certificates)
    paths = [f"{CERTIFICATES}/{name}.pem" for name in certificate_names(certificates)]
    named = list(zip(paths, certificates, strict=True))
    of_any = (path for path, one in named if ANY_HOST in one.hosts and one.certificate)
    default = next(of_any, f"{CERTIFICATES}/fake.pem")
    for path, one in named:
        if one.certificate:
            files[path] = one.certificate.rstrip() + "\n" + one.key
        hosts = [host for host in map(str.lower, one.hosts) if host not in seen and host != ANY_HOST]
        seen.update(hosts)
        lines += [_listed(path if one.certificate else default, host, config) for host in hosts]
    asked = {host.lower() for one in config.verifications for host in one.hosts}
    lines += [_listed(default, host, config) for host in sorted(asked - seen) if host and host[0] != "~"]
    files[f"{CERTIFICATES}/list.txt"] = "\n".join([f"{default} !*", *lines]) + "\n"
    return files


def _listed(path: str, host: str, config: L7Config) -> str:
    return f"{path}{verifying.listed(verifying.verification_of(host, config.verifications))} {host}"


def haproxy_cfg(config: L7Config, place: HaproxyPlace, maps: RouteMaps) -> str:
    """The text of haproxy.cfg."""
    sections: list[CfgLines] = [
        [f"# Configuration {place.generation}, of the Ingresses of the lab"],
        [
            "global",
            f"log {PLACES.log} len 16384 format raw local0",
            "expose-experimental-directives",  # normalize-uri
            f"lua-load {PROGRAM}",
            f"nbthread {place.threads}",
            "tune.bufsize 32768",
            "tune.maxrewrite 8192",
            "tune.http.maxhdr 4096",  # how many fields: as many as there is room for, as in nginx
            f"tune.h2.max-concurrent-streams {bounded(config.options.http2_streams, (1 << 31) - 1)}",
            "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
            "httpclient.ssl.verify none",
            *(["httpclient.resolvers.id cluster"] if "nameserver " in config.resolv_conf else []),
        ],
        _defaults(config),
        *_resolvers(config.resolv_conf),
        *access.user_lists(config),
        *access.zones(config),
        frontend(config, place.descriptors, maps),
        *[
            section
            for number, route in enumerate(config.routes)
            for section in route_backends(number, route, config, place.names)
        ],
        default_backend(config, place.names),
        [
            "frontend generation",
            f"bind unix@{PLACES.status}",
            "no log",
            f"http-request return status 200 content-type text/plain string {place.generation}",
        ],
    ]
    return (
        "\n\n".join("\n".join([head, *(f"    {line}" for line in lines)]) for head, *lines in sections) + "\n"
    )


def _defaults(config: L7Config) -> CfgLines:
    options = config.options
    return [
        "defaults",
        "mode http",
        "log global",
        f"log-format {FORMAT}",
        "option http-keep-alive",
        "option dontlognull",
        "http-reuse always",
        f"timeout client {milliseconds(config.policy.body_timeout)}",
        f"timeout http-request {milliseconds(options.header_timeout)}",
        f"timeout http-keep-alive {milliseconds(options.keepalive_timeout)}",
        "timeout connect 5s",
        "timeout server 60s",
        "timeout tunnel 1h",
        *(
            f"http-error status {status} content-type text/html file {page_file(status)}"
            for status in STATUSES
        ),
    ]


def _resolvers(resolv_conf: str) -> list[CfgLines]:
    servers = [line.split()[1] for line in resolv_conf.splitlines() if line.startswith("nameserver ")]
    if not servers:
        return []
    named = [f"nameserver dns{n} {one}:53" for n, one in enumerate(servers)]
    return [
        [
            "resolvers cluster",
            *named,
            "hold valid 1s",
            "hold obsolete 0s",
            "resolve_retries 3",
            "timeout retry 1s",
        ]
    ]
