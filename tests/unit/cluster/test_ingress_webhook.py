"""What the admission webhook of an ingress controller refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from emulab.cluster.admission.crosscheck import what_labs_have
from emulab.cluster.admission.ingresswebhook import denied_ingresses
from emulab.cluster.admission.loader import load
from emulab.errors import ManifestError
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.model.sources import Source

DENIED = 'admission webhook "validate.nginx.ingress.kubernetes.io" denied the request: '
INVALID = DENIED + "ingress contains invalid paths: path {} cannot be used with pathType {}"


def ingress(path: str = "/", kind: str = "Prefix", name: str = "i", **spec: Any) -> dict[str, Any]:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": path, "pathType": kind, "backend": backend}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"rules": [{"host": "h.test", "http": {"paths": paths}}], **spec},
    }


def controller(*flags: str) -> dict[str, Any]:
    container = {
        "name": "controller",
        "image": "registry.k8s.io/ingress-nginx/controller:v1.15.1",
        "args": flags,
    }
    labels = {"app": "own"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "own", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{**container, "args": list(flags)}]},
            },
        },
    }


def config_map(**data: str) -> dict[str, Any]:
    metadata = {"name": "conf", "namespace": "default"}
    keys = {key.replace("_", "-"): value for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": keys}


NGINX = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "nginx"},
    "spec": {"controller": "k8s.io/ingress-nginx"},
}


def refused(*given: dict[str, Any]) -> list[str]:
    source = Source("f.yaml", "\n---\n".join(map(json.dumps, given)))
    try:
        load([source])
    except ManifestError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("kind", ["Prefix", "Exact"])
@pytest.mark.parametrize("path", ["/q(/|$)(.*)", "/~me", "/a%20b", "/a b", "/é", "/*", "/a+b", "/x:y"])
def test_a_path_of_other_than_the_plainest_characters(path: str, kind: str) -> None:
    [line] = refused(ingress(path, kind))
    where = "f.yaml:1: Ingress/i spec.rules[0].http.paths[0].path: "
    assert line == where + INVALID.format(path, kind)
    assert refused(ingress(path, "ImplementationSpecific")) == []


@pytest.mark.parametrize("path", ["/", "/a-b_c.d/E9/", "/.well-known/x"])
def test_a_plain_path(path: str) -> None:
    assert refused(ingress(path)) == refused(ingress(path, "Exact")) == []


def test_who_asks_no_webhook_refuses_nothing() -> None:
    """An Ingress of somebody else's class, and a controller of a user's that isn't asked."""
    assert refused(ingress("/q$", ingressClassName="other")) == []
    own = [NGINX, ingress("/q$", ingressClassName="nginx")]
    assert refused(controller(), *own) == []
    assert len(refused(controller("--validating-webhook=:8443"), *own)) == 1


def test_a_config_map_lets_them_in_with_a_warning() -> None:
    flags = ("--validating-webhook=:8443", "--configmap=default/conf")
    given = [controller(*flags), NGINX, ingress("/q~", ingressClassName="nginx")]
    assert (
        len(refused(*given, config_map()))
        == len(refused(*given, config_map(strict_validate_path_type="x")))
        == 1
    )
    lax = [*given, config_map(strict_validate_path_type="false")]
    assert refused(*lax) == []
    said = load([Source("f.yaml", "\n---\n".join(map(json.dumps, lax)))]).warnings
    assert any("path /q~ cannot be used with pathType Prefix" in line for line in said)
    assert not any("strict-validate-path-type" in line for line in said)


def test_a_default_backend_where_none_may_be() -> None:
    default = {"service": {"name": "web", "port": {"number": 80}}}
    flags = ("--validating-webhook=:8443", "--disable-catch-all")
    own = [NGINX, ingress(ingressClassName="nginx", defaultBackend=default)]
    [line] = refused(controller(*flags), *own)
    assert (
        DENIED + "this deployment is trying to create a catch-all ingress while DisableCatchAll flag" in line
    )
    assert refused(controller(flags[0]), *own) == []


MALICIOUS = ["/etc/nginx", "/api/etc/groups", "/var/run/secrets/x", "/x_by_lua_y"]


