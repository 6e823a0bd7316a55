"""How the texts of the controller's ConfigMap become values, where that isn't as with annotations. Pure.

ingress-nginx decodes most keys by mapstructure with `WeaklyTypedInput`, as internal/ingress/controller/template's
ReadConfig has it: an empty text is false, 0 or empty, whatever the default is; numbers are of Go's syntax, hexadecimal
ones included; and a space beside a switch or a number is too much. What stands bare in nginx.conf may have spaces
around it, as they end the word there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from emulab.kinds.networking import accessvalues, nginxvalues

_LARGEST = (1 << 63) - 1
_LONGEST = 80  # characters of a number: those of an int64 in binary, with room for underscores


def boolean(text: str) -> bool:
    """A switch: an empty one is off."""
    return bool(text) and nginxvalues.boolean(text)


def integer(text: str) -> int:
    """A number that isn't negative, as Go's `strconv.ParseInt` with base 0 reads it: `0x10`, `010` (which is 8)."""
    if (number := signed(text)) < 0:
        raise ValueError("is less than 0")
    return number


def signed(text: str) -> int:
    """A number of Go's syntax, with its sign."""
    if not text:
        return 0
    if re.fullmatch(r"[+-]?\w+", text, re.ASCII) is None:
        raise ValueError("is no number")
    if len(text) > _LONGEST:  # Python reads no number of thousands of digits
        raise ValueError("is out of range")
    is_octal = re.fullmatch(r"[+-]?0[0-9_]+", text) is not None
    try:
        number = int(text, 8 if is_octal else 0)
    except ValueError:
        raise ValueError("is no number") from None
    if abs(number) > _LARGEST:
        raise ValueError("is out of range")
    return number


def seconds(text: str) -> float:
    """Seconds as a plain number."""
    if re.fullmatch(r"[0-9.]+[a-z]+", text):
        raise ValueError("is no number of seconds, which has no unit here")
    return float(integer(text))


def error_status(text: str) -> int:
    """The status of an error, which nginx has from 400 to 599."""
    return accessvalues.error_status(str(integer(text)))


def kilobytes(text: str) -> int:
    """A number of kilobytes, as bytes; what is less than 0 is none."""
    return max(0, signed(text)) << 10


def bare(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Reads what stands bare in nginx.conf."""
    return lambda text: read(text.strip())


def networks(text: str) -> tuple[str, ...]:
    """Networks and addresses between commas, or none."""
    found = nginxvalues.words(text)
    return accessvalues.networks(",".join(found)) if found else ()


def buffers(text: str) -> int:
    """A number of buffers, of which nginx wants one at least."""
    if (number := integer(text)) < 1:
        raise ValueError("is no number of buffers")
    return number


def types(text: str) -> list[str]:
    """Types of content between spaces."""
    if not (found := text.split()):
        raise ValueError("names no type")
    return found


def age(text: str) -> str:
    """What stands behind `max-age=`, which ingress-nginx takes as it is: all that can be in a header field."""
    if re.fullmatch(r"[ -~]*", text) is None:
        raise ValueError("has characters that a header field can't have")
    return nginxvalues.short(text)
