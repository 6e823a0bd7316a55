"""Sets of completion indexes as a Job's status has them: `1,3-5,7`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

INDEXES = r"[0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*"
"""What such a set looks like, as a regular expression."""


def read(text: str) -> frozenset[int]:
    """The indexes that a text tells of."""
    return frozenset(index for part in filter(None, text.split(",")) for index in _part(part))


def _part(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def written(indexes: Iterable[int]) -> str:
    """As the Job controller writes them: three and more that follow each other are a range, and two are told one by
    one (pkg/controller/job/indexed_job_utils.go)."""
    return ",".join(_runs(sorted(set(indexes))))


def _runs(indexes: list[int]) -> Iterator[str]:
    begin = 0
    for end in range(1, len(indexes) + 1):
        if end < len(indexes) and indexes[end] == indexes[end - 1] + 1:
            continue
        first, last = indexes[begin], indexes[end - 1]
        if first == last:
            yield str(first)
        else:
            yield f"{first},{last}" if last == first + 1 else f"{first}-{last}"
        begin = end
