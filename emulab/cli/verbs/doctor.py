"""`emulab doctor`: what the kernel and machine allow, and how to mend what is missing."""

from __future__ import annotations

import argparse
import platform
from dataclasses import replace

from emulab import compiled
from emulab.cli.output.table import table
from emulab.cli.usage import add_output
from emulab.errors import UserError
from emulab.kernel import probe
from emulab.kernel.feature import Feature, as_data
from emulab.lab.folders import rundir
from emulab.lab.images.check import image_check
from emulab.lab.images.home import images_folder
from emulab.observe.telling.escapes import as_json


def configure(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    found = [_run_folder(check) for check in probe.features(rundir.base())]
    found += [image_check(images_folder()), _compiled()]
    modes = probe.proxy_modes(found)
    missing = [check for check in found if check.state == "missing"]
    if options.output == "json":
        report = {
            "kernel": platform.release(),
            "ok": not missing,
            "checks": [as_data(check) for check in found],
            "proxyModes": modes,
        }
        print(as_json(report))
    else:
        print(_text(found, modes))
    return 1 if missing else 0


def _run_folder(check: Feature) -> Feature:
    """The check of the run folder with what a command that needs it would say; others as they are."""
    if check.name != "run folder":
        return check
    try:
        list(rundir.labs())
    except UserError as error:
        return replace(check, problem=str(error))
    return check


def _compiled() -> Feature:
    """Nobody needs it who doesn't measure."""
    mend = "scripts/compile, or scripts/setup bench with what that needs"
    return Feature("compiled servers", "the ingress' speed", False, mend, problem=compiled.look().why)


def _text(found: list[Feature], modes: dict[str, bool]) -> str:
    rows = [[check.name, check.state, check.purpose] for check in found]
    parts = [
        f"kernel {platform.release()}, python {platform.python_version()}",
        table(("CHECK", "STATE", "FOR"), rows),
    ]
    proxies = [[mode, "yes" if possible else "no"] for mode, possible in modes.items()]
    parts.append(table(("PROXY MODE", "POSSIBLE HERE"), proxies))
    troubled = sorted((check for check in found if check.problem), key=lambda c: not c.required)
    if troubled:
        lines = [f"{c.name} ({c.state}): {c.problem}\n  mend: {c.remedy}" for c in troubled]
        parts.append("\n".join(lines))
    if any(check.state == "missing" for check in found):
        parts.append("Labs can't run here until what is missing is mended.")
    else:
        parts.append("Labs can run here.")
    return "\n\n".join(parts)
