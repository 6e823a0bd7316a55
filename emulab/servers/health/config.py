"""How somebody is checked. Times are in seconds."""

from __future__ import annotations

from emulab.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """How a target is checked: seconds between checks and for one, and how many flip its state.

    `down_interval` is the time between checks of a target that isn't healthy (HAProxy's `downinter`); of one that
    hasn't been for long it is a tenth of how long, up to `interval`: who is back soon is noticed soon, and nobody is
    asked ten times a second for good. With a `path` the target is asked by HTTP, or HTTPS without a look at its
    certificate, and has to answer with one of the `codes`.
    """

    interval: float
    timeout: float
    rise: int
    fall: int
    down_interval: float | None = None  # as `interval` if None
    port: int | None = None  # where to connect; the target's own port if None
    path: str = ""
    protocol: str = ""  # one of `checks.CHECKS`; "": http with a path, else tcp
    host: str = ""  # of the request; the target's address if ""
    codes: str = "200"  # 200, 200-399, 200,301-302
