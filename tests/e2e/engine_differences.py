"""What an ingress of another engine does otherwise than emulab's own, and why: the tests of behaviour look it up here.

A difference that has gone away fails, too: what stands here is what is expected.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

DIFFERENCES: dict[tuple[str, str], tuple[object, str]] = {
    ("haproxy", "status of a server whose address nobody has"): (
        502,
        "HAProxy tells what refuses a connection and what doesn't answer by one status",
    ),
}
"""By engine and what it is about: what there is, and the reason."""


def expected(engine: str, about: str, usual: T) -> T:
    """What is expected of an engine, where `usual` is what the others do."""
    there, _ = DIFFERENCES.get((engine, about), (usual, ""))
    assert isinstance(there, type(usual))
    return there
