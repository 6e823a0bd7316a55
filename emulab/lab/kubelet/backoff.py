"""How long a container that ended is put off, as the kubelet does it (pkg/kubelet/kuberuntime, `doBackOff`). Pure.

It is started at once after its first end, then after 10 s, doubled each time up to five minutes, which is forgotten
once it has run for ten minutes.
"""

from __future__ import annotations

_FIRST, _MOST, _RESET = 10.0, 300.0, 600.0  # seconds


class Backoff:
    def __init__(self) -> None:
        self._next = 0.0

    def after(self, lived: float) -> float:
        """Seconds until the next start, after a life of so many."""
        if lived > _RESET:
            self._next = 0.0
        now, self._next = self._next, min(max(self._next * 2, _FIRST), _MOST)
        return now
