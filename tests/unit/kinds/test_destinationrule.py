"""DestinationRules as users have them: every version and field, what is refused, and what is said of the rest."""

from __future__ import annotations

import pytest

from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.admission.loader import load
from emulab.errors import ManifestError
from emulab.kinds.networking.destinations import DestinationRule, DestinationRules, duration
from emulab.kinds.registry import DESTINATION_RULE, KINDS
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.model.sources import Source

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews.prod.svc.cluster.local
  trafficPolicy:
    loadBalancer: {simple: LEAST_REQUEST}
    connectionPool:
      tcp: {maxConnections: 100, connectTimeout: 30ms, tcpKeepalive: {time: 7200s, interval: 75s}}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 1000, maxRequestsPerConnection: 10, maxRetries: 3}
    outlierDetection:
      consecutive5xxErrors: 7
      interval: 5m
      baseEjectionTime: 15m
      maxEjectionPercent: 100
  subsets:
    - {name: v1, labels: {version: v1}}
"""
SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: prod}\nspec: {ports: [{port: 80}]}\n"
)


def one(text: str) -> Object:
    (o,) = load([Source("r.yaml", text)]).objects
    return o


PROD = one("apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n")


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_every_version_is_taken(version: str) -> None:
    o = one(RULE.replace("networking.istio.io/v1", f"networking.istio.io/{version}"))
    assert o.key == DESTINATION_RULE.key("default", "reviews")
    rule = DestinationRule.of(o)
    assert (rule.service, rule.simple) == (("prod", "reviews"), "LEAST_REQUEST")
    assert rule.tcp["maxConnections"] == 100 and rule.outliers is not None


def test_what_is_not_followed_is_a_warning() -> None:
    loaded = load([Source("r.yaml", RULE)])
    assert [line for line in loaded.warnings if "followed" in line] == [
        "r.yaml:10: DestinationRule/reviews spec.trafficPolicy.connectionPool.tcp.tcpKeepalive: isn't followed: "
        "connections are as the kernel keeps them",
        "r.yaml:17: DestinationRule/reviews spec.subsets: isn't followed: the ingress knows no subsets of a Service",
    ]
    assert warnings(loaded.objects) == [
        "r.yaml:2: DestinationRule/reviews spec.host: there is no Service prod/reviews"
    ]
    served = Objects([*loaded.objects, one(SERVICE)])
    (line,) = warnings(loaded.objects, served)
    assert "Istio heeds a rule in the Namespace of who calls, of the Service, or istio-system" in line
    own = one(RULE.replace("{name: reviews}", "{name: reviews, namespace: prod}"))
    assert warnings([own], Objects([own, PROD, one(SERVICE)])) == []
    elsewhere = one(RULE.replace("reviews.prod.svc.cluster.local", "api.example.com.eu"))
    assert warnings([elsewhere]) == [
        'r.yaml:2: DestinationRule/reviews spec.host: "api.example.com.eu" is no name of a Service, so nothing'
        " heeds the rule"
    ]


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("reviews", False),
        ("reviews.prod", True),
        ("reviews.prod.svc", True),
        ("reviews.prod.svc.cluster.local", False),
        ("reviews.prod.svc.other.domain", True),
    ],
)
def test_a_name_that_istio_does_not_complete_is_told(host: str, told: bool) -> None:
    text = RULE.replace("{name: reviews}", "{name: reviews, namespace: prod}")
    rule = one(text.replace("reviews.prod.svc.cluster.local", host))
    lines = warnings([rule], Objects([rule, PROD, one(SERVICE)]))
    assert [
        "is taken for reviews.prod.svc.cluster.local here; Istio completes names without a dot alone" in line
        for line in lines
    ] == [True] * told


def test_ports_have_policies_of_their_own() -> None:
    ports = """
    portLevelSettings:
      - {port: {number: 80}, tls: {mode: DISABLE}, connectionPool: {tcp: {maxConnections: 3, idleTimeout: 3s}}}
      - {port: {number: 81}, loadBalancer: {simple: RANDOM}}
