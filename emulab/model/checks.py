"""Checks of values, and what builds bigger checks out of them: the words in which `schema` is written.

A check takes a value and returns what is wrong with it, each with the path from that value; nothing wrong is
an empty sequence. Paths are put together only where something is wrong, so a sound manifest pays for none.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emulab.model.paths import FieldPath
from emulab.model.suggestions import suggest

Problems = Sequence[tuple[FieldPath, str]]
Check = Callable[[Any], Problems]


class Unknown(str):
    """What is said of a field that there isn't: what may have been meant instead, or "".

    `kubectl --validate` tells such a field from all else that is wrong.
    """


Rule = Callable[[dict[str, Any]], Problems]
"""A check of how the fields of a mapping go together; run only once each of them is sound by itself."""


def show(value: Any) -> str:
    """A value as a message quotes it: short, on one line, strings in quotes."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=not str(value).isprintable())
    return text if len(text) <= 60 else text[:59] + "…"


def wrong(message: str, *path: str | int) -> Problems:
    return [(path, message)]


def at(step: str | int, problems: Problems) -> Problems:
    """The same problems, seen from one level further out."""
    return [((step, *path), message) for path, message in problems]


# Containers


def mapping(
    fields: Mapping[str, Check],
    required: Sequence[str] = (),
    rules: Sequence[Rule] = (),
    closed: bool = False,
) -> Check:
    """A mapping whose known `fields` pass their checks. Others are accepted, unless it is `closed`.

    There is no message of what isn't known there but `Unknown`: the words are `emulab.kinds.schema`'s.
    """

    def check(value: Any) -> Problems:
        if type(value) is not dict:
            return wrong(f"{show(value)} is not a mapping")
        found: list[tuple[FieldPath, str]] = []
        for name, item in value.items():
            field = fields.get(name)
            if field is not None:
                problems = field(item)
                if problems:
                    found += at(name, problems)
            elif closed:
                found += wrong(Unknown(suggest(name, fields)), name)
        for name in required:
            if name not in value:
                found += wrong("is required", name)
        if not found:
            for rule in rules:
                found += rule(value)
        return found

    return check


def sequence(item: Check, rules: Sequence[Callable[[list[Any]], Problems]] = (), least: int = 0) -> Check:
    """A list of at least `least` items, each of which passes `item`."""

    def check(value: Any) -> Problems:
        if type(value) is not list:
            return wrong(f"{show(value)} is not a list")
        if len(value) < least:
            return wrong("must not be empty" if least == 1 else f"must have at least {least} items")
        found: list[tuple[FieldPath, str]] = []
        for index, element in enumerate(value):
            problems = item(element)
            if problems:
                found += at(index, problems)
        if not found:
            for rule in rules:
                found += rule(value)
        return found

    return check


def string_map(key: Check | None = None, item: Check | None = None) -> Check:
    """A mapping of strings to strings, such as labels. A number or bool must be quoted, as for kubectl."""

    def check(value: Any) -> Problems:
        if type(value) is not dict:
            return wrong(f"{show(value)} is not a mapping")
        found: list[tuple[FieldPath, str]] = []
        for name, text in value.items():
            problems = string(text) or (item(text) if item else ())
            if key:
                problems = [*problems, *key(name)]
            if problems:
                found += at(name, problems)
        return found

    return check


def unique(*names: str, defaults: Mapping[str, Any] | None = None) -> Callable[[list[Any]], Problems]:
    """A rule of a list of mappings: no two may have the same values of `names`.

    One that does not give them, or gives "" or 0, which Kubernetes reads as not given, is skipped unless
    `defaults` says what it means then.
    """
    fallback = defaults or {}

    def rule(items: list[Any]) -> Problems:
        first: dict[tuple[Any, ...], int] = {}
        found: list[tuple[FieldPath, str]] = []
        for index, element in enumerate(items):
            values = tuple(element.get(name) or fallback.get(name) for name in names)
            if None in values:
                continue
            if values in first:
                shown = " ".join(show(value) if len(names) == 1 else str(value) for value in values)
                same = f"{shown} is already the {' and '.join(names)} of item {first[values]}"
                found += wrong(same, index, names[0])
            first.setdefault(values, index)
        return found

    return rule


def distinct(values: list[Any]) -> Problems:
    """A rule of a list of values, which is a set (`+listType=set` in Kubernetes)."""
    first: dict[Any, int] = {}
    twice = [index for index, value in enumerate(values) if first.setdefault(value, index) != index]
    return [problem for index in twice for problem in wrong(f"{show(values[index])} is given twice", index)]


def exactly_one(*names: str) -> Rule:
    """A rule: one of these fields is given, and only one."""

    def rule(value: dict[str, Any]) -> Problems:
        given = [name for name in names if name in value]
        if len(given) == 1:
            return ()
        said = f"not {' and '.join(given)} together" if given else "it has none"
        return wrong(f"needs exactly one of {', '.join(names)}; {said}")

    return rule


def either(first: type, first_check: Check, otherwise: Check) -> Check:
    """`first_check` for values of the type `first`, else `otherwise`: for int-or-string fields."""
    return lambda value: first_check(value) if type(value) is first else otherwise(value)


def maybe_empty(check: Check) -> Check:
    """`check`, but "" passes: Kubernetes reads an empty string as not given."""
    return lambda value: () if value == "" else check(value)


# Scalars


def string(value: Any) -> Problems:
    if type(value) is str:
        return ()
    if isinstance(value, bool | int | float):
        return wrong(f"{show(value)} is not a string; put it in quotes")
    return wrong(f"{show(value)} is not a string")


def boolean(value: Any) -> Problems:
    return () if type(value) is bool else wrong(f"{show(value)} is not true or false{_unquote(value)}")


