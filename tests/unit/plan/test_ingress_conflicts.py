"""What several Ingresses say of one host, and annotations that say nothing by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from test_ingress_plan import NGINX, PREFIX, WEB, ingress, rule

from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.kinds.networking.ingressview import Ingress, oldest_first
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations import known
from emulab.plan.l7.annotations.unheeded import unheeded
from emulab.plan.l7.conflicts import conflicts
from emulab.plan.l7.ingress import ingress_config
from emulab.plan.l7.oddities import oddities
from emulab.servers.l7.config import RootRedirect

SETTINGS = {"name": "ingress-nginx-controller", "namespace": "ingress-nginx"}


def asking(name: str, *rules: Any, **annotations: str) -> Object:
    named = {PREFIX + key.replace("_", "-"): text for key, text in annotations.items()}
    return ingress(name, *(rules or (rule("a.test"),)), annotations=named)


def told(*objects: Object) -> list[tuple[str, str, str]]:
    found = conflicts(oldest_first(map(Ingress.of, objects)), PREFIX)
    return [(one.name, annotation, why) for one, annotation, why in found]


def test_the_first_of_a_host_is_heard() -> None:
    """Of one second the last by name comes first."""
    two = asking("one", server_alias="x.test"), asking("two", server_alias="y.test")
    why = "Ingress default/two has server-alias for host a.test, too, and is heard"
    assert told(*two) == [("one", "server-alias", why)]
    assert told(asking("one", server_alias="x.test"), asking("two", server_alias="x.test")) == []
    assert told(two[0], asking("two", rule("b.test"), server_alias="y.test")) == []
    locked = asking("one", auth_tls_secret="default/a"), asking("two", auth_tls_secret="default/b")
    assert [found[:2] for found in told(*locked)] == [("one", "auth-tls-secret")]


def test_the_root_is_told_by_the_longest_path() -> None:
    short = asking("two", rule("a.test", "/b"), app_root="/b")
    long = asking("one", rule("a.test", "/a/long"), app_root="/a")
    source = PlanSource.of(Objects([NGINX, *WEB, short, long]))
    routes = ingress_config(source, Cluster(), ControllerFlags(without_class=True)).routes
    (root,) = (one for route in routes for one in route.filters if isinstance(one, RootRedirect))
    assert root.path == "/a"
    why = "Ingress default/one has app-root for host a.test, too, and is heard"
    assert told(short, long) == [("two", "app-root", why)]


def test_a_name_that_has_rules_of_its_own_is_sent_nowhere() -> None:
    www = asking("one", rule("www.a.test"), from_to_www_redirect="true")
    why = "a.test is the host of another rule, which keeps it: nobody is sent to www.a.test"
    assert told(www, asking("two")) == [("one", "from-to-www-redirect", why)]
    assert told(www) == []


def test_who_has_no_rules_redirects_nothing() -> None:
    named = {PREFIX + "permanent-redirect": "https://x.test", PREFIX + "app-root": "/app"}
    why = "isn't heeded for a defaultBackend without rules; a rule without a host has it heeded"
    found = [("all", name, why) for name in ("permanent-redirect", "app-root")]
    assert told(ingress("all", annotations=named)) == found
    assert told(asking("all", permanent_redirect="https://x.test", app_root="/app")) == []
    assert told(ingress("all", annotations={PREFIX + "force-ssl-redirect": "false"})) == []


def test_it_is_said_when_one_of_them_is_given() -> None:
    two = asking("one", server_alias="x.test"), asking("two", server_alias="y.test")
    objects = Objects([*system_objects(Cluster()), *WEB, *two])
    classes = IngressClasses.among(objects, Cluster())
    for given, number in ((two[0], 1), (two[1], 0)):
        found = [finding.line() for finding in oddities([given.key], objects, classes, Cluster())]
        assert len(found) == number and all("server-alias" in line for line in found)


def warned(settings: dict[str, str], **annotations: str) -> list[str]:
    config_map = Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": SETTINGS, "data": settings})
    system = [o for o in system_objects(Cluster()) if o.key != config_map.key]
    objects = Objects([*system, *WEB, config_map])
    classes = IngressClasses.among(objects, Cluster())
    return unheeded([asking("shop", **annotations)], classes, objects=objects)


@pytest.mark.parametrize(
    ("annotations", "needs"),
    [
        ({"session_cookie_name": "x"}, "affinity"),
        ({"limit_whitelist": "10.0.0.0/8"}, "limit-rps or limit-rpm or limit-connections"),
        ({"cors_max_age": "5"}, "enable-cors"),
        ({"x_forwarded_prefix": "/x"}, "rewrite-target"),
    ],
)
def test_what_says_nothing_by_itself_is_warned_of(annotations: dict[str, str], needs: str) -> None:
    (line,) = warned({}, **annotations)
    assert line.endswith(f"has no effect without {needs}")


def test_the_config_map_may_say_what_it_takes() -> None:
    assert len(warned({}, proxy_buffers_number="8")) == 1
    assert warned({"proxy-buffering": "on"}, proxy_buffers_number="8") == []
    assert warned({}, limit_rpm="5", limit_whitelist="10.0.0.0/8") == []


def test_what_is_needed_is_an_annotation() -> None:
    assert all(known().keys() >= set(one.needs) for one in known().values())
