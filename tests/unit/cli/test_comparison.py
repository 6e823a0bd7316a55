"""`compare`: its command line, its report as text and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from emulab.cli import main
from emulab.cli.output import comparison
from emulab.cluster.admission.loader import load
from emulab.kernel import probe
from emulab.kinds import registry
from emulab.kinds.emulab import cluster
from emulab.model.sources import Source
from emulab.twins import running
from emulab.twins.asks import ask
from emulab.twins.axes import PROXY
from emulab.twins.comparing import Compared, compare
from emulab.twins.owners import CLUSTER_IP, UNUSED_PORT, Situation
from emulab.twins.running import Comparison, Plan, manifest
from emulab.twins.sampling import Sample

MODES = ("nftables", "iptables", "userspace")
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c}]}\n"
CLUSTER = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: mine}
spec: {nodes: 3, proxy: {mode: nftables}}
"""
LONG = "pod/a-pod-with-a-name-as-deployments-give-them-7b9c=http://a-service.a-namespace.svc.cluster.local:8080/x"


@pytest.fixture(autouse=True)
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pod.yaml"
    path.write_text(POD)
    return str(path)


def answered(source: str = "itself", **pods: int) -> Sample:
    number = sum(pods.values())
    return Sample(
        "10.96.0.1",
        Counter({"HTTP 200": number}),
        number,
        Counter({"default/web /": number}),
        Counter(pods),
        Counter({source: number}),
        False,
        [0.001 * (i + 1) for i in range(number)],
    )


def refused(word: str) -> Sample:
    return Sample("10.96.0.1", Counter({word: 2}))


def outcome(*compared: Compared) -> Comparison:
    rules = {"nftRules": 30, "nftElements": 20, "iptablesRules": 0, "ipvsServices": 0, "ipvsServers": 0}
    more = {**rules, "nftRules": 34}
    return Comparison(compared, PROXY, {mode: {"node1": rules, "node2": more} for mode in MODES})


def one(text: str, situation: Situation, *observed: Sample) -> Compared:
    return compare(ask(text), situation, dict(zip(MODES, observed, strict=True)))


SAME = one("client=http://shop.example.com/", Situation(), *[answered(a=21, b=19)] * 3)
SOURCE = one(
    LONG,
    Situation(CLUSTER_IP),
    answered(a=40),
    answered(a=40),
    answered("node/node1", a=40),
)
PORT = one(
    "node1=10.96.0.1:4444",
    Situation(UNUSED_PORT),
    refused("TCP reset"),
    *[refused("ICMP network unreachable")] * 2,
)
NEWS = one("pod/x=http://y/", Situation(CLUSTER_IP), answered(a=40), refused("no answer"), answered(a=40))


def test_without_an_answer_no_endpoint_is_told_of() -> None:
    sticky = Situation(CLUSTER_IP, sticky=True)
    text = comparison.render(outcome(one("pod/x=http://y/", sticky, *[refused("no answer")] * 3)), MODES, 40)
    assert "= pod/x=http://y/  no answer\n" in text


def test_what_depends_on_the_endpoint_is_not_told_of_all_modes() -> None:
    """The asker is an endpoint itself, and affinity led it there in one mode: its node masqueraded it."""
    own = replace(answered("node/node1", b=40), hairpins=Counter({"node/node1": 40}))
    found = one("pod/b=http://y/", Situation(CLUSTER_IP, sticky=True), answered(a=40), own, answered(a=40))
    text = comparison.render(outcome(found), MODES, 40)
    assert "= pod/b=http://y/  HTTP 200; one endpoint a client\n" in text


def test_modes_that_behave_alike() -> None:
    text = comparison.render(outcome(SAME), MODES, 40)
    assert text.splitlines()[0] == (
        "3 labs (nftables, iptables, userspace), 1 request, 40 connections for each that is answered"
    )
    assert "= client=http://shop.example.com/  HTTP 200; 2 endpoints; client seen: itself" in text
    assert "nftables    21.0     40.0     30-34 nft rules, 20 elements" in text
    assert text.endswith("\n\nThe modes behave alike.")
    assert "EXPECTED" not in text and "DIFFERENT" not in text


