"""Command lines that messages tell a user to type."""

from __future__ import annotations

import os

_DEFAULT = "default"


def begun(lab: str) -> str:
    """How a command line about this lab begins: with its name, unless it is the default one and no other is meant."""
    meant = os.environ.get("EMULAB_LAB") or _DEFAULT
    return "emulab" if lab == meant == _DEFAULT else f"emulab -l {lab}"
