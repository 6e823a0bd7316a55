"""What a fault can be told with `set`: numbers and words, each with what is right and what holds by default."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from emulab.kinds.emulab.conntrack import seconds
from emulab.kinds.faults.effects import BOTH, FROM, TO
from emulab.model.checks import Problems, at, show, wrong
from emulab.model.suggestions import suggest

OptionValue = float | str


class Option(NamedTuple):
    """`read` turns a value as it is written into one; it raises ValueError, whose text says what is right."""

    read: Callable[[Any], OptionValue]
    default: str
    text: str
    show: str | Callable[[Any], str] = "{}"
    """How a value is written, as `str.format` has it."""


def percent(value: Any) -> float:
    """A percentage, as `5%` or `5`: more than none, all at most. Raises ValueError."""
    return _number(str(value).removesuffix("%"), 0.001, 100.0, "a percentage above 0, as 5%")


def size(least: int, most: int) -> Callable[[Any], OptionValue]:
    """A number of octets."""

    def read(value: Any) -> OptionValue:
        found = _number(value, least, most, f"a whole number of bytes from {least} to {most}")
        if not found.is_integer():
            raise ValueError(f"not a whole number of bytes from {least} to {most}")
        return found

    return read


def amount(least: int, most: int) -> Callable[[Any], OptionValue]:
    """A whole number."""

    def read(value: Any) -> OptionValue:
        found = _number(value, least, most, f"a whole number from {least} to {most}")
        if not found.is_integer():
            raise ValueError(f"not a whole number from {least} to {most}")
        return found

    return read


def span(least: int, most: int) -> Callable[[Any], OptionValue]:
    """Seconds, as `30s` or `1h30m`."""

    def read(value: Any) -> OptionValue:
        found = seconds(str(value)) if not isinstance(value, bool) else None
        if found is None or not least <= found <= most:
            raise ValueError(f"not a duration from {least}s to {most}s, such as 30s or 1m30s")
        return float(found)

    return read


def direction(value: Any) -> OptionValue:
    """Raises ValueError."""
    if value not in (TO, FROM, BOTH):
        raise ValueError(f"not {TO}, {FROM} or {BOTH}")
    return str(value)


_UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000}
_RATES = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}


def duration(value: Any) -> OptionValue:
    """A time in nanoseconds, written as `200us`, `10ms` or `1.5s`. Raises ValueError."""
    return _with_unit(value, _UNITS, 1_000, 60_000_000_000, "a time from 1us to 60s, as 10ms")


def time_or_none(value: Any) -> OptionValue:
    """A time, or 0 for none. Raises ValueError."""
    return 0 if str(value) == "0" else duration(value)


def rate(value: Any) -> OptionValue:
    """Bits a second, written as tc writes them: `512kbit`, `10mbit`. Raises ValueError."""
    return _with_unit(value, _RATES, 8_000, 100_000_000_000, "a rate from 8kbit to 100gbit, as 10mbit")


def _with_unit(value: Any, units: Mapping[str, int], least: float, most: float, what: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", str(value).lower())
    if found is None or found[2] not in units:
        raise ValueError(f"not {what}")
    return round(_number(float(found[1]) * units[found[2]], least, most, what))


def in_time(value: Any) -> str:
    """Nanoseconds in the largest unit that leaves no fraction of it below 1."""
    unit = next((u for u, size in _UNITS.items() if value >= size), "us") if value else "s"
    return f"{value / _UNITS[unit]:g}{unit}"


def in_bits(value: Any) -> str:
    """Bits a second in the largest unit."""
    unit = next(u for u, size in reversed(_RATES.items()) if value >= size)
    return f"{value / _RATES[unit]:g}{unit}"


def name(value: Any) -> OptionValue:
    """A place's name. Raises ValueError."""
    if not isinstance(value, str) or not value:
        raise ValueError("not a name")
    return value


DIRECTION = Option(direction, BOTH, "to, from or both: as the place sees it")


def _number(value: Any, least: float, most: float, what: str) -> float:
    try:
        found = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        found = None
    if found is None or not least <= found <= most:
        raise ValueError(f"not {what}")
    return found


def problems(given: Mapping[str, Any], known: Mapping[str, Option]) -> Problems:
    """What is wrong with a fault's `set`."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    for key, value in given.items():
        if key not in known:
            such = (
                f"this fault can be told {', '.join(sorted(known))}" if known else "it can't be told anything"
            )
            found += at(key, wrong(f"unknown option; {suggest(key, known) or such}"))
            continue
        try:
            known[key].read(value)
        except ValueError as error:
            found += at(key, wrong(f"{show(value)} is {error}"))
    return found


def values(given: Mapping[str, Any], known: Mapping[str, Option]) -> dict[str, Any]:
    """All options with what they are."""
    return {key: option.read(given.get(key, option.default)) for key, option in known.items()}


def shown(found: Mapping[str, Any], known: Mapping[str, Option]) -> dict[str, str]:
    """Options in words."""
    return {key: _written(known[key].show, value) for key, value in found.items()}


def _written(show: str | Callable[[Any], str], value: Any) -> str:
    return show.format(value) if isinstance(show, str) else show(value)
