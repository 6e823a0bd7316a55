"""unbound.conf(5) and zone files, from what our own name server would be told. Pure.

Public zones are its auth-zones. Zones that some clients alone see are local data of a view, which knows no wildcards
and follows no alias: so an alias of such a zone has the records that it leads to, as far as they are in the zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from emulab.servers.base import parse_socket_key
from emulab.servers.dns.config import DnsConfig, ZoneRecord
from emulab.servers.dns.upstreams import parse_server_address
from emulab.servers.engines.names.zonefiles import GENERATION, PlainZone, plain_zones, presented, zone_file

FOLDER = "/etc/unbound"
CONF = f"{FOLDER}/unbound.conf"
CONTROL_PORT = 8953

_BLOCKED = ("test.", "onion.", "invalid.", "home.arpa.", "localhost.", "127.in-addr.arpa.")
"""Zones that unbound answers of its own accord; those of private addresses go by one option."""
_SERVER = """\
server:
  directory: "{folder}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  do-daemonize: no
  num-threads: 1
  access-control: 0.0.0.0/0 allow
  access-control: ::0/0 allow
  module-config: "iterator"
  do-not-query-localhost: no
  unblock-lan-zones: yes
  qname-minimisation: no
  edns-buffer-size: 1232
  max-udp-size: 1232
  rrset-roundrobin: yes
  hide-identity: yes
"""
_CONTROL = """\
remote-control:
  control-enable: yes
  control-interface: 127.0.0.1
  control-port: {port}
  control-use-cert: no
"""


def unbound_files(config: DnsConfig, generation: int) -> Mapping[str, str]:
    """All files by their paths, the configuration first."""
    zones = plain_zones(config)
    public = [zone for zone in zones if zone.clients is None]
    private = [zone for zone in zones if zone.clients is not None]
    paths = {zone.origin: f"{FOLDER}/zone-{zone.origin.strip('.') or 'root'}" for zone in public}
    lines = [_SERVER.format(folder=FOLDER), *_options(config, public, generation)]
    lines += _access(private)
    for zone in public:
        lines += ["auth-zone:", f'  name: "{zone.origin}"', f'  zonefile: "{paths[zone.origin]}"']
        lines += ["  for-downstream: yes", "  for-upstream: yes"]
    if private:
        lines += ["view:", '  name: "own"', "  view-first: yes"]
        for zone in private:
            lines += [f'  local-zone: "{zone.origin}" static', *_local_data(zone)]
    if config.forward:
        lines += ["forward-zone:", '  name: "."', *map(_upstream, config.forward)]
    conf = "\n".join([*lines, _CONTROL.format(port=CONTROL_PORT)])
    return {CONF: conf, **{paths[zone.origin]: zone_file(zone, config.soa) for zone in public}}


def _options(config: DnsConfig, public: Iterable[PlainZone], generation: int) -> Iterator[str]:
    for address, port in sorted({parse_socket_key(key)[1:] for key in config.listen}):
        yield f"  interface: {address}@{port}"
    cache = config.cache
    yield f"  cache-max-ttl: {cache.max_ttl}"
    yield f"  cache-min-ttl: {cache.min_ttl}"
    yield f"  cache-max-negative-ttl: {cache.negative_ttl}"
    if cache.stale:
        yield "  serve-expired: yes"
        yield f"  serve-expired-ttl: {cache.stale}"
        yield f"  serve-expired-reply-ttl: {cache.stale_ttl}"
        yield f"  serve-expired-client-timeout: {0 if cache.stale_first else 1800}"
    if config.upstream.mixed_case:
        yield "  use-caps-for-id: yes"
    for origin in _BLOCKED:
        yield f'  local-zone: "{origin}" nodefault'
    yield f'  local-zone: "{GENERATION}" static'
    yield f"  local-data: '{GENERATION} 0 IN TXT \"{generation}\"'"


def _access(private: Iterable[PlainZone]) -> Iterator[str]:
    """Who has the view: everybody who sees one of the zones."""
    for network in sorted({network for zone in private for network in zone.clients or ()}):
        yield f"  access-control-view: {network} own"


def _local_data(zone: PlainZone) -> Iterator[str]:
    for record in zone.records:
        if record.type == "CNAME":
            found = list(_led(zone, record))
            for other in found or [record]:
                yield _line(other._replace(name=record.name, ttl=min(record.ttl, other.ttl)))
        elif not record.name.startswith("*."):
            yield _line(record)


def _led(zone: PlainZone, alias: ZoneRecord, hops: int = 8) -> Iterator[ZoneRecord]:
    """The records of the zone that an alias leads to."""
    target = alias.data if alias.data.endswith(".") else f"{alias.data}."
    for record in zone.records:
        if record.name.lower() == target.lower():
            if record.type != "CNAME":
                yield record
            elif hops:
                yield from _led(zone, record, hops - 1)


def _line(record: ZoneRecord) -> str:
    return f"  local-data: '{record.name} {record.ttl} IN {record.type} {presented(record)}'"


def _upstream(text: str) -> str:
    address, port = parse_server_address(text)
    return f"  forward-addr: {address}@{port}"
