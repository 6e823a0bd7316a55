"""What one process of a proxy has counted, so that it can be added to what others have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

SeriesKey = tuple[str, ...]
"""By what requests are counted."""


class SeriesFigures(NamedTuple):
    """Of the requests of one key: their number, buckets of all histograms, sums of all histograms."""

    requests: int
    counts: list[int]
    sums: list[float]

    def with_those(self, other: SeriesFigures) -> SeriesFigures:
        """Of both; nothing of histograms with other bounds than these."""
        if len(self.counts) != len(other.counts):
            return self
        return SeriesFigures(
            self.requests + other.requests,
            [a + b for a, b in zip(self.counts, other.counts, strict=True)],
            [a + b for a, b in zip(self.sums, other.sums, strict=True)],
        )


class Connections(NamedTuple):
    """What is known of the connections of clients, and of requests, since the start."""

    accepted: int
    requests: int
    active: int
    waiting: int  # of those, idle between two requests


class ProcessUse(NamedTuple):
    """What the kernel tells of the processes that serve: times in seconds, sizes in bytes."""

    number: int
    cpu: float
    resident: int
    virtual: int
    started: float  # Unix time


class Figures(NamedTuple):
    """All of it."""

    connections: Connections
    process: ProcessUse
    series: Mapping[SeriesKey, SeriesFigures]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        series = [[list(key), *one] for key, one in self.series.items()]
        return {"connections": list(self.connections), "process": list(self.process), "series": series}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Figures:
        """Of plain data."""
        series = {tuple(key): SeriesFigures(*rest) for key, *rest in data["series"]}
        return cls(Connections(*data["connections"]), ProcessUse(*data["process"]), series)

    def past(self) -> Figures:
        """What of it stays once the process is gone."""
        connections, cpu = self.connections, self.process.cpu
        return Figures(connections._replace(active=0, waiting=0), ProcessUse(0, cpu, 0, 0, 0.0), self.series)


def added(figures: Iterable[Figures]) -> Figures:
    """Those of several processes together; there is one at least."""
    several = list(figures)
    if len(several) == 1:
        return several[0]
    connections = Connections(*map(sum, zip(*(one.connections for one in several), strict=True)))
    number, cpu, resident, virtual = (
        sum(column) for column in list(zip(*(one.process for one in several), strict=True))[:4]
    )
    started = min((one.process.started for one in several if one.process.started), default=0.0)
    series: dict[SeriesKey, SeriesFigures] = {}
    for one in several:
        for key, counted in one.series.items():
            series[key] = series[key].with_those(counted) if key in series else counted
    return Figures(connections, ProcessUse(int(number), cpu, int(resident), int(virtual), started), series)