LARGEST = (1 << 31) - 1
"""What a number may be that has no other limit: most of the API's are an int32."""


def whole_number(bits: int) -> Check:
    """A whole number that has room in so many bits beside its sign."""
    most = (1 << bits) - 1

    def check(value: Any) -> Problems:
        if type(value) is int and -most <= value + (value < 0) <= most:
            return ()
        if type(value) is int:
            return wrong(f"{show(value)} is too {'large' if value > 0 else 'small'} for {bits + 1} bits")
        return wrong(f"{show(value)} is not a whole number{_unquote(value)}")

    return check


def integer(least: int, most: int | None = None, what: str = "") -> Check:
    """A whole number from `least` to `most`. `what` names it, with its article: "a port"."""
    span = f"{least} or more" if most is None else f"{least}-{most}"
    kind = f"{what} ({span})" if what else f"a number ({span})" if most is not None else f"a number of {span}"

    def check(value: Any) -> Problems:
        if type(value) is int and least <= value <= (LARGEST if most is None else most):
            return ()
        if type(value) is int and most is None and value > LARGEST:
            return wrong(f"{show(value)} is too large: {LARGEST} at most")
        return wrong(f"{show(value)} is not {kind}{_unquote(value)}")

    return check


def one_of(*values: str) -> Check:
    allowed = frozenset(values)

    def check(value: Any) -> Problems:
        if type(value) is str and value in allowed:
            return ()
        return wrong(f"{show(value)} is not one of {', '.join(values)}")

    return check


def pattern(regex: str, what: str, longest: int = 1 << 20) -> Check:
    """A string that matches `regex` whole and is no longer than `longest` characters."""
    matches: Callable[[str], Any] | None = None  # compiled when it is first asked for: most never are

    def check(value: Any) -> Problems:
        nonlocal matches
        if type(value) is not str:
            return string(value)
        if matches is None:
            matches = re.compile(regex, re.ASCII).fullmatch
        return () if len(value) <= longest and matches(value) else wrong(f"{show(value)} is not {what}")

    return check


is_ipv4: Callable[[str], Any] = re.compile(
    r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}"
).fullmatch
"""What `ip_address` takes for IPv4, five times as fast: endpoints have tens of thousands of addresses."""


def ip(value: Any) -> Problems:
    if type(value) is str and is_ipv4(value):
        return ()
    try:
        if type(value) is str and "%" not in value:
            from ipaddress import ip_address  # here: who lists objects loads their schemas, and checks none

            ip_address(value)
            return ()
    except ValueError:
        pass
    return wrong(f"{show(value)} is not an IP address")


def cidr(value: Any) -> Problems:
    try:
        if type(value) is str and "/" in value and "%" not in value:
            from ipaddress import ip_network

            ip_network(value.strip(), strict=False)
            return ()
    except ValueError:
        pass
    return wrong(f"{show(value)} is not a CIDR such as 10.0.0.0/24")


def base64(value: Any) -> Problems:
    if type(value) is not str:
        return string(value)
    try:
        b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except (Base64Error, ValueError):
        return wrong("is not base64")
    return ()


def anything(_value: Any) -> Problems:
    return ()


# Names, as k8s.io/apimachinery/pkg/util/validation has them

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
dns_label = pattern(_LABEL, "a DNS label (a-z, 0-9 and inside '-', at most 63)", 63)
dns_1035_label = pattern(
    r"[a-z]([-a-z0-9]*[a-z0-9])?",
    "a DNS label that starts with a letter (a-z, 0-9 and inside '-', at most 63)",
    63,
)
dns_subdomain = pattern(
    rf"{_LABEL}(\.{_LABEL})*",
    "a DNS name (a-z, 0-9 and inside '-' and '.', at most 253)",
    253,
)


def fits_dns(name: str) -> bool:
    """Whether the DNS can hold a name, its last dot included or not (RFC 1035 section 2.3.4).

    What Kubernetes takes for a subdomain may have labels of more than 63 letters.
    """
    return len(name) <= 63 or (
        len(name.rstrip(".")) <= 253 and all(len(label) <= 63 for label in name.split("."))
    )


def dns_zone(value: Any) -> Problems:
    """The name of a zone: a subdomain that the DNS can hold."""
    problems = dns_subdomain(value)
    return (
        problems
        if problems or fits_dns(value)
        else wrong(f"{show(value)} has a label of more than 63 letters")
    )


port_name = pattern(
    r"(?=[^a-z]*[a-z])[a-z0-9](-?[a-z0-9])*",
    "a port name (a-z, 0-9 and single '-' inside, with a letter, at most 15)",
    15,
)
label_value = pattern(
    r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?",
    "a label value (A-Z, a-z, 0-9 and inside '-', '_' and '.', at most 63)",
    63,
)
_qualified = pattern(
    rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?",
    "a name such as app or example.com/app (A-Z, a-z, 0-9 and inside '-', '_' and '.', at most 63)",
    317,
)
label_key = _qualified
_KEY = "a key (A-Z, a-z, 0-9, '-', '_' and '.', at most 253, neither '.' nor with '..' first)"
config_key = pattern(
    r"(?!\.\.|\.\Z)[-._a-zA-Z0-9]+", _KEY, 253
)  # as it is a file's name, too (`IsConfigMapKey`)

port = integer(1, 65535, "a port")
count = integer(0)


def annotation_key(value: Any) -> Problems:
    """As a label's key, but its case does not matter."""
    return _qualified(value.lower()) and _qualified(value)


label_map = string_map(label_key, label_value)
annotation_map = string_map(annotation_key)


def _unquote(value: Any) -> str:
    """A hint for a number or bool that was put in quotes."""
    if type(value) is str and re.fullmatch(r"-?[0-9]+|true|false", value):
        return "; write it without quotes"
    return ""