"""
    text = RULE[: RULE.index("  subsets")] + ports.lstrip("\n")
    loaded = load([Source("r.yaml", text.replace("{name: reviews}", "{name: reviews, namespace: prod}"))])
    left = [line.partition("portLevelSettings[0].")[2].partition(":")[0] for line in loaded.warnings]
    assert {*filter(None, left)} == {"tls", "connectionPool.tcp.idleTimeout"}
    (line,) = warnings(loaded.objects, Objects([*loaded.objects, PROD, one(SERVICE)]))
    assert "portLevelSettings[1].port: Service prod/reviews has no port 81: nothing heeds it" in line
    rule = DestinationRule.of(loaded.objects[0])
    own = rule.at(80)
    assert (own.tcp["maxConnections"], own.http, own.outliers, own.simple) == (3, {}, None, "")
    assert rule.at(82) == rule.at(None) == rule and rule.at(81).simple == "RANDOM"


@pytest.mark.parametrize(
    ("right", "wrong", "why"),
    [
        (
            "maxConnections",
            "maxConnection",
            'unknown field "spec.trafficPolicy.connectionPool.tcp.maxConnection"',
        ),
        ("interval: 5m", "interval: 5", "5 is not a string"),
        ("interval: 5m", "interval: 5 minutes", "is not a duration such as 30s"),
        ("interval: 5m", "interval: 0s", "is shorter than 1ms"),
        ("maxEjectionPercent: 100", "maxEjectionPercent: 101", "is not a percentage"),
        ("LEAST_REQUEST", "FASTEST", "is not one of"),
        ("  host: reviews.prod.svc.cluster.local\n", "", "host: is required"),
    ],
)
def test_what_is_wrong_is_refused(right: str, wrong: str, why: str) -> None:
    with pytest.raises(ManifestError) as raised:
        one(RULE.replace(right, wrong))
    assert why in raised.value.problems[0]


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ("{}", "trafficPolicy: must have at least one field"),
        ("{connectionPool: {}}", "connectionPool: must have at least one field"),
        ("{portLevelSettings: [{port: {number: 80}}]}", "portLevelSettings[0]: must have at least one field"),
        ("{portLevelSettings: [{tls: {}}]}", "portLevelSettings[0].port: is required"),
        ("{portLevelSettings: [{port: {}, tls: {}}]}", "portLevelSettings[0].port.number: is required"),
        (
            "{outlierDetection: {consecutiveLocalOriginFailures: 3}}",
            "consecutiveLocalOriginFailures: needs splitExternalLocalOriginErrors: true",
        ),
        ("{outlierDetection: {outlierDetectionHttpErrorCodes: [600]}}", "600 is not a status (100-599)"),
        ("{outlierDetection: {interval: 1500us}}", '"1500us" isn\'t of whole milliseconds'),
        (
            "{loadBalancer: {simple: RANDOM, consistentHash: {}}}",
            "only one of simple and consistentHash may be",
        ),
        ("{loadBalancer: {warmup: {}, warmupDurationSecs: 1s}}", "only one of warmup and warmupDurationSecs"),
        ("{tunnel: {}, proxyProtocol: {}}", "only one of tunnel and proxyProtocol may be given"),
        (
            "{connectionPool: {http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE}}}",
            "must not be true with h2UpgradePolicy: UPGRADE",
        ),
        ("{connectionPool: {http: {http2KeepAlive: {interval: 1s}}}}", "http2KeepAlive.timeout: is required"),
        ("{connectionPool: {tcp: {connectTimeout: 0s}}}", "is shorter than 1ms"),
    ],
)
def test_what_istio_refuses_is_refused(policy: str, why: str) -> None:
    """Its webhook, and the rules of its CustomResourceDefinition."""
    head = RULE[: RULE.index("  trafficPolicy")]
    for inside in (
        f"  trafficPolicy: {policy}\n",
        f"  subsets: [{{name: v1, trafficPolicy: {policy}}}]\n",
    ):
        with pytest.raises(ManifestError) as raised:
            one(head + inside)
        assert why in raised.value.problems[0]


def test_what_istio_takes_is_taken() -> None:
    head = RULE[: RULE.index("  trafficPolicy")]
    for policy, ignored in (
        ("{connectionPool: {tcp: {idleTimeout: 0s}, http: {idleTimeout: 0s}}}", True),
        ("{connectionPool: {http: {http2KeepAlive: {interval: 15s, timeout: 5s}}}}", True),
        ("{loadBalancer: {zoneAwareLbSetting: {enabled: true}}}", True),
        ("{loadBalancer: {simple: UNSPECIFIED, consistentHash: {useSourceIp: true}}}", True),
        ("{outlierDetection: {consecutiveErrors: 7}}", True),
        ("{outlierDetection: {outlierDetectionHttpErrorCodes: [429]}}", False),
        (
            "{outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2}}",
            False,
        ),
    ):
        loaded = load([Source("r.yaml", f"{head}  trafficPolicy: {policy}\n")])
        assert any("isn't followed" in line for line in loaded.warnings) == ignored


def test_other_kinds_of_its_group_are_somebody_elses_as_before() -> None:
    other = one(RULE.replace("DestinationRule", "VirtualService"))
    assert KINDS[other.type].definition.standing.name == "custom"


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("1m30s", 90), ("1.5h", 5400), ("250ms", 0.25), ("100us", 0.0001)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


def test_of_several_the_oldest_counts_and_a_pattern_last() -> None:
    def rule(name: str, host: str) -> Object:
        return one(
            RULE.replace("{name: reviews}", f"{{name: {name}}}").replace(
                "reviews.prod.svc.cluster.local", host
            )
        )

    rules = DestinationRules(
        [rule("all", '"*"'), rule("most", '"*.prod.svc.cluster.local"'), rule("first", "reviews.prod"),
         rule("second", "reviews.prod.svc"), rule("short", "reviews")],
        "cluster.local",
    )  # fmt: skip
    names = {
        service: found.name if (found := rules.of(*service)) else None
        for service in (("prod", "reviews"), ("prod", "other"), ("default", "reviews"), ("default", "x"))
    }
    assert list(names.values()) == ["first", "most", "short", "all"]


def test_a_rule_of_subsets_alone_is_none_where_another_one_has_a_policy() -> None:
    """As in Istio, which merges those of one host."""
    text = RULE[: RULE.index("  trafficPolicy")] + RULE[RULE.index("  subsets") :]
    subsets, policy = one(text), one(RULE.replace("{name: reviews}", "{name: policy}"))
    found = DestinationRules([subsets, policy], "cluster.local").of("prod", "reviews")
    assert found is not None and found.name == "policy"
