"""How ingress-nginx reads the texts that decide who may in. Pure.

Each raises `ValueError`, which says what is wrong, for a text that says nothing; which characters may be in one are
those of internal/ingress/annotations/parser/validators.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from emulab.kinds.networking.nginxvalues import expression, in_range, short, signed, words

DURATION = r"[0-9]+(?:ms|s|m|h|d|w|M|y)"


def networks(text: str) -> tuple[str, ...]:
    """Networks and addresses between commas, IPv4 and IPv6."""
    found = []
    for one in text.split(","):
        word = one.strip()
        try:
            network = ip_network(word, strict=False) if "/" in word else ip_network(ip_address(word))
        except ValueError:
            raise ValueError(f"has {word!r}, which is no network and no address") from None
        found.append(str(network) if "/" in word else word)
    return tuple(dict.fromkeys(found))


def choice(*known: str) -> Callable[[str], str]:
    """One of some words."""

    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"is not one of {', '.join(known)}")
        return text

    return read


def of(characters: str, what: str) -> Callable[[str], str]:
    """A text of some characters, which are those of a regular expression's class."""
    pattern = re.compile(f"[{characters}]*")

    def read(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(f"has characters that {what} can't have")
        return text

    return read


_of_ciphers = of(r"A-Za-z0-9:!+@=\-_ ", "a list of ciphers")


@cache
def ciphers(text: str) -> str:
    """A list of ciphers that OpenSSL takes: nginx reads no configuration with another one."""
    import ssl  # of who gives such a list

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(short(_of_ciphers(text)) or "DEFAULT")
    except ssl.SSLError:
        raise ValueError("has no cipher before TLS 1.3 that OpenSSL knows") from None
    return text


_PLAIN = r"\-._~a-zA-Z0-9/:"

object_name = of(_PLAIN, "the name of an object")
realm = of(_PLAIN + " ", "a realm")
url_text = of(_PLAIN + ",?&=", "it")
cache_key = of(r"A-Za-z0-9\-_${}", "a key")
_url = of(_PLAIN + ", ?&=$", "a URL")
_path = r"((https?://)?[A-Za-z0-9\-.]+(:[0-9]+)?)?(/[A-Za-z0-9\-_.]+)*/?"


def url(text: str) -> str:
    """A URL, which may have variables of nginx in it."""
    try:
        parts = urlsplit(_url(text))
        host = parts.netloc
    except ValueError as error:
        raise ValueError(f"is no URL: it {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("is no URL: it begins with neither http:// nor https://")
    if not host or ".." in host:
        raise ValueError("is no URL: it names no host")
    return text


def place(text: str) -> str:
    """A URL, or a path of the host that was asked, which may have variables of nginx in it."""
    return _url(text) if text.startswith("/") else url(text)


def header_names(text: str) -> tuple[str, ...]:
    """Names of header fields."""
    found = words(text)
    for name in found:
        if re.fullmatch(r"[a-zA-Z0-9\-_]+", name) is None:
            raise ValueError(f"has {name!r}, which is no name of a header field")
    return found


def durations(text: str) -> tuple[str, ...]:
    """How long answers are kept, by their status: `200 202 10m, 401 5m`."""
    found = words(text)
    for one in found:
        if re.fullmatch(rf"(?:[0-9]{{3}} +)*{DURATION}(?: +{DURATION})*", one) is None:
            raise ValueError(f"has {one!r}, which is no duration, such as 200 202 401 5m")
    return found


def error_page(text: str) -> str:
    """A URL, or a path of the host."""
    if re.fullmatch(_path, text) is None:
        raise ValueError("is neither a URL nor a path")
    return short(text)


def common_name(text: str) -> str:
    """A regular expression for a certificate's subject, which begins with `CN=`."""
    if not text.startswith("CN="):
        raise ValueError("doesn't begin with CN=")
    return expression(text)


_MAPPED = 900
"""Octets of a text in a map, of whose table a row is."""


def patterns(text: str) -> tuple[str, ...]:
    """Texts, and regular expressions after `~` or `~*`, between commas, as values of nginx's `map`."""
    found = words(text)
    for one in found:
        if one.startswith("~"):
            expression(one[1:].removeprefix("*"))
        else:
            short(one, _MAPPED)
    return found


def kilobytes(text: str) -> int:
    """A number of kilobytes, as bytes."""
    return in_range(max(0, signed(text)) << 10)


def error_status(text: str) -> int:
    """The status of an error."""
    status = signed(text)
    if not 400 <= status < 600:
        raise ValueError("is no status of an error")
    return status