def test_known_differences_are_told_with_their_reasons() -> None:
    text = comparison.render(outcome(SAME, SOURCE, PORT), MODES, 40)
    assert "EXPECTED: a process in between" in text and "shortcomings (until v1.25)" in text
    assert "    nftables, iptables: itself; userspace: node/node1" in text
    assert "EXPECTED: ports that no Service has" in text
    assert "    nftables: TCP reset; iptables, userspace: ICMP network unreachable" in text
    assert "~ node1=10.96.0.1:4444" in text
    assert text.endswith("The modes differ only as they are known to.")


def test_news_comes_first() -> None:
    text = comparison.render(outcome(SAME, SOURCE, NEWS), MODES, 40)
    assert text.index("\nDIFFERENT\n  pod/x=http://y/\n") < text.index("EXPECTED")
    assert "    status: nftables, userspace: HTTP 200; iptables: no answer" in text
    assert "! pod/x=http://y/" in text
    assert text.endswith("The modes differ in 1 request, and not as they are known to.")


def test_many_cases_of_a_known_difference_are_counted() -> None:
    text = comparison.render(outcome(*[SOURCE] * 9), MODES, 40)
    assert "  and 5 requests more" in text


@pytest.mark.parametrize("width", [60, 72, 100])
def test_the_text_is_no_wider_than_a_terminal(width: int) -> None:
    """But for requests, which are there in full, to be copied; nothing of what came of them is left out either."""
    found = outcome(SAME, SOURCE, PORT, NEWS)
    text = comparison.render(found, MODES, 40, width)
    requests = {str(c.ask) for c in found.compared}
    lines = [line for line in text.partition("\nMODE ")[0].splitlines() if line[2:] not in requests]
    assert max(map(len, lines)) <= width and "…" not in text
    assert all(request in text for request in requests)
    assert " ".join(text.split()) == " ".join(comparison.render(found, MODES, 40, 1000).split())


def test_a_node_whose_rules_nobody_lists() -> None:
    found = Comparison([SAME], PROXY, {mode: {"node1": None} for mode in MODES})
    assert "unknown (there is no nft program)" in comparison.render(found, MODES, 40)


def test_json() -> None:
    found = json.loads(json.dumps(comparison.as_data(outcome(SAME, SOURCE, NEWS), MODES, 40)))
    assert (found["modes"], found["connections"], found["behaviour"]) == (list(MODES), 40, "different")
    same, source, news = found["requests"]
    assert same["differences"] == []
    assert same["observed"]["iptables"] == {
        "address": "10.96.0.1",
        "tries": 40,
        "answered": 40,
        "status": {"HTTP 200": 40},
        "answer": {"default/web /": 40},
        "endpoints": {"a": 21, "b": 19},
        "source": {"itself": 40},
        "fairness": {"spread": "at random", "probability": 0.75183},
        "latency_ms": {"p50": 21.0, "p99": 40.0},
    }
    [difference] = source["differences"]
    assert (difference["aspect"], difference["expected"]) == ("source", True)
    assert difference["seen"] == {
        "nftables": ["itself"],
        "iptables": ["itself"],
        "userspace": ["node/node1"],
    }
    assert difference["known"][0]["reason"] and difference["known"][0]["source"]
    [difference] = news["differences"]
    assert difference["unexplained"] == [["nftables", "iptables"], ["iptables", "userspace"]]
    assert found["rules"]["nftables"]["node2"]["nftRules"] == 34


# the same objects in another mode


def test_a_lab_gets_a_cluster_of_the_mode() -> None:
    for text, nodes in ((POD, None), (f"{POD}---{CLUSTER}", 3)):
        objects = load(
            [Source("text", manifest(load([Source("given", text)]).objects, PROXY, "nftables"))]
        ).objects
        [cluster] = [o for o in objects if o.type == registry.CLUSTER]
        assert cluster.spec["proxy"] == {"mode": "nftables"}
        assert cluster.spec.get("nodes") == nodes
        assert [o.name for o in objects if o.type == registry.POD] == ["web"]


