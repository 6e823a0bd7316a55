"""How ingress-nginx reads the texts of its settings: of annotations, and of the keys of its ConfigMap. Pure.

Each raises `ValueError`, which says what is wrong, for a text that says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_SIZES = {"": 0, "k": 10, "m": 20, "g": 30}
_LARGEST = (1 << 63) - 1
_MOST_DIGITS = len(str(_LARGEST))  # Python reads no number of thousands of digits


def short(text: str, most: int = 2000) -> str:
    """A text that is one word of nginx.conf, as which nginx reads no longer ones, with what escapes it in there."""
    if len(text.encode()) > most:
        raise ValueError(f"has more than {most:,} octets, which nginx doesn't read")
    return text


def boolean(text: str) -> bool:
    """As Go's `strconv.ParseBool` reads it."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("is neither true nor false")


def integer(text: str) -> int:
    """A number that isn't negative, and that an int64 of Go holds."""
    if not re.fullmatch(r"\+?[0-9]+", text):
        raise ValueError("is no number")
    return signed(text)


def signed(text: str) -> int:
    """A number, as Go's `strconv.Atoi` reads it."""
    if re.fullmatch(r"[+-]?[0-9]+", text) is None:
        raise ValueError("is no number")
    return in_range(int(text) if len(text.lstrip("+-0")) <= _MOST_DIGITS else _LARGEST + 1)


def in_range(number: int) -> int:
    """A number that an int64 of Go and of nginx holds. Raises `ValueError` for another."""
    if not -_LARGEST <= number <= _LARGEST:
        raise ValueError("is out of range")
    return number


def size(text: str) -> int:
    """A size in bytes as nginx has it: `8m`, `16k`, `0`."""
    match = re.fullmatch(r"([0-9]+)([kKmMgG]?)", text)
    if match is None:
        raise ValueError("is no size, such as 8m")
    return in_range(integer(match[1]) << _SIZES[match[2].lower()])


def seconds(text: str) -> float:
    """Seconds as a plain number: ingress-nginx writes the unit itself, and takes none."""
    if not re.fullmatch(r"\+?[0-9]+", text):
        raise ValueError("is no number of seconds, which has no unit here")
    return float(integer(text))


def http_version(text: str) -> str:
    """A version of HTTP that backends are asked in."""
    if text not in ("1.0", "1.1"):
        raise ValueError("is neither 1.0 nor 1.1")
    return text


def words(text: str) -> tuple[str, ...]:
    """What stands between commas, without the spaces around it."""
    return tuple(word for one in text.split(",") if (word := one.strip()))


def redirect_port(text: str) -> int:
    """The port that redirects to TLS say: that of the listener, or none."""
    return 443 if boolean(text) else 0


def on_off(text: str) -> bool:
    """A switch of nginx."""
    if text not in ("on", "off"):
        raise ValueError("is neither on nor off")
    return text == "on"


def one_of(*options: str) -> Callable[[str], str]:
    """One of these words."""

    def read(text: str) -> str:
        if text not in options:
            raise ValueError(f"is not one of {', '.join(options)}")
        return text

    return read


def matching(pattern: str, what: str, spaces: bool = False) -> Callable[[str], str]:
    """A text of which an expression takes all; `what` says what it isn't otherwise, `spaces` are no matter to it."""
    compiled = re.compile(pattern, re.ASCII)

    def read(text: str) -> str:
        if compiled.fullmatch(text.replace(" ", "") if spaces else text) is None:
            raise ValueError(f"is no {what}")
        return text

    return read


# As internal/ingress/annotations/parser/validators.go has them.
_PLAIN = r"\-._~a-zA-Z0-9/:"
url_text = matching(rf"[{_PLAIN},?&=]+", "URL of letters, digits and -._~/:,?&=", spaces=True)
path_text = matching(rf"/?[{_PLAIN}$]+", "path of letters, digits and -._~/:, with groups such as $1")
server_name = matching(
    rf"[{_PLAIN}^$\[\](){{}}*+?|&=\\]+", "name of a server, or of letters that names can't have"
)


