"""What a rule is for is said by who plans it, in every mode: nobody has to read it out of the rule."""

from __future__ import annotations

import re

import pytest
from familyworlds import EVERY, built
from worlds import world

from emulab.model.families import IPV4, IPV6, Family
from emulab.plan.proxy.modes import MODES
from emulab.plan.rules.meaning import DNAT, DROP, REJECT, SNAT, Meaning, MeantRule, from_json, to_json
from emulab.plan.state import Iptables, Ruleset, World

TRANSLATED_ELSEWHERE = ("ipvs", "ebpf", "kube-router")
"""Modes that translate without a rule."""
MANIFESTS = """
apiVersion: v1
kind: Service
metadata: {name: plain}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: guarded}
spec:
  type: LoadBalancer
  selector: {app: web}
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [198.51.100.0/24]
  ports: [{port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec: {type: NodePort, sessionAffinity: ClientIP, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {type: NodePort, selector: {app: none}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node1, containers: [{name: c, ports: [{containerPort: 80}]}]}
"""
STATEMENTS = {
    DNAT: r"\bdnat\b.* to |-j DNAT",
    SNAT: r"\bmasquerade\b|\bsnat to |-j MASQUERADE",
    REJECT: r"\breject\b|-j REJECT",
    DROP: r" drop$|-j DROP",
}


def cluster(mode: str) -> str:
    plugin = ", network: {plugin: kube-router}" if mode == "kube-router" else ""
    spec = f"{{proxy: {{mode: {mode}}}{plugin}}}"
    return f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: c}}\nspec: {spec}\n"


def rules(planned: World) -> list[str]:
    found: list[str] = []
    for ruleset in planned.network.rulesets.values():
        if isinstance(ruleset, Ruleset):
            found += [text for lines in ruleset.chains.values() for text in lines[1:]]
        elif isinstance(ruleset, Iptables):
            found += [t for chains in ruleset.tables.values() for lines in chains.values() for t in lines]
    return found


def done_by(planned: list[str]) -> set[str]:
    """What rules do, by their words; what each does it must say of itself."""
    seen: set[str] = set()
    for text in planned:
        bare = re.sub(r'--comment ("[^"]*"|\S+)', "", text)
        does = [what for what, statement in STATEMENTS.items() if re.search(statement, bare)]
        if not does:
            continue
        assert isinstance(text, MeantRule), text
        assert [text.meaning.does] == does, text
        seen.add(text.meaning.does)
    return seen


@pytest.mark.parametrize("mode", MODES)
def test_every_rule_that_decides_says_what_it_does(mode: str) -> None:
    seen = done_by(rules(world(cluster(mode), MANIFESTS)))
    assert seen >= {SNAT, REJECT} and (mode in TRANSLATED_ELSEWHERE or DNAT in seen)
    assert mode == "kube-router" or DROP in seen, "which drops nothing by a rule"


@pytest.mark.parametrize("families", [(IPV6,), (IPV4, IPV6)], ids=["6", "4-6"])
@pytest.mark.parametrize(("mode", "network"), EVERY)
def test_rules_of_each_family_say_what_they_do(mode: str, network: str, families: tuple[Family, ...]) -> None:
    seen = done_by(rules(built(families, mode, network)[1]))
    assert seen >= {SNAT, REJECT} and (mode in TRANSLATED_ELSEWHERE or DNAT in seen)
    assert mode == "kube-router" or DROP in seen, "which drops nothing by a rule"


def test_who_is_shut_out_is_told_apart_from_who_finds_nobody() -> None:
    for mode in ("nftables", "iptables"):
        fields = {t.meaning.field for t in rules(world(cluster(mode), MANIFESTS)) if isinstance(t, MeantRule)}
        assert fields >= {"", "spec.loadBalancerSourceRanges"}, mode


def test_a_meaning_survives_its_way_to_who_asks() -> None:
    text = next(t for t in rules(world(MANIFESTS)) if isinstance(t, MeantRule))
    assert from_json(to_json(text)) == text.meaning
    assert to_json("counter accept") is None and from_json(None) is None
    assert from_json(Meaning("NetworkPolicy", DROP, "spec.ingress", "NetworkPolicy a/b", "mend it")._asdict())
