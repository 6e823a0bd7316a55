"""How pflag and Go read the values of a program's flags. Pure; each raises ValueError for what ends the program."""

from __future__ import annotations

import re
from ipaddress import ip_address

from emulab.kinds.networking import nginxvalues
from emulab.kinds.networking.keyvalues import signed

_DURATION = r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)"


def boolean(text: str) -> bool:
    """As Go's `strconv.ParseBool`."""
    return nginxvalues.boolean(text)


def negated(text: str) -> bool:
    """A switch that turns something off."""
    return not boolean(text)


def integer(text: str) -> int:
    """As Go's `strconv.ParseInt` with base 0: `0x10`, `010` (which is 8)."""
    if not text:
        raise ValueError("is no number")
    return signed(text)


def number(text: str) -> float:
    """A number with or without a fraction."""
    if "_" in text:
        raise ValueError("is no number")
    return float(text)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas."""
    return tuple(number(one) for one in text.strip("[]").split(","))


def names(text: str) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(filter(None, text.split(",")))


def duration(text: str) -> str:
    """As Go's `time.ParseDuration`: `30s`, `1m30s`."""
    if re.fullmatch(_DURATION, text, re.ASCII) is None:
        raise ValueError("is no duration, such as 30s")
    return text


def address(text: str) -> str:
    """An address."""
    return str(ip_address(text))


def port(text: str) -> int:
    """A port's number."""
    found = integer(text)
    if not 0 < found < 65536:
        raise ValueError(text)
    return found


def selector(text: str) -> str:
    """A label selector."""
    from emulab.errors import UserError
    from emulab.model.selectortext import label_requirements  # here: few controllers ask for it

    try:
        label_requirements(text)
    except UserError as error:
        raise ValueError(str(error)) from None
    return text
