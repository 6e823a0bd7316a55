"""Faults as who asks a lab for them writes them down: `emulab fault put` and `Lab.fault`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from emulab.kinds.registry import FAULT

_LONGEST = 63  # letters of a DNS label


def fault_name(fault: str, target: str = "") -> str:
    """What a Fault is called that is put at a target: one at a time is there."""
    return "-".join(filter(None, (fault, re.sub("[/.]", "-", target))))[:_LONGEST].rstrip("-")


def fault_manifest(
    fault: str,
    target: str = "",
    options: Mapping[str, Any] | None = None,
    *,
    at: str = "",
    lasts: str = "",
    seed: int | None = None,
    hidden: bool = False,
) -> str:
    """A Fault's manifest, of what was said alone."""
    said = {"target": target, "set": dict(options or {}), "at": at, "for": lasts, "hidden": hidden}
    spec = {
        "fault": fault,
        **{field: value for field, value in said.items() if value not in ("", {}, None, False)},
    }
    if seed is not None:
        spec["seed"] = seed
    own = {"name": fault_name(fault, target)}
    return json.dumps({"apiVersion": FAULT.api_version, "kind": FAULT.kind, "metadata": own, "spec": spec})
