"""What HAProxy counts (`show stat`, management.txt 9.1), as our own balancer's status has it. Pure."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from typing import Any

from emulab.servers.engines.balancer.names import OPEN, proxy_name, server_name
from emulab.servers.l4.config import FrontendConfig

Rows = Mapping[tuple[str, str], Mapping[str, str]]
"""By the names of proxy and server; FRONTEND and BACKEND are servers there, too."""


def read_rows(text: str) -> Rows:
    """The answer to `show stat`."""
    lines = text.lstrip("# ").splitlines()
    return {(row["pxname"], row["svname"]): row for row in csv.DictReader(lines)}


def frontend_status(key: str, one: FrontendConfig, rows: Rows) -> dict[str, Any]:
    """A frontend's part of the status."""
    name = proxy_name(key)
    own = rows.get((name, "FRONTEND"), {})
    denied = _number(own, "dcon") + _number(own, "dses")
    return {
        "balance": one.balance,
        "dropped": denied + _number(rows.get((name, "BACKEND"), {}), "econ"),
        "denied": denied,
        "open": _number(own, "scur"),
        "total": _number(own, "stot"),
        "bytes_in": _number(own, "bin"),
        "bytes_out": _number(own, "bout"),
        "targets": {target.name: _target(name, target, one, rows) for target in one.targets},
    }


def _target(name: str, target: Any, one: FrontendConfig, rows: Rows) -> dict[str, Any]:
    row = rows.get((name, server_name(target.name)), {})
    forced = rows.get((name + proxy_name(OPEN), server_name(target.name)), {})

    def both(field: str) -> int:
        return _number(row, field) + _number(forced, field)

    return {
        "address": target.address,
        "port": target.port,
        "healthy": not row.get("status", "").startswith(("DOWN", "MAINT")),
        "weight": target.weight,
        "errors": both("econ"),
        "check": _check(row) if one.health is not None else None,
        "open": both("scur"),
        "total": both("stot"),
        "bytes_in": both("bin"),
        "bytes_out": both("bout"),
    }


def _check(row: Mapping[str, str]) -> dict[str, Any] | None:
    word = row.get("check_status", "").lstrip("* ")
    if word in ("", "INI", "UNK"):
        return None
    detail = row.get("check_code") or row.get("last_chk") or ""
    return {
        "word": word,
        "detail": "" if word == "L4OK" else detail,
        "seconds": _number(row, "check_duration") / 1000,
        "failures": _number(row, "chkfail"),
        "flips": _number(row, "chkdown"),
    }


def _number(row: Mapping[str, str], field: str) -> int:
    text = row.get(field) or "0"
    return int(text) if text.isdigit() else 0
