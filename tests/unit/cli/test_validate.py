"""`--validate`, as kubectl has it, wherever manifests are given."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from lab_in_process import connected

from emulab.cli import main
from emulab.cluster.store import Store
from emulab.kinds.registry import CONFIG_MAP

TEXT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndate: {}\ndata: {k: one, k: two}\n"
UNKNOWN = 'f.yaml:4: ConfigMap/a: unknown field "date"; did you mean data?'
TWICE = 'f.yaml:5: the key "k" was already given on line 5; the last counts'


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(TEXT)
    return connected(monkeypatch, "apply", "delete", "get")


def emulab(*words: str) -> int:
    try:
        return main(list(words))
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize("flags", [[], ["--validate"], ["--validate=strict"], ["--validate=true"]])
def test_strict(store: Store, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("f.yaml").write_text(TEXT.replace(", k: two", ""))
    assert emulab("apply", *flags, "-f", "f.yaml") == emulab("plan", *flags, "f.yaml") == 1
    assert capsys.readouterr() == ("", f"emulab: {UNKNOWN}\n" * 2)
    assert not store.objects().kind(CONFIG_MAP)


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("warn", f"warning: {TWICE}\nwarning: {UNKNOWN}\n"),
        ("ignore", ""),
        ("false", ""),
    ],
)
def test_leaving_out(store: Store, flag: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert emulab("apply", f"--validate={flag}", "-f", "f.yaml") == 0
    assert capsys.readouterr() == ("configmap/a created\n", told)
    # The lab has a ConfigMap of its own, that of the ingress controller.
    (o,) = (o for o in store.objects().kind(CONFIG_MAP) if o.namespace == "default")
    assert o.raw.keys() == {"apiVersion", "kind", "metadata", "data"} and o.raw["data"] == {"k": "two"}
    assert emulab("plan", f"--validate={flag}", "f.yaml") == 0
    assert capsys.readouterr().err == told


def test_another_word_is_wrong_usage(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert emulab("apply", "--validate=maybe", "-f", "f.yaml") == 2
    told = "argument --validate: 'maybe' is not one of strict, true, warn, ignore, false"
    assert capsys.readouterr().err.startswith(f"emulab apply: {told}\n")


def test_what_is_deleted_is_not_validated(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert emulab("apply", "--validate=ignore", "-f", "f.yaml") == 0
    assert emulab("delete", "-f", "f.yaml") == 0
    assert capsys.readouterr().out.endswith('configmap "a" deleted from default namespace\n')


ACCOUNT = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n"
ROLLOUT = "---\napiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: r}\n"
NOTED = "1 ServiceAccount: kept, without effect"
WARNED = "f.yaml:5: Rollout/r would make pods; it makes none here"


def test_warnings_and_notes(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    Path("f.yaml").write_text(ACCOUNT + ROLLOUT)
    assert emulab("apply", "-f", "f.yaml") == 0
    told = f"warning: {WARNED}\nnote: {NOTED}\n"
    assert capsys.readouterr() == ("serviceaccount/a created\nrollout.argoproj.io/r created\n", told)
    assert emulab("plan", "f.yaml") == 0
    assert capsys.readouterr().err == told


def test_strict_makes_them_errors_and_changes_nothing(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("f.yaml").write_text(ACCOUNT + ROLLOUT)
    for verb in (["apply", "-f"], ["plan"]):
        assert emulab(*verb, "f.yaml", "--strict") == 1
        assert capsys.readouterr() == ("", f"emulab: {WARNED}\n{NOTED}\n")
    assert not list(store.objects())
    Path("f.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    assert emulab("apply", "-f", "f.yaml", "--strict") == 0


def test_kept_objects_are_shown(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    Path("f.yaml").write_text(ACCOUNT + ROLLOUT)
    assert emulab("apply", "-f", "f.yaml") == 0
    capsys.readouterr()
    for name in ("sa", "rollouts", "rollout.argoproj.io"):
        assert emulab("get", name, "-o", "name") == 0
    assert capsys.readouterr().out.split() == ["serviceaccount/a", *["rollout.argoproj.io/r"] * 2]
    assert emulab("get", "sa") == 0
    assert capsys.readouterr().out.startswith("NAME   AGE\na      ")
    assert emulab("get", "rolouts") == 2
    assert "there is no kind 'rolouts'" in capsys.readouterr().err


def test_the_lab_is_asked_for_kinds_that_the_registry_has_not(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    class Lab:
        def request(self, op: str) -> list[list[object]]:
            asked.append(op)
            return [["zoo.example.com/v1", "Otter", "otters", True, "ot"]]

    monkeypatch.setattr("emulab.cli.kinds.connect", lambda name: nullcontext(Lab()))
    assert emulab("get", "ot") == 0 and asked == ["kinds"]
    assert capsys.readouterr().err == "No resources found in default namespace.\n"
    assert emulab("get", "sa") == 0 and asked == ["kinds"]


def test_an_address_on_the_web_is_refused(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    url = "https://example.com/web.yaml"
    for verb in (["apply", "-f"], ["plan"]):
        assert emulab(*verb, url) == 1
        assert capsys.readouterr().err == (
            f"emulab: {url}: a lab fetches nothing; write - for it, and pipe it in: curl -fsSL {url} | emulab …\n"
        )


def test_a_kustomization_is_refused_and_folders_are_read_whole(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path("app/inner")
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(ACCOUNT)
    assert emulab("apply", "-R", "-f", "app") == emulab("apply", "-f", "app") == 0
    capsys.readouterr()
    (folder / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    for given in ("app", "app/inner/kustomization.yaml"):
        assert emulab("apply", "-f", given) == 1
        assert capsys.readouterr().err == (
            "emulab: app/inner/kustomization.yaml: this is a kustomization; write -k app/inner, or - and pipe in what "
            "it makes: kubectl kustomize app/inner | emulab …\n"
        )


def test_a_chart_and_an_empty_name_are_no_manifests(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    Path("chart/templates").mkdir(parents=True)
    Path("chart/Chart.yaml").write_text("apiVersion: v2\nname: a\n")
    for given in ("chart", "chart/Chart.yaml"):
        assert emulab("apply", "-f", given) == 1
        assert capsys.readouterr().err == (
            "emulab: chart/Chart.yaml: this is a Helm chart; write - and pipe in what it makes:"
            " helm template chart | emulab …\n"
        )
    assert emulab("apply", "-f", "") == 1  # "$FILE" of a shell in which it isn't set
    assert capsys.readouterr().err == "emulab: the name of a manifest is empty\n"


def program(name: str, script: str) -> None:
    """A program of that name in the folder `bin`, which is all that PATH has."""
    path = Path("bin", name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_kustomizations(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "bin")
    Path("app").mkdir()
    assert emulab("apply", "-k", "f.yaml") == emulab("apply", "-k", "app") == 1
    assert capsys.readouterr().err.splitlines() == [
        "emulab: f.yaml: -k takes a folder with a kustomization, and this is none",
        "emulab: app: neither kubectl nor kustomize is on this machine, one of which -k needs; install one, or give "
        "what it makes elsewhere: kubectl kustomize app > made.yaml",
    ]
    made = "apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: of-%s}\\n"
    program("kustomize", f"""printf '{made}' "$1-$2" """)
    assert emulab("apply", "-k", "app") == 0
    program("kubectl", f"""echo '# old' >&2; printf '{made}date: 1\n' "$1-$2" """)  # asked first of both
    assert emulab("apply", "-k", "app", "-f", "f.yaml", "--validate=ignore") == 0
    assert capsys.readouterr() == (
        "configmap/of-build-app created\nconfigmap/of-kustomize-app created\nconfigmap/a created\n",
        "# old\n",
    )
    assert emulab("apply", "--kustomize", "app") == 1
    told = '(kubectl kustomize app):4: ConfigMap/of-kustomize-app: unknown field "date"; did you mean data?'
    assert capsys.readouterr().err == f"# old\nemulab: {told}\n"


@pytest.mark.parametrize(
    "said",
    [
        'E1129 10:34:27.583303 1 run.go:72] "command failed" err="nothing in app"',
        "error: nothing in app",
        "Error: nothing in app",
    ],
)
def test_what_kustomize_has_against_a_folder(
    store: Store, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "bin")
    Path("app").mkdir()
    program("kubectl", f"echo '{said}' >&2; exit 3")
    for verb in ("apply", "delete", "get", "plan", "diff"):
        assert emulab(verb, "-k", "app") == (2 if verb == "diff" else 1)
        assert capsys.readouterr() == ("", "emulab: app: kubectl kustomize: nothing in app\n")


@pytest.mark.parametrize("verb", ["apply", "diff"])
def test_without_files(store: Store, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert emulab(verb) == 2
    assert capsys.readouterr().err == "emulab: must specify one of -f and -k\n"
    assert emulab("run", "--", "true") == 2
    assert capsys.readouterr().err == "emulab: run needs FILE or -k DIR: the manifests of its lab\n"


def test_applying_from_the_servers_side(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    ours = ("apply", "--server-side", "--field-manager", "me", "--validate=ignore", "-f", "f.yaml")
    assert emulab(*ours) == emulab(*ours, "--force-conflicts", "--dry-run=server") == 0
    assert capsys.readouterr() == (
        "configmap/a serverside-applied\nconfigmap/a serverside-applied (server dry run)\n",
        "note: a lab keeps no managers of fields: --server-side merges as `apply` does without it, and is in conflict"
        " with nobody\n",
    )
    assert emulab(*ours, "--dry-run=client") == emulab("apply", "-f", "f.yaml", "--force-conflicts") == 2
    assert capsys.readouterr().err == (
        "emulab: --dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)\n"
        "emulab: --force-conflicts only works with --server-side\n"
    )
