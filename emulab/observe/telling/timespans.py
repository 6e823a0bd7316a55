"""Microseconds as people read them, and what a request's time went to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emulab.observe.path import Path
from emulab.observe.telling.texts import short_place

NAMES = {"nat": "NAT", "vxlan": "VXLAN", "dnat": "DNAT", "snat": "SNAT", "dns": "DNS"}


def span(us: float) -> str:
    """A time: microseconds with one decimal below a millisecond, milliseconds above."""
    return f"{us:.1f} µs" if abs(us) < 999.95 else f"{us / 1000:.3f} ms"


def totals_line(path: Path) -> str:
    """The parts of the duration in one line; as they are rounded, too, they add up to the whole."""
    parts = [(name, value) for name, value in _parts(path.totals) if _sum(value) > 0]
    if not parts:
        return ""
    in_ms = path.duration >= 999.95
    step = 10.0 if in_ms else 0.1

    def number(steps: int) -> str:
        return f"{steps * step / 1000:.2f}" if in_ms else f"{steps * step:.1f}"

    unit = "ms" if in_ms else "µs"
    shares = apportion([_sum(value) for _, value in parts], step)
    texts = []
    for (name, value), share in zip(parts, shares, strict=True):
        text = f"{name} {number(share)} {unit}"
        if isinstance(value, Mapping):
            kinds = {NAMES.get(k, k): v for k, v in value.items() if v > 0}
            inner = zip(kinds, apportion(list(kinds.values()), step, share), strict=True)
            text += f" ({', '.join(f'{kind} {number(steps)}' for kind, steps in inner)})"
        texts.append(text)
    whole = apportion([path.duration], step)[0]
    return f"{number(whole)} {unit} = {' · '.join(texts)}"


def apportion(values: Sequence[float], step: float, whole: int | None = None) -> list[int]:
    """Values as whole numbers of steps whose sum is `whole` (by default their sum, rounded): largest remainders."""
    exact = [value / step for value in values]
    wanted = round(sum(exact)) if whole is None else whole
    shares = [int(e) for e in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: shares[i] - exact[i])
    missing = wanted - sum(shares)
    for i in by_remainder[: max(missing, 0)]:
        shares[i] += 1
    return shares


def _parts(spent: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values in the order of the request's way; the kernel's is a mapping by kind."""
    parts: list[tuple[str, Any]] = [
        ("DNS", spent.get("dns_us", 0.0)),
        ("client", spent.get("client_us", 0.0)),
        ("kernel", spent.get("kernel_us", {})),
    ]
    for places, prefix in (("servers_us", ""), ("container_us", "container ")):
        found = spent.get(places, {})
        if isinstance(found, Mapping):
            parts += [
                (prefix + (short_place(place, 32) or "others"), value) for place, value in found.items()
            ]
        else:
            parts.append((prefix or "servers", found))
    return parts


def _sum(value: Any) -> float:
    return float(sum(value.values())) if isinstance(value, Mapping) else float(value)
