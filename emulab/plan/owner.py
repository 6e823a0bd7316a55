"""The object that an address stands for, as a trace is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from emulab.dataclass import dataclass, field


@dataclass(frozen=True, slots=True)
class Owner:
    """An object, as people write it, and what explains a failure of it."""

    kind: str
    """Service | Pod | Node | LoadBalancer | Client | Ingress | server (dns, resolver, router) | names."""
    namespace: str
    name: str
    text: str  # `Service app/product-service port 80`, `pod app/product-7c9f-2`
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
