"""What workloads have been, and what becomes of what they own: in a lab, by the command line."""

from __future__ import annotations

from emulab import Lab

from .tools import emulab

SETS = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, annotations: {kubernetes.io/change-cause: CAUSE}}
spec:
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: "example/db:TAG"}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: "example/agent:TAG"}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: "example/web:TAG"}]}
"""


def of(tag: str) -> str:
    return SETS.replace("TAG", tag).replace("CAUSE", f"to {tag}")


async def test_a_rollout_goes_back_to_what_there_was() -> None:
    async with Lab.from_text(of("1")) as lab:
        await lab.apply(of("2"))
        for name in ("sts/db", "ds/agent", "deploy/web"):
            assert (await emulab("-l", lab.name, "rollout", "undo", name)).status == 0
            assert (await emulab("-l", lab.name, "rollout", "status", name)).status == 0
        pods = await lab.get("pods", namespace="default")
        ready = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        assert {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in ready} == {"1"}
        history = (await emulab("-l", lab.name, "rollout", "history", "sts/db")).text.splitlines()
        assert [line.split(maxsplit=1) for line in history[2:4]] == [["2", "to 2"], ["3", "to 1"]]
        revisions = await lab.get("controllerrevisions")
        assert sorted(r["revision"] for r in revisions) == [2, 2, 3, 3]


async def test_what_is_owned_goes_before_its_owner_or_stays_for_the_next() -> None:
    async with Lab.from_text(of("1")) as lab:
        gone = await emulab("-l", lab.name, "delete", "deploy", "web", "--cascade=foreground")
        assert gone.status == 0, gone.stderr
        left = await lab.get("pods", namespace="default")
        assert not [
            pod for pod in left if pod["metadata"]["labels"]["app"] == "web"
        ]  # it has waited for them
        before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in left}
        for name in ("sts/db", "ds/agent"):
            done = await emulab("-l", lab.name, "delete", name, "--cascade=orphan")
            assert done.status == 0, done.stderr
        await lab.apply(of("1"))
        pods = {pod["metadata"]["name"]: pod for pod in await lab.get("pods", namespace="default")}
        assert {name: pods[name]["metadata"]["uid"] for name in before} == before
        owners = {pods[name]["metadata"]["ownerReferences"][0]["name"] for name in before}
        assert owners == {"db", "agent"}
