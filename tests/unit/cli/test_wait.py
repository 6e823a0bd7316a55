"""`emulab wait`, `rollout` and `events`: when they end, and what they say, in kubectl's words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab_in_process import Client, connected
from lab_objects import obj

from emulab.cli import main
from emulab.cluster.store import Store, timestamp
from emulab.errors import UserError
from emulab.kinds.registry import DEPLOYMENT, POD, REPLICA_SET
from emulab.lab.client.conditions import parse_awaited

READY = {"conditions": [{"type": "Ready", "status": "True"}]}
WEB = POD.key("default", "web")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("EMULAB_LAB", raising=False)
    store = connected(monkeypatch, "wait", "rollout", "events", "describe")
    for name in ("web", "db"):
        pod = obj("Pod", name, metadata={"labels": {"app": name}})
        store.put(pod.replace(spec={"containers": [{"name": "c"}]}))
    return store


def later(store: Store, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """Lets each step happen while changes are waited for."""
    left = list(steps)
    ask = Client.request

    def request(self: Client, op: str, on_progress: Any = None, **arguments: Any) -> Any:
        if op == "watch" and "since" in arguments and left:
            left.pop(0)()
        return ask(self, op, on_progress, **arguments)

    monkeypatch.setattr(Client, "request", request)


def test_conditions(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    later(store, monkeypatch, lambda: store.put_status(WEB, READY))
    assert main(["wait", "--for=condition=ready", "pod/web"]) == 0
    assert main(["wait", "--for", "condition=Ready=False", "pod", "web", "--timeout=0"]) == 1
    assert main(["wait", "--for=condition=Ready", "pods", "--all", "--timeout", "10ms"]) == 1
    assert main(["wait", "--for=condition=Ready", "pods", "-l", "app=web"]) == 0
    out, err = capsys.readouterr()
    assert out == "pod/web condition met\n" * 3
    assert err == (
        "emulab: timed out waiting for the condition on pods/web\n"
        "emulab: timed out waiting for the condition on pods/db\n"
    )


def test_what_goes_and_what_comes(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    later(
        *(store, monkeypatch),
        lambda: store.remove(WEB),
        lambda: store.put(obj("ConfigMap", "cm")),
        lambda: store.remove(POD.key("default", "db")),
    )
    assert main(["wait", "--for=delete", "pod/web", "--timeout=-1s"]) == 0
    assert main(["wait", "--for=delete", "pod/web"]) == 0
    assert main(["wait", "--for=create", "cm/cm"]) == 0
    assert main(["wait", "--for=condition=Ready", "pod/db"]) == 1
    assert main(["wait", "--for=condition=Ready", "pod/db"]) == 1
    assert main(["wait", "--for=create", "cm/other", "--timeout=1ms"]) == 1
    out, err = capsys.readouterr()
    assert out == "pod/web condition met\nconfigmap/cm condition met\n"
    assert err == (
        'Error from server (NotFound): pods "db" not found\n' * 2
        + "emulab: timed out waiting for the condition on configmaps/other\n"
    )


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (["--for=foo", "pod/web"], 2, 'unrecognized condition: "foo"'),
        (["--for=condition=Ready", "pods"], 2, "resource(s) were provided, but no name was specified"),
        (["--for=condition=Ready", "pods", "-l", "a=b"], 1, "no matching resources found"),
        (
            ["--for=jsonpath={.status.phase}=", "pod/web"],
            2,
            "jsonpath wait has to have a value after equal sign",
        ),
        (
            ["--for=jsonpath={.metadata['name','uid']}", "pod/web"],
            1,
            "given jsonpath expression matches more than one value",
        ),
        (
            ["--for=jsonpath={.metadata}=x", "pod/web"],
            1,
            "jsonpath leads to a nested object or list which is not supported",
        ),
    ],
)
def test_what_cannot_be_waited_for(
    store: Store, words: list[str], status: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wait", *words]) == status
    assert capsys.readouterr() == ("", f"emulab: {error}\n")


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("jsonpath={.status.phase}=Running", True),
        ("jsonpath='{.status.phase}'=Running", True),
        ("jsonpath=.status.phase='Running'", True),
        ("jsonpath={.status.phase}", True),
        ("jsonpath={.status.gone}", False),
        ("jsonpath={.status.replicas}=3", True),
        ('jsonpath={.status.conditions[?(@.type=="Ready")].status}=True', True),
        ("jsonpath={.status.conditions[7].status}=True", False),
        ("condition=READY", True),
        ("condition=Ready=true", True),
        ("condition=Other", False),
    ],
)
def test_how_an_object_shall_be(text: str, met: bool) -> None:
    o = {"metadata": {"generation": 1}, "status": {"phase": "Running", "replicas": 3, **READY}}
    found = parse_awaited(text).met
    assert found is not None and found(o) == met


def test_a_condition_of_an_older_generation_says_nothing() -> None:
    met = parse_awaited("condition=Ready").met
    assert met is not None
    o: dict[str, Any] = {"metadata": {"generation": 2}, "status": {"observedGeneration": 1, **READY}}
    assert not met(o)
    o["status"]["observedGeneration"] = 2
    assert met(o)
    with pytest.raises(UserError, match="unrecognized condition"):
        parse_awaited("condition")


def workload(kind: str, status: dict[str, Any], **spec: Any) -> Any:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "one"}]},
    }
    given = {"selector": {"matchLabels": {"app": "web"}}, "template": template, "replicas": 3, **spec}
    return obj(kind, "web").replace(spec=given, status=status)


def put(store: Store, o: Any) -> None:
    store.put(o)
    store.put_status(o.key, {"observedGeneration": 9, **o.status})


DONE = {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "readyReplicas": 3}


@pytest.mark.parametrize(
    ("kind", "spec", "status", "text"),
    [
        ("Deployment", {}, {"updatedReplicas": 1}, "1 out of 3 new replicas have been updated..."),
        ("Deployment", {}, {**DONE, "replicas": 5}, "2 old replicas are pending termination..."),
        ("Deployment", {}, {**DONE, "availableReplicas": 2}, "2 of 3 updated replicas are available..."),
        ("Deployment", {}, DONE, 'deployment "web" successfully rolled out'),
        ("Deployment", {}, {"observedGeneration": 0}, "Waiting for deployment spec update to be observed..."),
        (
            "DaemonSet",
            {},
            {"desiredNumberScheduled": 2, "updatedNumberScheduled": 1},
            'Waiting for daemon set "web" rollout to finish: 1 out of 2 new pods have been updated...',
        ),
        (
            "DaemonSet",
            {},
            {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1},
            "1 of 2 updated pods are available...",
        ),
        ("DaemonSet", {}, {}, 'daemon set "web" successfully rolled out'),
        ("StatefulSet", {}, {"readyReplicas": 1}, "Waiting for 2 pods to be ready..."),
        (
            "StatefulSet",
            {"updateStrategy": {"rollingUpdate": {"partition": 1}}},
            {**DONE, "updatedReplicas": 0},
            "Waiting for partitioned roll out to finish: 0 out of 2 new pods have been updated...",
        ),
        ("StatefulSet", {}, DONE, "partitioned roll out complete: 3 new pods have been updated..."),
    ],
)
def test_how_far_a_rollout_is(
    store: Store,
    kind: str,
    spec: dict[str, Any],
    status: dict[str, Any],
    text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(store, workload(kind, status, **spec))
    assert main(["rollout", "status", f"{kind}/web", "--watch=false"]) == 0
    assert capsys.readouterr().out.endswith(f"{text}\n")


def test_a_rollout_is_followed_to_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = workload("Deployment", {"updatedReplicas": 1})
    put(store, deployment)
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    later(
        *(store, monkeypatch),
        lambda: store.set_status(deployment.key, updatedReplicas=2),
        lambda: store.set_status(deployment.key, replicas=3, readyReplicas=3),
        lambda: store.set_status(deployment.key, **DONE),
    )
    assert main(["rollout", "status", "deploy/web"]) == 0
    assert [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "1 out of 3 new replicas have been updated...",
        "2 out of 3 new replicas have been updated...",
        "",
    ]
    store.set_status(deployment.key, updatedReplicas=0)
    assert main(["rollout", "status", "deploy/web", "--timeout", "10ms"]) == 1
    assert capsys.readouterr().err == "emulab: timed out waiting for the condition\n"
    store.set_status(deployment.key, conditions=[late])
    assert main(["rollout", "status", "deploy/web"]) == 1
    assert capsys.readouterr().err == 'emulab: deployment "web" exceeded its progress deadline\n'


def test_a_rollout_that_cannot_be_followed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, workload("DaemonSet", {}, updateStrategy={"type": "OnDelete"}))
    assert main(["rollout", "status", "ds/web"]) == 1
    assert main(["rollout", "status", "deploy/nix"]) == 1
    assert main(["rollout", "restart", "pod/web"]) == 1
    assert capsys.readouterr().err == (
        "emulab: rollout status is only available for RollingUpdate strategy type\n"
        'Error from server (NotFound): deployments.apps "nix" not found\n'
        'emulab: pods "web" restarting is not supported\n'
    )


def test_a_new_rollout(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    key = DEPLOYMENT.key("default", "web")
    put(store, workload("Deployment", DONE))
    assert main(["rollout", "restart", "deploy/web"]) == 0
    restarted = store.get(key)
    assert restarted is not None
    metadata = restarted.spec["template"]["metadata"]
    assert metadata["labels"] == {"app": "web"}
    assert list(metadata["annotations"]) == ["kubectl.kubernetes.io/restartedAt"]
    for word in ("pause", "pause", "restart", "resume", "resume"):
        main(["rollout", word, "deploy/web"])
    assert capsys.readouterr() == (
        "deployment.apps/web restarted\ndeployment.apps/web paused\ndeployment.apps/web resumed\n",
        'emulab: deployments.apps "web" is already paused\n'
        'emulab: deployments.apps "web" can\'t restart paused deployment (run rollout resume first)\n'
        'emulab: deployments.apps "web" is not paused\n',
    )
    now = store.get(key)
    assert now is not None and "paused" not in now.spec


def test_an_older_revision_comes_back(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    put(store, workload("Deployment", DONE))
    deployment = store.get(DEPLOYMENT.key("default", "web"))
    assert deployment is not None
    for revision, image in (("1", "old"), ("2", "one")):
        template = {
            "metadata": {"labels": {"app": "web", "pod-template-hash": image}},
            "spec": {"containers": [{"name": "c", "image": image}]},
        }
        metadata = {
            "annotations": {"deployment.kubernetes.io/revision": revision},
            "ownerReferences": [{"uid": deployment.metadata["uid"], "kind": "Deployment", "name": "web"}],
        }
        rs = obj("ReplicaSet", f"web-{image}", metadata=metadata)
        store.put(rs.replace(spec={**deployment.spec, "template": template}))
    assert len(store.objects().kind(REPLICA_SET)) == 2
    assert main(["rollout", "history", "deploy/web"]) == 0
    assert main(["rollout", "undo", "deploy/web", "--to-revision", "2"]) == 0
    assert main(["rollout", "undo", "deploy/web", "--to-revision", "7"]) == 1
    assert main(["rollout", "undo", "deploy/web"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "deployment.apps/web ",
        "REVISION  CHANGE-CAUSE",
        "1         <none>",
        "2         <none>",
        "",
        "deployment.apps/web skipped rollback (current template already matches revision 2)",
        "deployment.apps/web rolled back",
    ]
    assert err == "emulab: unable to find specified revision 7 in history\n"
    now = store.get(deployment.key)
    assert now is not None
    assert now.spec["template"]["spec"]["containers"] == [{"name": "c", "image": "old"}]
    assert now.spec["template"]["metadata"] == {"labels": {"app": "web"}}


def test_what_cannot_be_is_not_patched(store: Store) -> None:
    put(store, workload("Deployment", DONE))
    client = Client(store)
    key = {"group": "apps", "kind": "Deployment", "namespace": "default", "name": "web"}
    with pytest.raises(UserError, match=r"replicas"):
        client.request("patch", **key, spec={"replicas": "many"})


def event(name: str, about: Any, seconds: float, **fields: Any) -> Any:
    involved = {"kind": about.kind, "name": about.name, "uid": about.metadata["uid"]}
    given = {"type": "Normal", "reason": "R", "message": f" {name} ", "lastTimestamp": timestamp(seconds)}
    return obj("Event", name).replace(
        involvedObject=involved, source={"component": "kubelet"}, **given | fields
    )


def test_events(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    web, db = (store.get(POD.key("default", name)) for name in ("web", "db"))
    assert web is not None and db is not None
    assert main(["events"]) == 0
    assert main(["events", "-A", "--types", "Warning"]) == 0
    assert capsys.readouterr().err == "No events found in default namespace.\nNo events found.\n"
    store.put(event("a-last", web, 990, count=3, firstTimestamp=timestamp(880)))
    store.put(event("b-first", db, 980, type="Warning"))
    assert main(["events"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "LAST SEEN          TYPE      REASON   OBJECT    MESSAGE",
        "20s                Warning   R        Pod/db    b-first",
        "10s (x3 over 2m)   Normal    R        Pod/web   a-last",
    ]
    assert main(["events", "--for", "pod/db", "--no-headers"]) == 0
    assert capsys.readouterr().out == "20s   Warning   R     Pod/db   b-first\n"
    assert main(["events", "--types=normal", "-A"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "default"
    assert main(["events", "--types=bad"]) == 2
    assert main(["events", "--for=web"]) == 2
    assert capsys.readouterr().err == (
        "emulab: valid --types are Normal or Warning\nemulab: --for must be in resource/name form\n"
    )
    assert main(["describe", "pod", "web"]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "Events:",
        "  Type    Reason  Age               From     Message",
        "  ----    ------  ----              ----     -------",
        "  Normal  R       10s (x3 over 2m)  kubelet  a-last",
    ]
    assert main(["describe", "pod", "db"]) == 0
