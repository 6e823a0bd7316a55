"""Schedules of CronJobs, by the rules of robfig/cron v3 (`ParseStandard`), which Kubernetes reads them with. Pure.

* Five fields: minute, hour, day of the month, month, day of the week (0-6, Sunday first), each a list of `*`, numbers,
  names, ranges and steps. `?` is `*`, and `N/STEP` begins at N.
* Where both days are restricted, one of them is enough. A step of more than one restricts, as in `*/2`.
* `@hourly` and its kin stand for fields; `@every 1h30m` runs in that distance from the time before.
* What is asked for while clocks leap ahead isn't run, and what is asked for while they go back is run twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple

from emulab.model.checks import show

DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_YEARS = 5  # in which a time must be found
_MINUTE = 60


class UnknownTimeZone(ValueError):
    """There is no time zone of that name."""


class _Field(NamedTuple):
    least: int
    most: int
    names: Mapping[str, int] = {}


def _named(words: str, first: int) -> dict[str, int]:
    return {word: number for number, word in enumerate(words.split(), first)}


_FIELDS = (
    _Field(0, 59),
    _Field(0, 23),
    _Field(1, 31),
    _Field(1, 12, _named("jan feb mar apr may jun jul aug sep oct nov dec", 1)),
    _Field(0, 6, _named("sun mon tue wed thu fri sat", 0)),
)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


class _Matches(NamedTuple):
    """The numbers that a field matches, and whether it matches whatever comes."""

    numbers: frozenset[int]
    whatever: bool


class Every(NamedTuple):
    """In the distance of so many seconds."""

    seconds: int

    def after(self, moment: float) -> float | None:
        return float(int(moment) + self.seconds)


class Calendar(NamedTuple):
    """At times that a calendar and a clock show."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: _Matches
    months: frozenset[int]
    weekdays: _Matches
    zone: tzinfo

    def after(self, moment: float) -> float | None:
        """The next Unix time; None where there is none for years."""
        start = (int(moment) // _MINUTE + 1) * _MINUTE
        local = datetime.fromtimestamp(start, self.zone)
        day = local.date()
        for _ in range(_YEARS * 366):
            if self._has(day):
                begin = local.hour - 1 if day == local.date() else 0  # an hour may come twice
                found = next((at for at in self._times(day, begin) if at >= start), None)
                if found is not None:
                    return found
            day += timedelta(days=1)
        return None

    def _has(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month = day.day in self.days.numbers
        of_week = day.isoweekday() % 7 in self.weekdays.numbers
        restricted = not (self.days.whatever or self.weekdays.whatever)
        return of_month or of_week if restricted else of_month and of_week

    def _times(self, day: date, begin: int) -> Iterator[float]:
        for hour in self.hours:
            if hour < begin:
                continue
            for fold in (0, 1):
                for minute in self.minutes:
                    local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone, fold=fold)
                    stamp = local.timestamp()
                    back = datetime.fromtimestamp(stamp, self.zone)
                    if (back.hour, back.minute, back.fold) == (hour, minute, fold):
                        yield stamp


Schedule = Every | Calendar


@lru_cache(256)
def parse(text: str, zone: str = "") -> Schedule:
    """The schedule that a text means, in a time zone. Raises ValueError in the words of cron, or UnknownTimeZone."""
    where = time_zone(zone)
    if text.startswith("@"):
        if text.startswith("@every "):
            return Every(_seconds(text))
        if text not in DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = DESCRIPTORS[text]
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
    minutes, hours, days, months, weekdays = (
        _field(part, field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    return Calendar(
        minutes=tuple(sorted(minutes.numbers)),
        hours=tuple(sorted(hours.numbers)),
        days=days,
        months=months.numbers,
        weekdays=weekdays,
        zone=where,
    )


def time_zone(name: str) -> tzinfo:
    """The zone of that name, UTC without one. Raises UnknownTimeZone."""
    if name in ("", "UTC", "Etc/UTC"):
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # few ask for one

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        shown = show(name).strip('"')
        raise UnknownTimeZone(f"unknown time zone {shown}") from None


def _field(text: str, field: _Field) -> _Matches:
    numbers: set[int] = set()
    whatever = False
    for part in filter(None, text.split(",")):
        some, everything = _range(part, field)
        numbers |= {*some}
        whatever = whatever or everything
    return _Matches(frozenset(numbers), whatever)


def _range(text: str, field: _Field) -> tuple[range, bool]:
    """The numbers of `*`, `N`, `N-M`, `*/STEP`, `N/STEP` or `N-M/STEP`; and whether that is whatever comes."""
    span, *steps = text.split("/")
    first, *lasts = span.split("-")
    whatever = first in ("*", "?")
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    if not whatever and len(lasts) > 1:
        raise ValueError(f"too many hyphens: {text}")
    begin = field.least if whatever else _number(first, field.names)
    end = (
        field.most
        if whatever or (steps and not lasts)
        else _number(lasts[0] if lasts else first, field.names)
    )
    step = _number(steps[0], {}) if steps else 1
    if begin < field.least:
        raise ValueError(f"beginning of range ({begin}) below minimum ({field.least}): {text}")
    if end > field.most:
        raise ValueError(f"end of range ({end}) above maximum ({field.most}): {text}")
    if begin > end:
        raise ValueError(f"beginning of range ({begin}) beyond end of range ({end}): {text}")
    if not step:
        raise ValueError(f"step of range should be a positive number: {text}")
    return range(begin, end + 1, step), whatever and step == 1


def _number(text: str, names: Mapping[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _seconds(text: str) -> int:
    """Of `@every 1h30m`; less than a second is one (`cron.Every`)."""
    span = text.removeprefix("@every ").strip()
    parts = _DURATION.findall(span)
    if not parts or "".join(number + unit for number, unit in parts) != span:
        raise ValueError(f'failed to parse duration {text}: time: invalid duration "{span}"')
    return max(1, int(sum(float(number) * _UNITS[unit] for number, unit in parts)))
