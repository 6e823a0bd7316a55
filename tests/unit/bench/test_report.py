"""What is printed, for people and for programs, of results that are known."""

from __future__ import annotations

import json
import re
from random import Random
from xml.etree import ElementTree

from emulab.bench import documents, html, report
from emulab.bench.estimates import Estimate
from emulab.bench.givingway import GaveWay, HopSecond, Second
from emulab.bench.histogram import HdrHistogram
from emulab.bench.hopwatch import HopRecord
from emulab.bench.ledger import WHOLE, PathLayer
from emulab.bench.loading import LoadOutcome, LoadPlan
from emulab.bench.outcome import BenchOutcome, why
from emulab.bench.processors import ProcessorShares
from emulab.bench.report import ReportTable, added, changed, shown
from emulab.bench.svg import Bar, Line, bars, lines
from emulab.bench.turns import TurnVerdict
from emulab.cli.output.benchmarks import shown as printed

LAYERS = (
    PathLayer("loopback", "", "one"),
    PathLayer("veth", "loopback", "two"),
    PathLayer("VXLAN", "veth", "three"),
)


def outcome(benchmark: str = "path") -> BenchOutcome:
    """VXLAN costs 30 µs; a veth pair less than the noise."""
    draw = Random(1)

    def sample(value: float, noise: float = 1.0) -> list[float]:
        return [value + draw.gauss(0, noise) for _ in range(12)]

    if benchmark == "path":
        ways = {
            n: {"p50": sample(v), "p90": sample(2 * v)}
            for n, v in (("loopback", 60), ("veth", 60), ("VXLAN", 90))
        }
        samples = {"path": {**ways, WHOLE: {"p50": sample(90)}}}
        subjects: tuple[str, ...] = ("path",)
    else:
        figures = {"p50": 100.0, "requests": 9000.0, "throughput": 500.0, "cpu": 40.0}
        samples = {
            subject: {"pod to pod": {n: sample(v * times, v / 100) for n, v in figures.items()}}
            for subject, times in (("routed", 1.0), ("vxlan", 1.3))
        }
        subjects = ("routed", "vxlan")
    return BenchOutcome(
        benchmark=benchmark,
        subjects=subjects,
        samples=samples,
        rounds=12,
        seconds=30.0,
        verdict=TurnVerdict("time", ("veth",)),
        seed=4,
        machine="2 CPUs",
        layers=LAYERS if benchmark == "path" else (),
        ways={one.name: one.what for one in LAYERS}
        if benchmark == "path"
        else {"pod to pod": "between <nodes>"},
        notes=("a note",),
    )


def test_numbers_have_their_intervals_and_noise_has_no_number() -> None:
    assert shown(Estimate(62.91, 61.7, 64.1), "µs") == "62.9 ±1.20 µs"
    assert shown(Estimate(3.0)) == "3.00" and shown(None) == ""
    assert added(Estimate(12.0, 11.0, 13.0), "µs") == "+12.0 ±1.00 µs"
    assert added(Estimate(-1200.0, -1300.0, -1100.0)) == "−1200 ±100"
    assert added(Estimate(1.0, -2.0, 4.0), "µs") == "noise (< 4.00 µs)"
    assert added(Estimate(1.0)) == changed(Estimate(1.0)) == "too few rounds"
    assert changed(Estimate(1.25, 1.2, 1.3)) == "+25.0 % (+20.0 to +30.0)"
    assert changed(Estimate(1.0, 0.9, 1.1)) == "noise (< 10.0 %)"


def test_the_ledger_as_a_table_and_as_a_document() -> None:
    text = printed(report.tables(outcome()), "2 CPUs")
    assert re.search(r"\+ VXLAN +\+(29|30|31)\.\d ±\d", text) and re.search(r"\+ veth +noise \(< ", text)
    assert "sum of the layers: " in text and "they agree" in text and "a note" in text
    told = documents.document(outcome())
    assert json.loads(json.dumps(told)) == told
    layers = {one["name"]: one for one in told["layers"]}
    assert layers["veth"]["added"]["p50"]["value"] is None and layers["VXLAN"]["added"]["p50"]["told"]
    assert told["sum"]["agrees"] and told["stopped"] == {"why": "time", "wide": ["veth"]}


