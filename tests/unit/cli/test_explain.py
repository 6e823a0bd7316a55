"""`emulab explain`: what Kubernetes' OpenAPI says of kinds and fields, in the form of kubectl's."""

from __future__ import annotations

import pytest

from emulab.cli import main


def test_a_field_with_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "deploy.spec"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["GROUP:      apps", "KIND:       Deployment", "VERSION:    v1"]
    assert lines[4] == "FIELD: spec <DeploymentSpec>"
    assert "  selector\t<LabelSelector> -required-" in lines
    assert "  replicas\t<integer>" in lines


def test_a_kind_and_a_scalar(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "pods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["KIND:       Pod", "VERSION:    v1"] and "FIELDS:" in lines
    assert main(["explain", "pod.spec.containers.args"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "FIELD: args <[]string>" and "FIELDS:" not in lines
    assert lines[6].startswith("    Arguments to the entrypoint.")


def test_all_fields_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "ing.spec.rules", "--recursive"]) == 0
    assert "      pathType\t<string> -required-" in capsys.readouterr().out.splitlines()
    assert main(["explain", "crd", "--recursive"]) == 0


def test_emulabs_own_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "cluster.spec.proxy.mode"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["GROUP:      emulab.dev", "KIND:       Cluster", "VERSION:    v1", ""]
    assert lines[4] == "FIELD: mode <string>"
    assert " ".join("".join(lines[6:]).split()).endswith("(default: nftables)")
    assert main(["explain", "loadbalancers", "--recursive"]) == 0
    assert "        port\t<IntOrString> -required-" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("what", "status", "error"),
    [
        ("pod.spec.foo", 2, 'field "foo" does not exist'),
        ("pod.spec.hostname.x", 2, 'field "x" does not exist'),
        ("clients.spec.address", 2, 'field "address" does not exist'),
    ],
)
def test_what_there_is_not(what: str, status: int, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", what]) == status
    assert capsys.readouterr().err == f"emulab: {error}\n"