@pytest.mark.parametrize("path", MALICIOUS)
def test_a_path_that_looks_malicious(path: str) -> None:
    """`DeepInspect`, of Ingresses of all classes."""
    why = f"invalid rule in ingress default/i: invalid http path: invalid value found: {path}"
    for given in ([ingress(path)], [ingress(path, ingressClassName="other")]):
        [line] = refused(*given)
        assert line.endswith(f".http.paths[0].path: {DENIED}invalid object: {why}")
    off = controller("--validating-webhook=:8443", "--deep-inspect=false")
    assert refused(off, NGINX, ingress(path, ingressClassName="nginx")) == []


def test_a_path_that_looks_like_a_directive() -> None:
    for path in ("/x; alias /;", "/x root /a;"):
        [line] = refused(ingress(path, "ImplementationSpecific"))
        assert f"invalid value found: {path}" in line
    assert refused(ingress("/alias"), ingress("/root", name="j")) == []


def test_a_path_that_looks_malicious_is_not_served_whoever_let_it_in() -> None:
    given = [controller(), NGINX, ingress("/etc/nginx", ingressClassName="nginx")]
    said = load([Source("f.yaml", "\n---\n".join(map(json.dumps, given)))]).warnings
    why = "received invalid ingress: invalid rule in ingress default/i: invalid http path: invalid value found: "
    assert any(
        f"spec.ingressClassName: {why}/etc/nginx (--deep-inspect), so nothing" in line for line in said
    )
    given[0] = controller("--deep-inspect=false")
    said = load([Source("f.yaml", "\n---\n".join(map(json.dumps, given)))]).warnings
    assert not any("nothing serves the Ingress" in line for line in said)


def test_annotations_with_another_prefix_than_the_controllers() -> None:
    made = ingress(ingressClassName="nginx")
    made["metadata"]["annotations"] = {"nginx.ingress.kubernetes.io/rewrite-target": "/", "other": "x"}
    flags = ("--validating-webhook=:8443", "--annotations-prefix=edge.test")
    why = (
        "this deployment has a custom annotation prefix defined. Use 'edge.test' instead of "
        "'nginx.ingress.kubernetes.io'"
    )
    [line] = refused(controller(*flags), NGINX, made)
    at = "metadata.annotations[nginx.ingress.kubernetes.io/rewrite-target]: "
    assert line.endswith(at + DENIED + why)
    assert refused(controller(flags[0]), NGINX, made) == refused(controller(flags[1]), NGINX, made) == []
    said = load(
        [Source("f.yaml", "\n---\n".join(map(json.dumps, [controller(flags[1]), NGINX, made])))]
    ).warnings
    assert any(line.endswith(at + why) for line in said)


def test_two_names_of_a_class_must_agree_when_an_ingress_is_made() -> None:
    def named(annotated: str, name: str | None) -> dict[str, Any]:
        made = ingress(**({"ingressClassName": name} if name is not None else {}))
        annotations = {"kubernetes.io/ingress.class": annotated}
        return {**made, "metadata": {**made["metadata"], "annotations": annotations}}

    [line] = refused(named("traefik", "nginx"))
    assert line.endswith('"traefik" must match `ingressClassName` when both are specified')
    assert refused(named("nginx", "nginx")) == refused(named("traefik", None)) == []
    there = Objects([*what_labs_have([]), Object(named("nginx", None))])
    assert denied_ingresses([Object(named("traefik", "nginx"))], there, Cluster()) == [], (
        "it is changed, not made"
    )


def test_what_comes_is_looked_at_among_what_is_there() -> None:
    there = Objects(what_labs_have([]))
    fresh = [Object(ingress("/q$"))]
    assert [f.message for f in denied_ingresses(fresh, there, Cluster())] == [INVALID.format("/q$", "Prefix")]
    assert denied_ingresses([Object(ingress())], there, Cluster()) == []
    brought = [Object(controller(), position=fresh[0].position)]
    assert denied_ingresses([*fresh, *brought], there, Cluster()) == [], "the lab's own stands aside"


def test_a_path_that_another_ingress_has_is_warned_of() -> None:
    given = [ingress(name="b"), ingress(name="a"), ingress(name="c", path="/other")]
    said = load([Source("f.yaml", "\n---\n".join(map(json.dumps, given)))]).warnings
    about = [line for line in said if "already defined" in line]
    assert len(about) == 1 and "Ingress/a" in about[0]
    assert 'host "h.test" and path "/" is already defined in ingress default/b' in about[0]
