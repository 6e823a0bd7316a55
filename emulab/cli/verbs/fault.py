"""`emulab fault`: breaks something on purpose, says what is broken, and mends it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

from emulab.cli.output.table import table
from emulab.cli.usage import UsageError, add_output
from emulab.errors import UserError
from emulab.kinds.cells import Raw
from emulab.kinds.registry import FAULT
from emulab.lab.client.client import LabClient, connect
from emulab.lab.client.faults import fault_manifest, fault_name
from emulab.model.suggestions import suggest
from emulab.observe.telling.escapes import as_json


def configure(parser: argparse.ArgumentParser) -> None:
    actions = "list [NAME] | put NAME [TARGET] [--set K=V …] [--for 30s] | mend [NAME] | status"
    parser.usage = f"emulab fault [-l LAB] {actions}"
    add = parser.add_argument
    add("action", choices=_ACTIONS, metavar="|".join(_ACTIONS), help="what to do")
    add("names", nargs="*", metavar="NAME", help="a fault; of put, also where: a node, a zone or a place")
    add(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        help="of put: an option of the fault, as loss=5%%",
    )
    add("--for", dest="lasts", metavar="TIME", help="of put: mended by itself after so long (default: never)")
    add("--at", metavar="TIME", help="of put: begins after so long (default: at once)")
    add("--seed", type=int, metavar="N", help="of put: draws the target where none is named (default: 0)")
    add("--hidden", action="store_true", help="of put: nobody is told what it is, and `mend` wants its name")
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    given = {
        "--set": options.set,
        "--for": options.lasts,
        "--at": options.at,
        "--seed": options.seed is not None,
    }
    given |= {"--hidden": options.hidden}
    if options.action != "put" and (wrong := [flag for flag, value in given.items() if value]):
        raise UsageError(f"{', '.join(wrong)}: of fault put alone")
    return _ACTIONS[options.action](options)


def _words(options: argparse.Namespace, least: int, most: int, takes: str) -> list[str]:
    words: list[str] = options.names
    if not least <= len(words) <= most:
        raise UsageError(f"fault {options.action} takes {takes}")
    return words


def _list(options: argparse.Namespace) -> int:
    from emulab.kinds.faults.table import FAULTS

    words = _words(options, 0, 1, "one NAME at most")
    if words and words[0] not in FAULTS:
        raise UserError(f"there is no fault {words[0]!r}; {suggest(words[0], FAULTS)}")
    chosen = [FAULTS[words[0]]] if words else [*FAULTS.values()]
    if options.output == "json":
        shown = [
            {
                "name": f.name,
                "text": f.text,
                "target": f.target,
                "options": {n: {"default": o.default, "text": o.text} for n, o in f.options.items()},
                "thread": f.thread,
            }
            for f in chosen
        ]
        print(as_json(shown[0] if words else shown))
    elif words:
        fault = chosen[0]
        print(f"{fault.name}: {fault.text}")
        print(f"put at: a {fault.target}")
        for name, option in fault.options.items():
            print(f"--set {name}=…: {option.text} (default: {option.default})")
        if fault.thread:
            print(f"met in the field: {fault.thread}")
    else:
        print(table(("NAME", "TARGET", "OPTIONS", "WHAT IT IS"), [_row(fault) for fault in chosen]))
    return 0


def _row(fault: Any) -> list[str]:
    set_ = ",".join(f"{n}={o.default}" for n, o in fault.options.items()) or "<none>"
    return [fault.name, fault.target, set_, fault.text]


def _put(options: argparse.Namespace) -> int:
    name, *where = _words(options, 1, 2, "NAME [TARGET]")
    target, own = "".join(where), fault_name(name, *where)
    body = fault_manifest(
        *(name, target, _set(options.set)),
        at=options.at or "",
        lasts=options.lasts or "",
        seed=options.seed,
        hidden=options.hidden,
    )
    with connect(options.lab) as client:
        if any(o["metadata"]["name"] == own and not _is_over(o) for o in _faults(client)):
            raise UserError(f"fault {own} is there already; mend it first: emulab fault mend {own}")
        _mend_all(client, [own])  # one of before, whose time is over
        client.request("apply", sources=[["fault put", body]], strict=True)
        found = next(o for o in _faults(client) if o["metadata"]["name"] == own)
    if options.output == "json":
        print(as_json(found))
    else:
        print(_said(found))
    return 0


def _set(pairs: list[str]) -> dict[str, str]:
    found = dict(pair.partition("=")[::2] for pair in pairs)
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise UsageError(f"--set takes K=V, not {wrong[0]!r}")
    return found


def _said(o: Raw) -> str:
    from emulab.kinds.emulab.fault import ACTIVE, Fault
    from emulab.model.objects import Object

    fault, status, spec = Fault.of(Object(dict(o))), o.get("status") or {}, o["spec"]
    if spec.get("hidden"):
        return f"fault {fault.name}: hidden, {fault.phase}"
    until = f", for {spec['for']}" if spec.get("for") else ""
    if fault.phase == ACTIVE:
        return f"fault {fault.name}: {fault.says}{until}; mend it: emulab fault mend {fault.name}"
    why = status.get("message") or f"begins {spec.get('at', '0')} after it was put"
    return f"fault {fault.name}: {fault.phase}, {why}{until}"


def _mend(options: argparse.Namespace) -> int:
    words = _words(options, 0, 1, "one NAME at most")
    with connect(options.lab) as client:
        there = _faults(client)
        chosen = [
            o["metadata"]["name"]
            for o in there
            if (words and words[0] in (o["metadata"]["name"], o["spec"]["fault"]))
            or not (words or o["spec"].get("hidden"))
        ]
        if words and not chosen:
            names = [o["metadata"]["name"] for o in there if not o["spec"].get("hidden")]
            hint = suggest(words[0], names) if names else "none is known of: emulab fault status"
            raise UserError(f"there is no fault {words[0]!r} here; {hint}")
        _mend_all(client, chosen)
    if options.output == "json":
        print(as_json(chosen))
    elif chosen:
        for name in chosen:
            print(f"fault {name}: mended")
    else:
        print("Nothing is broken")
    return 0


def _mend_all(client: LabClient, names: list[str]) -> None:
    if names:
        client.request("delete", keys=[FAULT.key("", name) for name in names], ignore_missing=True)


def _status(options: argparse.Namespace) -> int:
    _words(options, 0, 0, "no NAME")
    with connect(options.lab) as client:
        there = _faults(client)
    if options.output == "json":
        print(as_json(there))
        return 0
    if not there:
        print("Nothing is broken")
        return 0
    columns, now = FAULT.definition.columns, time.time()
    print(table(tuple(columns.narrow), [columns.cells(o, now)[0] for o in there]))
    return 0


def _faults(client: LabClient) -> list[Raw]:
    found: list[Raw] = client.request("get", group=FAULT.group, kind=FAULT.kind)
    return found


def _is_over(o: Raw) -> bool:
    return (o.get("status") or {}).get("phase") == "Mended"


_ACTIONS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "put": _put,
    "mend": _mend,
    "status": _status,
}
