"""What Go's net/http does for all of its servers, which most images' programs are. Pure but for the clock."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from urllib.parse import parse_qsl

from emulab.servers.echo.answers import TEXT, EchoAnswer
from emulab.servers.wire.http1.requests import Request

HTML = "text/html; charset=utf-8"
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def date() -> tuple[str, str]:
    """The field that says when something was answered."""
    return "Date", formatdate(usegmt=True)


def answered(
    text: str,
    status: int = 200,
    kind: str = TEXT,
    fields: Sequence[tuple[str, str]] = (),
    delay: float = 0.0,
) -> EchoAnswer:
    """An answer as Go's server writes it, which doesn't say what it is."""
    return EchoAnswer(status, text.encode(), kind, delay, server="", fields=(*fields, date()))


def values(request: Request) -> dict[str, str]:
    """The first value of each name in a request's query (`FormValue`)."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(request.target.partition("?")[2], keep_blank_values=True):
        found.setdefault(name, value)
    return found


def duration(text: str) -> float | None:
    """Seconds of a time such as `1m30s` (time.ParseDuration); None for what is none."""
    if text in ("0", "+0", "-0"):
        return 0.0
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    parts = _DURATION.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        return None
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)


def is_true(text: str) -> bool:
    """As strconv.ParseBool."""
    return text in ("1", "t", "T", "true", "TRUE", "True")


def now() -> str:
    """As a time.Time prints itself."""
    at = time.time_ns()
    second = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at // 10**9))
    clock = time.monotonic_ns()
    return f"{second}.{at % 10**9:09} +0000 UTC m=+{clock // 10**9}.{clock % 10**9:09}"
