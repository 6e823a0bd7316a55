"""`emulab create` and `emulab expose`: what they make, in kubectl's words, and what they don't."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab_in_process import Client, connected
from lab_objects import obj

from emulab.cli import creating, main
from emulab.cli.made import job as jobs_of_words
from emulab.cluster.store import Store
from emulab.kinds.registry import CONFIG_MAP, DEPLOYMENT, SECRET, SERVICE


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    store = connected(monkeypatch, "expose")
    monkeypatch.setattr(creating, "connect", lambda _: Client(store))
    return store


def made(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    """What a command line prints as YAML; that needs no lab."""
    capsys.readouterr()
    assert main([*argv, "--dry-run=client", "-o", "yaml"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_a_deployment(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["create", "deployment", "web", "--image=docker.io/team/my_web:1.0@sha256:00", "--replicas", "2"]
    words += ["--port", "80"]
    assert made(capsys, *words) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {
                            "name": "my-web",
                            "image": "docker.io/team/my_web:1.0@sha256:00",
                            "ports": [{"containerPort": 80}],
                        }
                    ]
                },
            },
        },
    }
    assert made(capsys, "-n", "team", *words)["metadata"]["namespace"] == "team"
    assert main(words) == 0
    assert capsys.readouterr().out == "deployment.apps/web created\n"
    assert store.get(DEPLOYMENT.key("default", "web")) is not None
    assert main(words) == 1
    assert (
        capsys.readouterr().err
        == 'Error from server (AlreadyExists): deployments.apps "web" already exists\n'
    )


def test_a_command_goes_behind_dashes(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "deploy", "sl", "--image=busybox", "-o", "name", "--", "sleep", "100"]) == 0
    assert capsys.readouterr().out == "deployment.apps/sl\n"
    there = store.get(DEPLOYMENT.key("default", "sl"))
    assert there is not None
    assert there.spec["template"]["spec"]["containers"][0]["command"] == ["sleep", "100"]


def test_jobs_of_an_image_and_of_a_cron_job(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    container = {"name": "hi", "image": "busybox", "command": ["echo", "hi"]}
    spec = {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}}
    words = ["create", "job", "hi", "--image=busybox", "--dry-run=client", "-o", "yaml", "--", "echo", "hi"]
    assert main(words) == 0
    assert yaml.safe_load(capsys.readouterr().out)["spec"] == spec
    monkeypatch.setattr(jobs_of_words, "connect", lambda _: Client(store))
    template = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": spec}
    store.put(obj("CronJob", "nightly", spec={"schedule": "@daily", "jobTemplate": template}))
    job = made(capsys, "create", "job", "now", "--from=cronjob/nightly")
    annotations = {"cronjob.kubernetes.io/instantiate": "manual", "c": "d"}
    assert job["metadata"] == {"name": "now", "labels": {"a": "b"}, "annotations": annotations}
    assert job["spec"] == spec
    assert main(["create", "job", "now", "--from=cronjob/none"]) == 1
    assert capsys.readouterr().err == 'Error from server (NotFound): cronjobs.batch "none" not found\n'


def test_values_of_files_and_words(store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.conf").write_text("a\n")
    (tmp_path / "conf" / "b.bin").write_bytes(b"\xff")
    words = ["--from-literal=mode=x=y", "--from-file=conf", "--from-file=other=conf/a.conf"]
    settings = made(capsys, "create", "configmap", "settings", *words)
    assert settings["data"] == {"mode": "x=y", "a.conf": "a\n", "other": "a\n"}
    assert settings["binaryData"] == {"b.bin": "/w=="}
    assert main(["create", "cm", "settings", *words]) == 0
    assert store.get(CONFIG_MAP.key("default", "settings")) is not None
    keys = made(capsys, "create", "secret", "tls", "keys", "--cert", "conf/a.conf", "--key", "conf/b.bin")
    assert keys["type"] == "kubernetes.io/tls"
    assert {key: b64decode(value) for key, value in keys["data"].items()} == {
        "tls.crt": b"a\n",
        "tls.key": b"\xff",
    }
    assert main(["create", "secret", "generic", "word", "--from-literal=p=q"]) == 0
    assert store.get(SECRET.key("default", "word")) is not None
    assert main(["create", "ns", "team"]) == 0


def test_of_files_all_are_new_or_nothing_is(
    store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store.put(obj("ConfigMap", "there"))
    texts = [f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n" for name in ("new", "there")]
    (tmp_path / "two.yaml").write_text("---\n".join(texts))
    assert main(["create", "-f", "two.yaml"]) == 1
    assert capsys.readouterr().err == (
        'Error from server (AlreadyExists): error when creating "two.yaml": configmaps "there" already exists\n'
    )
    assert store.get(CONFIG_MAP.key("default", "new")) is None
    (tmp_path / "two.yaml").write_text(texts[0])
    assert main(["create", "-f", "two.yaml", "--dry-run=server"]) == 0
    assert capsys.readouterr().out == "configmap/new created (server dry run)\n"
    assert main(["create", "-f", "two.yaml"]) == 0
    assert capsys.readouterr().out == "configmap/new created\n"


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        ("create", 2, "create needs either -f FILE or KIND NAME"),
        ("create deployment", 2, "exactly one NAME is required, got 0"),
        ("create deployment a", 2, 'required flag(s) "image" not set'),
        ("create deployment a --image=x --cert=y", 2, "create deployment takes no --cert"),
        ("create deployment a --image=x --image=y -- z", 2, "cannot specify multiple --image options and command"),
        ("create job a", 2, "either --image or --from must be specified"),
        ("create job a --image=x --from=cj/y", 2, "either --image or --from must be specified"),
        ("create job a --from=cj/y -- z", 2, "cannot specify --from and command"),
        ("create job a --from=deploy/y", 2, "from must be an existing cronjob: --from cronjob/NAME"),
        ("create ns a --from=cj/y", 2, "create ns takes no --from"),
        ("create secret a", 2, "write create secret generic NAME or create secret tls NAME"),
        ("create cm a --from-literal=x", 2, "invalid literal source x, expected key=value"),
        ("create cm a --from-file=none", 1, "none: No such file or directory"),
        ("create -f x.yaml --image=y", 2, "-f FILE takes no --image"),
        ("expose ingress/x", 2, "cannot expose a Ingress"),
    ],
)  # fmt: skip
def test_what_is_wrong(
    store: Store, capsys: pytest.CaptureFixture[str], words: str, status: int, error: str
) -> None:
    assert main(words.split()) == status
    assert capsys.readouterr().err == f"emulab: {error}\n"


PORTS = [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]


def deployment(ports: list[dict[str, Any]], **selector: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]},
    }
    return {"selector": {"matchLabels": {"app": "web"}, **selector}, "template": template}


def test_a_service_of_a_deployment(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.put(obj("Deployment", "web", spec=deployment(PORTS), metadata={"labels": {"tier": "front"}}))
    assert made(capsys, "expose", "deploy/web") == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "labels": {"tier": "front"}},
        "spec": {
            "selector": {"app": "web"},
            "ports": [
                {"name": "port-1", "port": 80, "protocol": "TCP", "targetPort": 80},
                {"name": "port-2", "port": 53, "protocol": "UDP", "targetPort": 53},
            ],
        },
    }
    words = (
        "--port 8080 --target-port http --name front --type NodePort --labels a=b --session-affinity ClientIP"
    )
    exposed = made(capsys, "expose", "deployment", "web", *words.split())
    assert exposed["metadata"] == {"name": "front", "labels": {"a": "b"}}
    assert exposed["spec"] == {
        "selector": {"app": "web"},
        "ports": [{"port": 8080, "protocol": "TCP", "targetPort": "http"}],
        "type": "NodePort",
        "sessionAffinity": "ClientIP",
    }
    assert main(["expose", "deploy/web"]) == 0
    assert capsys.readouterr().out == "service/web exposed\n"
    there = store.get(SERVICE.key("default", "web"))
    assert there is not None and len(there.spec["ports"]) == 2
    assert main(["expose", "deploy/web"]) == 1
    assert capsys.readouterr().err == 'Error from server (AlreadyExists): services "web" already exists\n'
    again = made(capsys, "expose", "svc/web", "--name", "again", "--port", "81")
    assert again["spec"]["selector"] == {"app": "web"}


def test_what_cannot_be_exposed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    expressions = [{"key": "app", "operator": "Exists"}]
    store.put(obj("Deployment", "odd", spec=deployment(PORTS, matchExpressions=expressions)))
    store.put(obj("Deployment", "web", spec=deployment([])))
    store.put(obj("Pod", "bare", spec={"containers": [{"name": "c", "image": "i"}]}))
    for words, error in (
        ("deploy/web", "emulab: couldn't find port via --port flag or introspection"),
        (
            "deploy/odd",
            "emulab: couldn't retrieve selectors via --selector flag or introspection: couldn't convert expressions to"
            " map-based selector format",
        ),
        (
            "pod/bare --port 80",
            "emulab: couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot"
            " be exposed",
        ),
        ("deploy/none", 'Error from server (NotFound): deployments.apps "none" not found'),
    ):
        assert main(["expose", *words.split()]) != 0
        assert capsys.readouterr().err == f"{error}\n"
    headless = made(capsys, "expose", "deploy/web", "--cluster-ip=None")
    assert headless["spec"] == {"selector": {"app": "web"}, "clusterIP": "None"}


def test_kubectls_run_is_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-it", "--image", "busybox", "x", "--restart=Never"]) == 2
    assert "`emulab exec` runs any program" in capsys.readouterr().err


def test_a_name_of_several_kinds(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.put(obj("Deployment", "web", spec=deployment(PORTS)))
    assert main(["expose", "deploy", "web"]) == 0
    capsys.readouterr()
    from emulab.cli.kinds import references

    assert [(r.kind, r.name) for r in references(["deployments,svc", "web"])] == [
        (DEPLOYMENT, "web"),
        (SERVICE, "web"),
    ]
