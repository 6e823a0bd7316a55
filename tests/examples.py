"""How many examples Hypothesis draws, and which.

In CI they are few, and the same in every run, lest a change fails by what it has nothing to do with. Whoever looks for
new faults has others drawn: `EMULAB_HYPOTHESIS=random` as many, `EMULAB_HYPOTHESIS=long` twenty times as many.

How long one takes is up to the machine, which may have no time for us for a while, and says nothing of us.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

PROFILES = {"": (1, True), "random": (1, False), "long": (20, False)}
"""How many times as many examples, and whether they are the same in every run."""

_asked = os.environ.get("EMULAB_HYPOTHESIS", "")
if _asked not in PROFILES:
    raise SystemExit(f"EMULAB_HYPOTHESIS={_asked}: must be {' or '.join(filter(None, PROFILES))}")
_TIMES, _SAME = PROFILES[_asked]
_DEFAULT = 100

settings.register_profile(
    "emulab",
    max_examples=_DEFAULT * _TIMES,
    deadline=None,
    derandomize=_SAME,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("emulab")


def examples(number: int) -> settings:
    """Settings of a test whose examples cost more or less than others'."""
    return settings(max_examples=number * _TIMES)
