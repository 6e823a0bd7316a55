"""What a newcomer could try in a fresh lab. Pure, but for which lab is meant without a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emulab.lab.client import commandline


def hints(
    lab: str,
    ingresses: Sequence[Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    places: Iterable[str],
    rules_shown_by: str,
) -> list[str]:
    """Commands that work in this lab, the most telling first.

    `rules_shown_by`: the command that shows on a node where Services lead.
    """
    emulab = commandline.begun(lab)
    node = next((str(o["metadata"]["name"]) for o in nodes), "")
    pod = next(
        (name for name in places if "." in name and not name.startswith(("kube-system.", "ingress-nginx."))),
        "",
    )
    found = []
    url = _url(ingresses)
    if url and "client" in places:
        found.append(f"{emulab} exec client -- curl -s {url}")
    found.append(f"{emulab} get pods -A -o wide")
    if pod:
        namespace, _, name = pod.partition(".")
        where = "" if namespace == "default" else f"-n {namespace} "
        found.append(f"{emulab} exec {where}pod/{name} -- cat /etc/resolv.conf")
    if node:
        found.append(f"{emulab} exec {node} -- {rules_shown_by}")
    found.append(f"{emulab} down")
    return found


def _url(ingresses: Sequence[Mapping[str, Any]]) -> str:
    """The first URL that an Ingress on the public balancer answers."""
    for ingress in ingresses:
        if (ingress["metadata"].get("annotations") or {}).get("emulab.dev/load-balancer"):
            continue  # not to be reached from the default client, perhaps
        spec = ingress.get("spec") or {}
        for rule in spec.get("rules") or ():
            host = str(rule.get("host") or "")
            if not host:
                continue
            host = host.replace("*", "www", 1)
            paths = [p.get("path") or "/" for p in (rule.get("http") or {}).get("paths") or ()]
            path = next((p for p in paths if all(c.isalnum() or c in "/-_." for c in p)), "/")
            return f"-k https://{host}{path}" if spec.get("tls") else f"http://{host}{path}"
    return ""