# the command line


def status(*argv: str) -> int | str | None:
    try:
        return main(["compare", *argv])
    except SystemExit as end:
        return end.code


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--proxy", "nftables,iptables"], "FILE"),
        (["x.yaml"], "--proxy"),
        (["--proxy", "nftables", "x.yaml"], "one mode can't be compared"),
        (["--proxy", "nftables,nftables", "x.yaml"], "named twice"),
        (["--proxy", "nftables,bpf", "x.yaml"], "there is no mode 'bpf'"),
        (["--proxy", "nftables,", "x.yaml"], "there is no mode ''"),
        (["--proxy", "nftables,iptables", "--connections", "3", "x.yaml"], "--connections"),
        (["--proxy", "nftables,iptables", "--connections", "2001", "x.yaml"], "must be 2000 or less"),
        (["--proxy", "nftables,iptables", "--wait", "0", "x.yaml"], "--wait"),
        (["--proxy", "nftables,iptables", "x.yaml", "--", "client=x:0"], "out of range"),
        (["--proxy", "nftables,iptables", "x.yaml", "--", "=http://x/"], "a source is missing"),
        (["--proxy", "nftables,iptables", "-o", "yaml", "x.yaml"], "invalid choice"),
    ],
)
def test_wrong_usage(argv: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(*argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and why in err.splitlines()[0]


def test_help_shows_how_to_write_requests(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--help") == 0
    out = capsys.readouterr().out
    assert "[SOURCE=]URL" in out and "node1=10.96.0.10:53/udp" in out


def never(_: Plan) -> None:
    raise AssertionError("nothing may be built")


def test_a_mode_that_is_not_possible(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "run", never)
    lacking = probe.Feature("ipvs", "proxy mode ipvs", False, "modprobe ip_vs", "the kernel has no IPVS")
    monkeypatch.setattr(probe, "features", lambda _: [lacking])
    monkeypatch.setattr(probe, "proxy_modes", lambda _: {"nftables": True, "ipvs": False})
    assert status("--proxy", "nftables,ipvs", file) == 1
    assert capsys.readouterr().err == (
        "emulab: proxy mode ipvs is not possible here: the kernel has no IPVS; mend: modprobe ip_vs\n"
    )


@pytest.mark.parametrize("request_", ["pod/nobody=http://x/", "node9=http://x/"])
def test_a_source_that_no_lab_will_have(
    request_: str, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "run", never)
    monkeypatch.setattr(probe, "features", lambda _: [])
    monkeypatch.setattr(probe, "proxy_modes", lambda _: dict.fromkeys(MODES, True))
    assert status("--proxy", "nftables,userspace", file, "--", request_) == 1
    assert request_ in capsys.readouterr().err


@pytest.mark.parametrize(
    ("compared", "code"), [((SAME,), 0), ((SAME, SOURCE, PORT), 0), ((SAME, SOURCE, NEWS), 1)]
)
def test_the_exit_status(
    compared: tuple[Compared, ...],
    code: int,
    file: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plans: list[Plan] = []

    async def found(plan: Plan) -> Comparison:
        plans.append(plan)
        return outcome(*compared)

    monkeypatch.setattr(running, "run", found)
    monkeypatch.setattr(probe, "features", lambda _: [])
    monkeypatch.setattr(probe, "proxy_modes", lambda _: dict.fromkeys(MODES, True))
    monkeypatch.setitem(cluster.MODES, "proxy.mode", dict.fromkeys(MODES, True))  # type: ignore[arg-type]
    words = ["--proxy", ",".join(MODES), file, "-o", "json", "--wait", "1s", "--", "pod/web=http://x/"]
    assert status(*words) == code
    assert json.loads(capsys.readouterr().out)["modes"] == list(MODES)
    [plan] = plans
    assert [str(a) for a in plan.asks] == ["pod/web=http://x/"]
    assert (plan.modes, plan.patience, plan.connections) == (list(MODES), 1.0, 40)
