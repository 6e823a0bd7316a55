"""What holds for all tests without packets of their own."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes is up to the machine, which may have no time for us for a while, and says nothing of us.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
