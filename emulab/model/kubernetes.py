"""Which Kubernetes is followed where versions differ."""

from __future__ import annotations

VERSION = "1.35"