def redirect_url(text: str) -> str:
    """A URL of http or https."""
    if not url_text(text).startswith("http") or "://" not in text:
        raise ValueError("is no URL of http or https")
    return text


def status_between(low: int, high: int) -> Callable[[str], int]:
    """A status of an answer."""

    def read(text: str) -> int:
        status = integer(text)
        if not low <= status <= high:
            raise ValueError(f"is no status from {low} to {high}")
        return status

    return read


def statuses_from(low: int) -> Callable[[str], tuple[int, ...]]:
    """Statuses between commas."""
    status = status_between(low, 599)

    def read(text: str) -> tuple[int, ...]:
        try:
            return tuple(status(word) for word in words(text))
        except ValueError:
            raise ValueError(f"are no statuses from {low} to 599") from None

    return read


class EachWord:
    """Reads what stands between commas one by one, and leaves what can't be read, as ingress-nginx does of keys of its
    ConfigMap."""

    def __init__(self, one: Callable[[str], Any]) -> None:
        self._one = one

    def __call__(self, text: str) -> tuple[Any, ...]:
        return tuple(value for value, why in self._each(text) if not why)

    def left(self, text: str) -> list[str]:
        """Why each word is left that is."""
        return [why for _, why in self._each(text) if why]

    def _each(self, text: str) -> Iterator[tuple[Any, str]]:
        for word in words(text):
            try:
                yield self._one(word), ""
            except ValueError as error:
                yield None, f"has {word!r}, which {error}"


def field_name(text: str) -> str:
    """The name of a header field."""
    if re.fullmatch(r"[a-zA-Z0-9\-_]+", text) is None:
        raise ValueError("is no name of a header field")
    return text


def replacement(text: str) -> tuple[str, str] | None:
    """Two words, of which the second takes the place of the first; or `off`."""
    if text == "off":
        return None
    old, *new = url_text(text).split()
    if len(new) != 1:
        raise ValueError("is neither off nor two words: what is replaced, and by what")
    return old, new[0]


def field_names(text: str) -> tuple[str, ...]:
    """Names of header fields between commas."""
    names = words(text)
    for name in names:
        if re.fullmatch(r"[a-zA-Z0-9\-_]+", name) is None:
            raise ValueError(f"has {name!r}, which is no name of a header field")
    return names


def number_and_size(text: str) -> tuple[int, int]:
    """A number and a size: `4 8k`."""
    number, _, each = text.partition(" ")
    found = integer(number), size(each.strip())
    if not all(found):
        raise ValueError("has a 0, of which there are no buffers")
    return found


def expression(text: str) -> str:
    """A regular expression."""
    try:
        re.compile(short(text))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


basic_characters = matching(r"[-./~\w:]+", "name: letters, digits and -._~/: are")
url_characters = matching(r"[-./~\w:,?&=]+", "path or URL: letters, digits and -._~/:,?&= are")
"""`BasicCharsRegex` and `URLIsValidRegex` of internal/ingress/annotations/parser/validators.go."""

_FAILURES = ("error", "timeout", "invalid_header", "non_idempotent", "off")
_FAILING = ("500", "502", "503", "504", "403", "404", "429")


def next_upstream(text: str) -> tuple[str, ...]:
    """The failures after which another server is asked, as nginx' `proxy_next_upstream` has them."""
    found = tuple(text.split())
    known = (*_FAILURES, *(f"http_{status}" for status in _FAILING))
    if not found:
        raise ValueError(f"is none of {', '.join(known)}")
    for word in found:
        if word not in known:
            raise ValueError(f"has {word!r}, which is not one of {', '.join(known)}")
    return found


_ALGORITHMS = ("round_robin", "ewma")
_BY_OTHER_MEANS = {
    "chash": "upstream-hash-by",
    "chashsubset": "upstream-hash-by-subset",
    "sticky_balanced": "affinity: cookie",
    "sticky_persistent": "affinity: cookie and affinity-mode: persistent",
}


def load_balance(text: str) -> str:
    """An algorithm; some are had by other means alone."""
    if text in _BY_OTHER_MEANS:
        raise ValueError(f"has no effect by itself; write {_BY_OTHER_MEANS[text]}")
    return one_of(*_ALGORITHMS)(text)
