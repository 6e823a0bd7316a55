"""nginx's variables in texts, as HAProxy knows them. Pure.

Each becomes a variable of HAProxy's own, which is set before the request is changed, so that answers can name it, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from emulab.servers.engines.haproxy.text import CfgLines, quoted
from emulab.servers.l7.config import pieces

_SAMPLES: Mapping[str, str] = {
    "args": "query",
    "best_http_host": "var(txn.host)",
    "binary_remote_addr": "var(txn.client)",
    "content_length": "req.fhdr(content-length)",
    "content_type": "req.fhdr(content-type)",
    "document_uri": "var(txn.path)",
    "escaped_request_uri": "var(txn.target),url_enc",
    "host": "var(txn.asked),regsub(:[0-9]+$,),lower",
    "hostname": "var(txn.asked),regsub(:[0-9]+$,),lower",
    "http_host": "var(txn.asked)",
    "https": "ssl_fc,iif(on,)",
    "is_args": "query,length,bool,iif(?,)",
    "pass_access_scheme": "var(txn.scheme)",
    "pass_port": "var(txn.port)",
    "query_string": "query",
    "realip_remote_addr": "var(txn.client)",
    "remote_addr": "var(txn.client)",
    "req_id": "var(txn.id)",
    "request_id": "var(txn.id)",
    "request_method": "method",
    "request_uri": "var(txn.target)",
    "scheme": "ssl_fc,iif(https,http)",
    "server_name": "var(txn.asked),regsub(:[0-9]+$,),lower",
    "server_port": "dst_port",
    "the_real_ip": "var(txn.client)",
    "uri": "var(txn.path)",
    "http_x_forwarded_for": "capture.req.hdr(2)",
}
_FORMATS: Mapping[str, str] = {
    "request": "%[method] %[var(txn.target)] HTTP/%[req.ver]",
    "server_protocol": "HTTP/%[req.ver]",
}
"""Those that are put together."""

_FAMILIES: Mapping[str, str] = {"arg": "url_param({})", "cookie": "req.cook({})", "http": "req.fhdr({})"}


def spoken(text: str, groups: bool = False) -> tuple[CfgLines, str]:
    """A text that may name variables: what sets them, and the parameter; `groups`: whether an expression has any."""
    lines, parts = CfgLines(), []
    for before, name in pieces(text):
        parts.append(before.replace("%", "%%"))
        if name == "literal_dollar":
            parts.append("$")
        elif name.isdigit():
            parts.append(rf"\{name}" if groups else "")
        elif name:
            lines.append(set_variable(name))
            parts.append(f"%[var(txn.{_own(name)})]")
    return lines, quoted("".join(parts))


def noted(variable: str, text: str) -> CfgLines:
    """What sets a variable of HAProxy's to a text. HAProxy dies of an empty format: it is a dash."""
    lines, value = spoken(text)
    return [*lines, f"http-request set-var-fmt(txn.{variable}) {value if text else '-'}"]


def _own(name: str) -> str:
    return "nginx_" + re.sub(r"\W", "_", name.lower())


def set_variable(name: str) -> str:
    """What sets the variable of this name."""
    if how := _FORMATS.get(name):
        return f'http-request set-var-fmt(txn.{_own(name)}) "{how}"'
    sample = _SAMPLES.get(name)
    if sample is None:
        family, _, member = name.partition("_")
        sample = _FAMILIES[family].format(member.replace("_", "-") if family == "http" else member)
    return f"http-request set-var(txn.{_own(name)}) {sample}"
