"""Filters that change answers, in haproxy.cfg. Pure."""

from __future__ import annotations

import re

from emulab.servers.engines.haproxy.filters.answers import UNREPLACED, WITH_HOST
from emulab.servers.engines.haproxy.text import CfgLines, in_format, looked_for, quoted
from emulab.servers.engines.haproxy.variables import spoken
from emulab.servers.l7.config import (
    AnswerFields,
    CookieDomain,
    CookiePath,
    Gzip,
    HiddenFields,
    LocationChange,
    Match,
    ResponseHeaderModifier,
    as_python,
)


def response_headers(one: ResponseHeaderModifier, _match: Match) -> CfgLines:
    return [
        *(f"http-response del-header {quoted(name)}" for name in one.remove),
        *(f"http-response set-header {quoted(f.name)} {in_format(f.value)}" for f in one.set),
        *(f"http-response add-header {quoted(f.name)} {in_format(f.value)}" for f in one.add),
    ]


def answer_fields(one: AnswerFields, _match: Match) -> CfgLines:
    lines, condition = CfgLines(), "" if one.spoken else f" if {UNREPLACED}"
    for field in one.set:
        if not field.value:
            lines.append(f"http-after-response del-header {quoted(field.name)}{condition}")
            continue
        setting, value = spoken(field.value) if one.spoken else ([], in_format(field.value))
        lines += [*setting, f"http-after-response set-header {quoted(field.name)} {value}{condition}"]
    return lines


def hidden_fields(one: HiddenFields, _match: Match) -> CfgLines:
    return [f"http-response del-header {quoted(name)}" for name in one.names]


def cookie_domain(one: CookieDomain, _match: Match) -> CfgLines:
    if one.old.startswith("~"):
        return _by_expression("domain", f"~*{one.old[1:]}", one.new)
    lines, new = spoken(one.new.removeprefix("."))
    old = re.escape(one.old.removeprefix("."))
    return [*lines, _replaced("Set-Cookie", rf"(?i)^(.*;\s*domain=\.?){old}(\s*(;.*)?)$", _between(new, 2))]


def cookie_path(one: CookiePath, _match: Match) -> CfgLines:
    if one.old.startswith("~"):
        return _by_expression("path", one.old, one.new)
    lines, new = spoken(one.new)
    return [
        *lines,
        _replaced("Set-Cookie", rf"^(.*;\s*(?i:path)=){re.escape(one.old)}(.*)$", _between(new, 2)),
    ]


def _between(parameter: str, last: int) -> str:
    """A parameter with the first and the last group around it."""
    inside = parameter[1:-1] if parameter.startswith('"') else parameter
    return f'"\\\\1{inside}\\\\{last}"'


def _by_expression(attribute: str, old: str, new: str) -> CfgLines:
    """All of the attribute's value in which the expression is found becomes another.

    The expression stands in the middle of one for the whole field, so its groups have other numbers, and its ends are
    the value's.
    """
    expression = old.lstrip("~*")
    shifted = re.sub(r"\$([1-8])", lambda match: f"${int(match[1]) + 1}", new)
    lines, target = spoken(shifted, groups=True)
    begins = expression.startswith("^")
    body = re.sub(r"(?<!\\)\$$", r"(?=\\s*(;|$))", expression.removeprefix("^"))
    flags = "(?i:" if old.startswith("~*") else "(?:"
    found = rf"(?={'' if begins else '[^;]*?'}{flags}{body}))"
    last = re.compile(as_python(f"({expression})".encode())).groups + ("$)" in body) + 1
    whole = rf"^(.*;\s*(?i:{attribute})=){found}[^;]*(.*)$"
    return [*lines, _replaced("Set-Cookie", whole, _between(target, last))]


def _replaced(field: str, expression: str, target: str) -> str:
    return f"http-response replace-header {field} {quoted(expression)} {target}"


def location_change(one: LocationChange, _match: Match) -> CfgLines:
    """A new place without a host gets the one that was asked."""
    absolute = WITH_HOST if one.new.startswith("/") and not one.relative else ""
    if one.old.startswith("~"):
        lines, new = spoken(one.new, groups=True)
        flags = "(?i)" if one.old.startswith("~*") else ""
        body = one.old.lstrip("~*")
        begin, end = "" if body.startswith("^") else ".*?", "" if body.endswith("$") else ".*"
        inside = new[1:-1] if new.startswith('"') else new
        return [*lines, _replaced("Location", f"{flags}{begin}{body}{end}", f'"{absolute}{inside}"')]
    lines, new = spoken(one.new)
    inside = new[1:-1] if new.startswith('"') else new
    old = re.escape(one.old)
    return [
        *lines,
        _replaced("Location", f"^{old}(.*)$", f'"{absolute}{inside}\\\\1"'),
        _replaced("Refresh", f"^(.*?(?i:url)=){old}(.*)$", _between(new, 2)),
    ]


def gzip(one: Gzip, _match: Match) -> CfgLines:
    """HAProxy has neither a level nor a least length, and says Vary of what it has compressed alone."""
    lines = ["compression algo gzip"]
    kinds = " ".join(dict.fromkeys(["text/html", *map(quoted, one.types)]))
    if "*" not in one.types:
        lines.append(f"compression type {kinds}")
    if one.disable:
        agent = looked_for(one.disable)
        lines.append(f"http-request del-header Accept-Encoding if {{ req.fhdr(user-agent) -m reg {agent} }}")
    kind = "-m found" if "*" in one.types else f"-m str -i -- {kinds}"
    conditions = [
        "{ status 200 403 404 }",
        f"{{ res.hdr(content-type),word(1,;) {kind} }}",
        "!{ res.hdr(content-encoding) -m found }",
        f"!{{ res.hdr_val(content-length) lt {one.min_length} }}",
        "!{ var(txn.compressed) -m bool }",
    ]
    return [
        *lines,
        "http-request set-var(txn.compressed) bool(true) if { req.fhdr(accept-encoding) -m sub -i gzip } "
        "!HTTP_1.0 !METH_HEAD",
        f"http-response add-header Vary Accept-Encoding if {' '.join(conditions)}",
    ]
