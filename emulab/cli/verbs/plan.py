"""`emulab plan`: prints what `up` would build."""

from __future__ import annotations

import argparse

from emulab.cli import manifests
from emulab.cli.usage import add_given, add_output, add_validate, given
from emulab.observe.telling.escapes import as_json

TOLD = 3  # lines about what would not get Ready


def configure(parser: argparse.ArgumentParser) -> None:
    add_given(parser)
    add_validate(parser)
    add_output(parser, "json")


def run(options: argparse.Namespace) -> int:
    from emulab.cluster import brought
    from emulab.cluster.admission.loader import Manifest, load
    from emulab.lab.offline import oddities, thought_of
    from emulab.lab.supervisor.readiness import not_ready
    from emulab.plan import render

    sources = manifests.read(given(options))
    manifest = load(sources, validation=options.validate) if sources else Manifest(())
    objects, world = thought_of(manifest.objects)
    manifests.warn_of([*manifest.without_effect, *oddities(objects)], manifest.notes, options.strict)
    manifests.warn([], brought.notes(manifest.objects))
    # What has Pods comes before them.
    missing = sorted(not_ready(objects), key=lambda reason: reason.startswith("Pod "))
    more = [f"and {len(missing) - TOLD} more would not be ready"] if len(missing) > TOLD else []
    manifests.warn([*missing[:TOLD], *more])
    if options.output == "json":
        print(as_json(render.data(world), indent=2))
    else:
        print(render.render(world), end="")
    return 0
