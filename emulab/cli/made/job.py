"""What `create job` makes: a Job of a CronJob's template, or of an image and a command (kubectl's create_job.go).

kubectl's Job of a CronJob also names it as an owner that isn't its controller, which nothing here would heed.
"""

from __future__ import annotations

import argparse

from emulab.cli.creating import placed
from emulab.cli.kinds import Reference, find, not_found
from emulab.cli.made import words
from emulab.cli.selection import fetch
from emulab.cli.usage import ServerRefusal, UsageError
from emulab.kinds.registry import CRON_JOB, JOB
from emulab.lab.client.client import connect

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any

_INSTANTIATE = "cronjob.kubernetes.io/instantiate"


def manifest(options: argparse.Namespace) -> dict[str, Any]:
    """Raises UsageError, and ServerRefusal where there is no such CronJob."""
    (name,) = words(options, 1, "image", "source", "command")
    if bool(options.source) == bool(options.image):
        raise UsageError("either --image or --from must be specified")
    if options.source:
        if options.command:
            raise UsageError("cannot specify --from and command")
        return _of_cron_job(options, name)
    if len(options.image) > 1:
        raise UsageError("a Job has one --image")
    container: dict[str, Any] = {"name": name, "image": options.image[0]}
    if options.command:
        container["command"] = options.command
    spec = {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}}
    return {**placed(JOB, name, options.namespace), "spec": spec}


def _of_cron_job(options: argparse.Namespace, name: str) -> dict[str, Any]:
    word, slash, cron = options.source.partition("/")
    if not (slash and cron) or find(word) != CRON_JOB:
        raise UsageError("from must be an existing cronjob: --from cronjob/NAME")
    reference = Reference(CRON_JOB, cron)
    with connect(options.lab) as client:
        found = fetch(client, reference, options.namespace)
    if not found:
        raise ServerRefusal(not_found(reference))
    template = found[0]["spec"]["jobTemplate"]
    given = template.get("metadata") or {}
    made = placed(JOB, name, options.namespace, given.get("labels"))
    made["metadata"]["annotations"] = {_INSTANTIATE: "manual", **(given.get("annotations") or {})}
    return {**made, "spec": template["spec"]}
