"""How long ago something was, in kubectl's words."""

from __future__ import annotations

from datetime import datetime

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


def age(stamp: object, now: float) -> str:
    """The time since an RFC 3339 timestamp; `<unknown>` where there is none."""
    since = seconds_of(stamp)
    return "<unknown>" if since is None else short(now - since)


def seconds_of(stamp: object) -> float | None:
    """The Unix time of an RFC 3339 timestamp; None where there is none."""
    if not isinstance(stamp, str):
        return None
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None


def short(seconds: float) -> str:
    """A span of time in kubectl's words; one that has not begun is none."""
    return human(max(0, int(seconds)))


def human(seconds: int) -> str:
    """As apimachinery's duration.HumanDuration: two figures at most, fewer the longer it is."""
    minutes, hours, days = seconds // MINUTE, seconds // HOUR, seconds // DAY
    if seconds < 2 * MINUTE:
        return f"{seconds}s"
    if minutes < 10:
        return _pair(minutes, "m", seconds % MINUTE, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _pair(days, "d", hours % 24, "h")
    if days < 2 * 365:
        return f"{days}d"
    if days < 8 * 365:
        return _pair(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"
