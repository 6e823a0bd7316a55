"""What is tried in a lab to find out whether it is mended: requests, commands, and answers that were written down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from emulab.errors import EmulabError, UserError
from emulab.python import Lab

_PATIENCE = 3.0  # seconds that one try may take


class Trial(NamedTuple):
    """One thing that has to be so. `url` is asked for, or `command` is run by a shell, `times` times, from a place.

    A place is a name, or `pod@NODE`, a pod of a node with the label app=shop. In a command $TARGET is the address of
    `target`, which is such a pod, or `service@NAME`.
    `answer` is what a ConfigMap of that name has to say instead: its key, and what is right: a Pod's field.
    """

    text: str
    source: str
    url: str = ""
    status: int = 200
    body: str = ""
    command: str = ""
    target: str = ""
    fails: bool = False
    times: int = 1
    answer: Mapping[str, str] = {}


def read_trial(raw: Mapping[str, Any]) -> Trial:
    """Raises KeyError and TypeError."""
    return Trial(raw["text"], **{k: v for k, v in {"source": "client", **raw}.items() if k != "text"})


async def holds(lab: Lab, check: Trial) -> str:
    """Why something isn't so; "" when it is."""
    if check.answer:
        return await _answered(lab, check.answer)
    try:
        check = check._replace(
            source=await _source(lab, check.source), target=await _address(lab, check.target)
        )
    except UserError as error:
        return str(error)
    for number in range(check.times):
        why = await (_asked(lab, check) if check.url else _run(lab, check))
        if why:
            return f"{why} (try {number + 1} of {check.times})" if check.times > 1 else why
    return ""


async def _source(lab: Lab, name: str) -> str:
    pod, _, node = name.partition("@")
    return f"pod/{(await _pod(lab, node))['metadata']['name']}" if node and pod == "pod" else name


async def _address(lab: Lab, name: str) -> str:
    kind, _, of = name.partition("@")
    if kind == "pod":
        return str((await _pod(lab, of))["status"]["podIP"])
    if kind == "service":
        found = await lab.get("Service", of, "default")
        return str(found[0]["spec"]["clusterIP"]) if found else ""
    return name


async def _pod(lab: Lab, node: str) -> dict[str, Any]:
    """A pod of the shop on a node. Raises UserError where there is none."""
    for pod in await lab.get("Pod", namespace="default"):
        here = (
            pod["spec"].get("nodeName") == node and (pod["metadata"].get("labels") or {}).get("app") == "shop"
        )
        if here and not pod["metadata"].get("deletionTimestamp") and pod["status"].get("podIP"):
            return pod
    raise UserError(f"no pod of the shop runs on {node}")


async def _asked(lab: Lab, check: Trial) -> str:
    try:
        answer = await lab.request(check.url, source=check.source, timeout=_PATIENCE, verify=False)
    except TimeoutError:
        return f"{check.url} from {check.source}: no answer within {_PATIENCE:.0f} s"
    except (EmulabError, OSError) as error:
        return f"{check.url} from {check.source}: {error}"
    if answer.status != check.status:
        return f"{check.url} from {check.source}: {answer.status}, not {check.status}"
    if check.body not in answer.text():
        return f"{check.url} from {check.source}: its answer doesn't say {check.body!r}"
    return ""


async def _run(lab: Lab, check: Trial) -> str:
    try:
        async with asyncio.timeout(3 * _PATIENCE):
            done = await lab.exec(check.source, "sh", "-c", f"TARGET={check.target}; {check.command}")
    except TimeoutError:
        return f"`{check.command}` at {check.source} hangs"
    except EmulabError as error:
        return str(error)
    if bool(done.status) != check.fails:
        return f"`{check.command}` at {check.source} {'succeeds' if check.fails else 'fails'}"
    return ""


async def _answered(lab: Lab, answer: Mapping[str, str]) -> str:
    found = await lab.get("ConfigMap", answer["configMap"], "default")
    said = str(((found[0].get("data") or {}) if found else {}).get(answer["key"], ""))
    how = f"emulab create configmap {answer['configMap']} --from-literal={answer['key']}=…"
    if not said:
        return f"nothing is written down yet: {how}"
    label, _, value = answer["pod"].partition("=")
    pods = [p for p in await lab.get("Pod") if (p["metadata"].get("labels") or {}).get(label) == value]
    right = {_field(pod, answer["field"]) for pod in pods}
    return "" if said in right else f"{said} is not right"


def _field(o: Any, path: str) -> str:
    for step in path.split("."):
        o = (o or {}).get(step)
    return str(o)
