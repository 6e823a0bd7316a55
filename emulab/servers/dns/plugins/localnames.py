"""Names of the machine itself, for which nobody else is asked (plugin/local of CoreDNS, RFC 6303). Pure."""

from __future__ import annotations

from emulab.servers.dns import names, rdata
from emulab.servers.dns.names import Name, lower, suffixes
from emulab.servers.dns.plugins.made import Made
from emulab.servers.dns.wire import NXDOMAIN, ResourceRecord

_TTL = 604800
_ADDRESSES = {rdata.A: "127.0.0.1", rdata.AAAA: "::1"}


def _name(text: str) -> Name:
    return lower(names.from_text(text))


_LOCALHOST = _name("localhost.")
_POINTER = _name("1.0.0.127.in-addr.arpa.")
_ZONES = frozenset({_LOCALHOST, *map(_name, ("0.in-addr.arpa.", "127.in-addr.arpa.", "255.in-addr.arpa."))})


class LocalNames:
    """What there is of them; `prefixed`: names that begin with localhost are its own, too."""

    def __init__(self, prefixed: bool) -> None:
        self._prefixed = prefixed

    def __call__(self, name: Name, rtype: int) -> Made | None:
        """The answer for a lower-case name; None to ask elsewhere."""
        below = len(name) > 1 and name[-1:] == _LOCALHOST
        if below or (self._prefixed and len(name) > 1 and name[:1] == _LOCALHOST):
            return _made(name, rtype, _ADDRESSES) or _denied(name)
        zone = next((suffix for suffix in suffixes(name) if suffix in _ZONES), None)
        if zone is None:
            return None
        if name == zone:
            said = {rdata.SOA: _soa(), rdata.NS: "localhost."}
            return _made(name, rtype, said | (_ADDRESSES if name == _LOCALHOST else {})) or _denied(name)
        if name == _POINTER:
            return _made(name, rtype, {rdata.PTR: "localhost."}) or _denied(zone)
        return _denied(zone)._replace(rcode=NXDOMAIN)


def _soa() -> str:
    return f"localhost. root.localhost. 1 0 0 0 {_TTL}"


def _record(name: Name, rtype: int, text: str) -> ResourceRecord:
    return ResourceRecord(name, rtype, _TTL, rdata.from_text(rtype, text))


def _made(name: Name, rtype: int, said: dict[int, str]) -> Made | None:
    return Made(answer=(_record(name, rtype, said[rtype]),)) if rtype in said else None


def _denied(zone: Name) -> Made:
    return Made(authority=(_record(zone, rdata.SOA, _soa()),))