def test_overlays_as_a_table_and_as_a_document() -> None:
    text = printed(report.tables(outcome("overlay")), "2 CPUs")
    assert "none (routed)" in text and re.search(r"vxlan +1\d\d ±", text) and "+30" in text
    told = documents.document(outcome("overlay"))
    compared = {one["measure"]: one["ratio"] for one in told["figures"] if one["subject"] == "vxlan"}
    assert all(abs(one["value"] - 1.3) < 0.05 and one["told"] for one in compared.values())
    text = printed(report.tables(outcome("compare")), "2 CPUs")
    assert re.search(r"pod to pod +throughput +5\d\d ±.* MB/s +6\d\d ±.* MB/s +\+", text)


def test_why_it_ended() -> None:
    assert why(TurnVerdict("narrow"), 12, 3.2) == "12 rounds in 3 s; every interval is narrow enough"
    assert "the time was up, and the machine is too noisy for a narrower interval of a, b" in why(
        TurnVerdict("time", ("a", "b")), 12, 3.2
    )
    assert "of a, b, c, d, …" in why(TurnVerdict("rounds", tuple("abcdef")), 9, 1.0)


def test_a_page_is_whole_and_nothing_in_it_is_markup_that_was_not_meant() -> None:
    for one in (outcome(), outcome("overlay")):
        tables = [*report.tables(one), ReportTable("<b>", ("<i>",), [["</script><script>"]], ["&"])]
        page = html.page("<title>", "&about", html.plots(one), tables, {"a": "</script>"})
        assert (
            "<b>" not in page and "<i>" not in page and page.count("<script") == page.count("</script>") == 1
        )
        assert "&lt;title&gt;" in page and "http://www.w3.org/2000/svg" in page
        for plot in re.findall(r"<svg.*?</svg>", page):
            ElementTree.fromstring(plot)


def test_plots_of_little_and_of_nothing() -> None:
    assert lines("nothing", [], "x", "y") == ""
    for plot in (
        bars("none", []),
        bars("zero", [Bar("a", Estimate(0.0), "0")]),
        bars("below", [Bar("<a>", Estimate(-3.0, -4.0, 1.0), "noise", True)]),
        lines("point", [Line("a", [(1.0, 0.0)])], "x", "y"),
        lines("flat", [Line("a", [(1.0, 5.0), (2.0, 5.0)])], "x", "y", log=True),
    ):
        ElementTree.fromstring(plot)


def load() -> tuple[LoadPlan, LoadOutcome]:
    plan = LoadPlan(
        *("lab", "http://shop.test/", 100.0, 2.0, "client", "default", 16, "even", 0, False, 5.0),
        ProcessorShares((0,), (1,)),
        lambda _, __: None,
    )
    loaded = LoadOutcome(requests=200, took=2.1)
    piece = HdrHistogram()
    for value in range(1000, 1099):
        piece.record(value)
    for failures in ({}, {"status 502": 2}):
        told = piece.to_json()
        loaded.add(
            {
                "due": told,
                "sent": told,
                "lag": told,
                "failures": failures,
                "octets": 9900,
                "waiting": 0,
                "connections": 2,
            }
        )
    loaded.hops = {
        "router": HopRecord([HopSecond(0.0)] * 2),
        "lb": HopRecord([HopSecond(0.4), HopSecond(0.95, {"dropped": 2})], {"a_total": [1.0, 3.0]}),
    }
    loaded.gave_way = GaveWay("lb", 1, "lb gave way first, in second 2: turned away: dropped 2")
    return plan, loaded


def test_a_load_as_tables_document_and_page() -> None:
    plan, loaded = load()
    text = printed(report.load_tables(plan, loaded), "")
    assert "failed: 2 × status 502" in text and re.search(r"p99 +1\.10 ms +1\.10 ms", text)
    assert re.search(r"lb +68% +95% +dropped 2", text) and re.search(r"router +- +- +-", text)
    assert text.endswith("lb gave way first, in second 2: turned away: dropped 2")
    told = documents.load_document(plan, loaded, "2 CPUs")
    assert json.loads(json.dumps(told)) == told and told["answered"] == 198
    assert told["hops"][1]["metrics"] == {"a_total": [1.0, 3.0]} and told["gave_way"]["hop"] == "lb"
    assert loaded.seconds[1] == Second(loaded.seconds[0].p99, 2, 0, loaded.seconds[0].lag)
    page = html.page(
        "load", html.load_about(plan), html.load_plots(loaded), report.load_tables(plan, loaded), told
    )
    assert page.count("<svg") == 3
