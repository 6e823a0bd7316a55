"""LimitRanges and ResourceQuotas in a lab: defaults in Pods, refusals in the API server's words, and what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emulab import Lab

from .tools import emulab, eventually, pods

pytestmark = pytest.mark.asyncio(loop_scope="module")


def made(kind: str, name: str, spec: Any, api: str = "v1") -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}


CONTAINER = {"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]}
LIMITS = made("LimitRange", "limits", {"limits": [{"type": "Container", "default": {"cpu": "500m"}}]})
QUOTA = made("ResourceQuota", "quota", {"hard": {"pods": "2", "limits.cpu": "2"}})
WEB = made(
    "Deployment",
    "web",
    {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [CONTAINER]},
        },
    },
    "apps/v1",
)


async def test_a_namespace_has_so_much_and_no_more(tmp_path: Path) -> None:
    async with Lab.from_text(json.dumps(LIMITS)) as lab:
        await lab.apply(json.dumps(QUOTA))
        await lab.apply(json.dumps(WEB), ready=False)

        async def used() -> bool:
            (quota,) = await lab.get("ResourceQuota", "quota")
            return bool(quota.get("status", {}).get("used") == {"pods": "2", "limits.cpu": "1"})

        await eventually(used)
        assert [pod["spec"]["containers"][0]["resources"] for pod in await pods(lab, app="web")] == [
            {"requests": {"cpu": "500m"}, "limits": {"cpu": "500m"}}
        ] * 2
        shown = (await emulab("-l", lab.name, "get", "quota")).text.splitlines()
        assert shown[0].split() == ["NAME", "REQUEST", "LIMIT", "AGE"]
        assert shown[1].split()[:5] == ["quota", "pods:", "2/2", "limits.cpu:", "1/2"]
        why = "is forbidden: exceeded quota: quota, requested: pods=1, used: pods=2, limited: pods=2"

        async def told() -> bool:
            events = await lab.events()
            return any(event["reason"] == "FailedCreate" and why in event["message"] for event in events)

        await eventually(told)
        file = tmp_path / "pod.yaml"
        file.write_text(json.dumps(made("Pod", "more", {"containers": [CONTAINER]})))
        refused = await emulab("-l", lab.name, "apply", "-f", str(file))
        assert refused.status == 1 and f'pods "more" {why}' in refused.stderr.decode()
        await lab.delete("ResourceQuota", "quota")

        async def all_there() -> bool:
            return len(await pods(lab, app="web")) == 3

        await eventually(all_there)
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
        await lab.apply(json.dumps(made("Service", "web", spec)))
        shown = (await emulab("-l", lab.name, "get", "endpoints", "web")).text.splitlines()
        assert shown[0].split() == ["NAME", "ENDPOINTS", "AGE"]
        addresses = sorted(f"{pod['status']['podIP']}:8080" for pod in await pods(lab, app="web"))
        assert sorted(shown[1].split()[1].split(",")) == addresses
