"""What server blocks make of a question: rewriting, templates, hosts, and who is asked; as CoreDNS has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_dns_engine import ask, record, texts

from emulab.servers.dns import names, rdata, wire
from emulab.servers.dns.cache import Cache
from emulab.servers.dns.config import (
    ASKED_TYPES,
    AccessPolicy,
    AccessRule,
    AnswerRule,
    AutopathConfig,
    BlockConfig,
    CacheLimits,
    DnsConfig,
    ForwardConfig,
    HostNames,
    HostsConfig,
    Kubernetes,
    LogRule,
    NamedEndpoint,
    NamedPort,
    PodNames,
    RewriteRule,
    ServiceNames,
    SliceNames,
    TemplateConfig,
    ZoneFile,
    ZoneRecord,
)
from emulab.servers.dns.engine import Engine, Forward, Solved
from emulab.servers.dns.plugins.logs import Exchanged, QueryLog, error_line, line
from emulab.servers.dns.settings import DnsSettings
from emulab.servers.dns.wire import Response

FORWARD = ForwardConfig(".", ("10.0.0.2:53",))
CLUSTER = Kubernetes(
    "c.test.",
    ("app", "hidden"),
    {
        "app/web": ServiceNames("app", "web", ("10.96.0.5",)),
        "hidden/web": ServiceNames("hidden", "web", ("10.96.0.6",)),
        "app/busy": ServiceNames("app", "busy", ("10.96.0.7",)),
    },
    {"app/busy/1": SliceNames((NamedEndpoint("", "10.244.0.9", True),), ())},
)


def engine(*blocks: BlockConfig, **cluster: Any) -> Engine:
    config = DnsConfig((), blocks=blocks, kubernetes=replace(CLUSTER, **cluster))
    settings = DnsSettings().changed(config)
    return Engine(settings.zones, Cache(), forwards=False, blocks=settings.blocks, pods=settings.pods)


def rule(
    matching: str,
    old: str,
    new: str,
    *,
    auto: bool = False,
    answer: tuple[str, str] | None = None,
    on: bool = False,
):
    answers = (AnswerRule("name", *answer),) if answer else ()
    return RewriteRule(matching, old, new, auto, on, answers=answers)


def solved(engine: Engine, name: str, rtype: str = "A") -> Solved:
    step = engine.resolve(ask(name, rtype), 0, 0.0)
    assert isinstance(step, Solved), step
    return step


def owners(solved: Solved) -> list[str]:
    return [names.to_text(r.owner) for r in solved.reply.answer]


@pytest.mark.parametrize(
    ("rewrite", "name", "owner"),
    [
        (rule("exact", "shop.test.", "web.app.svc.c.test."), "Shop.test.", "shop.test."),
        (rule("prefix", "old-web.", "web."), "old-web.app.svc.c.test.", "web.app.svc.c.test."),
        (rule("suffix", ".short.test.", ".app.svc.c.test."), "web.short.test.", "web.app.svc.c.test."),
        (rule("suffix", ".short.test.", ".app.svc.c.test.", auto=True), "web.short.test.", "web.short.test."),
        (rule("substring", "production", "app"), "web.production.svc.c.test.", "web.app.svc.c.test."),
        (rule("regex", r"^(\w+)-(\w+)\.test", "{2}.{1}.svc.c.test."), "app-web.test.", "web.app.svc.c.test."),
        (
            rule(
                "regex",
                r"(.*)\.x\.test",
                "{1}.app.svc.c.test.",
                answer=(r"(.*)\.app\.svc\.c\.test", "{1}.x.test."),
            ),
            "web.x.test.",
            "web.x.test.",
        ),
    ],
)
def test_names_that_stand_for_others(rewrite: RewriteRule, name: str, owner: str) -> None:
    """CoreDNS writes answers back for exact rules alone, unless a rule says more."""
    answer = solved(engine(BlockConfig((".",), rewrites=(rewrite,), cluster=True)), name)
    assert texts(answer) == ["10.96.0.5"] and owners(answer) == [owner]


def test_rules_follow_each_other_as_far_as_they_say() -> None:
    one, two = rule("exact", "a.test.", "b.test.", on=True), rule("exact", "b.test.", "web.app.svc.c.test.")
    assert owners(solved(engine(BlockConfig((".",), rewrites=(one, two), cluster=True)), "a.test.")) == [
        "a.test."
    ]
    stops = rule("exact", "a.test.", "b.test.")
    both = engine(BlockConfig((".",), rewrites=(stops, two), cluster=True, forward=(FORWARD,)))
    step = both.resolve(ask("a.test."), 0, 0.0)
    assert isinstance(step, Forward) and step.key.name == (b"b", b"test")


def test_types_ttls_and_response_codes_are_rewritten() -> None:
    """What a client is told is what it asked for, in the words of the rules (plugin/rewrite)."""
    six = rule("exact", "AAAA", "A", on=True)._replace(field="type")
    longer = rule("suffix", "svc.c.test.", "svc.c.test.", on=True)._replace(field="ttl", low=60, high=90)
    there = rule("regex", ".*", ".*")._replace(field="rcode", low=wire.NXDOMAIN, high=wire.NOERROR)
    made = engine(BlockConfig((".",), rewrites=(six, longer, there), cluster=True))
    answer = solved(made, "web.app.svc.c.test.", "AAAA")
    assert texts(answer) == ["10.96.0.5"] and answer.reply.answer[0].ttl == 60 and answer.until < 0
    gone = solved(made, "gone.app.svc.c.test.").reply
    assert gone.rcode == wire.NOERROR and gone.authority[0].ttl == 60
    nowhere = solved(engine(BlockConfig((".",), rewrites=(there._replace(low=wire.SERVFAIL),))), "x.test.")
    assert nowhere.reply.rcode == wire.NOERROR


def test_owners_and_what_records_lead_to_are_written_back_apart() -> None:
    services = {"app/web": ServiceNames("app", "web", ("10.96.0.5",), ports=(NamedPort("http", "TCP", 80),))}
    by_owner = rule(
        "regex", r"(.*)\.x\.test", "{1}.app.svc.c.test.", answer=(r"(.*)\.app\..*", "{1}.x.test.")
    )

    def answered(rewrite: RewriteRule) -> tuple[str, str]:
        made = engine(BlockConfig((".",), rewrites=(rewrite,), cluster=True), services=services)
        (record,) = solved(made, "web.x.test.", "SRV").reply.answer
        return names.to_text(record.owner), rdata.to_text(record.data)

    assert answered(by_owner) == ("web.x.test.", "0 100 80 web.app.svc.c.test.")
    both = by_owner._replace(
        answers=(*by_owner.answers, AnswerRule("value", r"(.*)\.app\..*", "{1}.y.test."))
    )
    assert answered(both) == ("web.x.test.", "0 100 80 web.y.test.")


def test_each_answer_rule_counts_and_the_last_one_first() -> None:
    """An exact rule is written back besides what it says of answers (plugin/rewrite, `responseRuleFor`)."""
    made = rule("exact", "a.test.", "web.app.svc.c.test.")
    made = made._replace(
        answers=(AnswerRule("name", r"^b\.", "a."), AnswerRule("name", r"^web\.app\.svc\.c\.", "b.test."))
    )
    asked = engine(BlockConfig((".",), rewrites=(made,), cluster=True))
    assert owners(solved(asked, "a.test.")) == ["a."]
    once = made._replace(answers=(AnswerRule("name", "nothing", "b."),))
    assert owners(solved(engine(BlockConfig((".",), rewrites=(once,), cluster=True)), "a.test.")) == [
        "a.test."
    ]
    gone = rule("suffix", ".x.test.", ".app.svc.c.test.", auto=True)
    (soa,) = solved(engine(BlockConfig((".",), rewrites=(gone,), cluster=True)), "no.x.test.").reply.authority
    assert rdata.to_text(soa.data).startswith("ns.dns.c.test. ")
    servers = gone._replace(answers=(AnswerRule("value", r"ns\.dns\.c", "ns"),))
    (soa,) = solved(
        engine(BlockConfig((".",), rewrites=(servers,), cluster=True)), "no.x.test."
    ).reply.authority
    assert rdata.to_text(soa.data).startswith("ns. ")


def test_hosts_outside_their_zones_and_families_apart() -> None:
    """As plugin/hosts keeps and finds them."""
    entries = (
        HostNames("10.0.0.1", ("one.in.test.", "far.test.", "*.in.test.")),
        HostNames("fd00::1", ("six.in.test.",)),
    )
    config = HostsConfig(("in.test.",), entries, ("in.test.",), passes_types=True)
    made = engine(BlockConfig((".",), hosts=config, forward=(FORWARD,)))
    assert texts(solved(made, "1.0.0.10.in-addr.arpa.", "PTR")) == ["one.in.test."]
    assert isinstance(made.resolve(ask("far.test."), 0, 0.0), Forward)
    assert texts(solved(made, "six.in.test.")) == ["10.0.0.1"]
    assert texts(solved(made, "six.in.test.", "AAAA")) == ["fd00::1"]
    assert isinstance(made.resolve(ask("one.in.test.", "TXT"), 0, 0.0), Forward)
    strict = engine(BlockConfig((".",), hosts=replace(config, passes_types=False), forward=(FORWARD,)))
    assert solved(strict, "one.in.test.", "TXT").reply.answer == ()


def test_zones_of_files() -> None:
    """As plugin/file answers: with the zone's servers, and what is beside; what others are asked for, and what not."""
    told = [
        ("corp.test.", "SOA", "ns.corp.test. root.corp.test. 1 2 3 4 60", 90),
        ("corp.test.", "NS", "ns.corp.test.", 60),
        ("ns.corp.test.", "A", "10.0.0.53", 60),
        ("mail.corp.test.", "MX", "5 ns.corp.test.", 60),
        ("www.corp.test.", "CNAME", "web.app.svc.c.test.", 60),
        ("a.b.corp.test.", "A", "10.0.0.7", 60),
        ("sub.corp.test.", "NS", "ns.sub.corp.test.", 60),
        ("ns.sub.corp.test.", "A", "10.0.0.54", 60),
    ]
    files = (
        ZoneFile("corp.test.", tuple(ZoneRecord(*one) for one in told)),
        ZoneFile("gone.test.", ()),
    )
    block = BlockConfig((".",), cluster=True, files=files, forward=(FORWARD,))
    made = engine(block)
    mail = solved(made, "mail.corp.test.", "MX").reply
    assert mail.authoritative and [rdata.to_text(r.data) for r in mail.authority] == ["ns.corp.test."]
    assert [rdata.to_text(r.data) for r in mail.additional] == ["10.0.0.53"]
    servers = solved(made, "corp.test.", "NS").reply
    assert len(servers.answer) == 1 and not servers.authority and len(servers.additional) == 1
    assert texts(solved(made, "www.corp.test.")) == ["web.app.svc.c.test.", "10.96.0.5"]
    assert solved(made, "b.corp.test.").reply.rcode == wire.NOERROR
    below = solved(made, "x.sub.corp.test.").reply
    assert not below.authoritative and not below.answer and len(below.authority) == len(below.additional) == 1
    denied = solved(made, "no.corp.test.").reply
    assert denied.rcode == wire.NXDOMAIN and denied.authority[0].ttl == 90  # the SOA's own, not the least one
    nothing = solved(made, "mail.corp.test.", "ANY").reply
    assert (nothing.rcode, nothing.answer, len(nothing.authority)) == (wire.NOERROR, (), 1)
    assert solved(made, "gone.test.").reply.rcode == wire.SERVFAIL
    assert isinstance(made.resolve(ask("other.test."), 0, 0.0), Forward)
    through = engine(replace(block, files_through=("corp.test.",)))
    assert isinstance(through.resolve(ask("no.corp.test."), 0, 0.0), Forward)
    assert solved(through, "mail.corp.test.").reply.answer == ()
    # What is there for the sake of others alone has no records, as the origin has none in CoreDNS' tree of names.
    assert isinstance(through.resolve(ask("b.corp.test."), 0, 0.0), Forward)
    assert isinstance(through.resolve(ask("corp.test."), 0, 0.0), Forward)
    assert len(solved(through, "corp.test.", "NS").reply.answer) == 1


def test_a_rule_that_makes_no_name() -> None:
    too_long = rule("prefix", "a.", "x" * 64 + ".")
    assert solved(engine(BlockConfig((".",), rewrites=(too_long,))), "a.test.").reply.rcode == wire.SERVFAIL


PODS = {"x": PodNames("app", ("10.244.1.5",)), "y": PodNames("other", ("10.244.1.6", "fd00::6"))}
LED = BlockConfig((".",), autopath=AutopathConfig((".",), of_pods=True), cluster=True, forward=(FORWARD,))


def led(name: str, client: str, made: Engine | None = None, rtype: str = "A") -> Solved | Forward:
    made = made or engine(LED, verified=PODS)
    return made.resolve(ask(name, rtype), 0, 0.0, client)


def test_search_domains_are_gone_through_for_the_pod_that_asks() -> None:
    """The client's next guess is answered at once, behind an alias that leads there."""
    step = led("web.app.app.svc.c.test.", "10.244.1.5")
    assert isinstance(step, Solved) and step.until < 0
    assert owners(step) == ["web.app.app.svc.c.test.", "web.app.svc.c.test."]
    assert texts(step) == ["web.app.svc.c.test.", "10.96.0.5"] and step.reply.answer[0].ttl == 5
    assert texts(led("web.app.svc.c.test.", "10.244.1.5")) == ["10.96.0.5"]  # it was right at once

    for client in (
        "10.244.1.6",
        "10.244.1.7",
    ):  # a Pod elsewhere, and nobody: the name is no first guess of theirs
        other = led("web.app.app.svc.c.test.", client)
        assert isinstance(other, Solved) and other.reply.rcode == wire.NXDOMAIN and other.until < 0


def test_a_search_ends_with_the_name_itself_which_is_asked_for_elsewhere() -> None:
    made = engine(LED, verified=PODS)
    step = led("www.example.com.app.svc.c.test.", "10.244.1.5", made)
    assert isinstance(step, Forward) and step.key.name == names.from_text("www.example.com.")
    found = [
        record("www.example.com.", "CNAME", "x.example.net."),
        record("x.example.net.", "A", "192.0.2.1"),
    ]
    entry = made.cache.put(step.key, Response(1, wire.QR, 0, None, tuple(found)), 0.0)
    step = made.resume(step, entry, 0.0)
    assert isinstance(step, Solved)
    assert owners(step) == ["www.example.com.app.svc.c.test.", "www.example.com.", "x.example.net."]


def test_a_search_without_end_says_that_the_first_name_is_not_there() -> None:
    made = engine(LED, verified=PODS)
    step = led("no.example.com.app.svc.c.test.", "10.244.1.5", made)
    assert isinstance(step, Forward)
    soa = record("example.com.", "SOA", "ns.example.com. root.example.com. 1 2 3 4 5")
    entry = made.cache.put(step.key, Response(1, wire.QR, wire.NXDOMAIN, None, (), (soa,)), 0.0)
    step = made.resume(step, entry, 0.0)
    assert isinstance(step, Solved) and step.reply.rcode == wire.NXDOMAIN and step.until < 0
    assert [names.to_text(r.owner) for r in step.reply.authority] == ["c.test."]


def test_a_name_that_is_there_without_that_type_ends_a_search() -> None:
    step = led("web.app.app.svc.c.test.", "10.244.1.5", rtype="TXT")
    assert isinstance(step, Solved) and (step.reply.rcode, step.reply.answer) == (0, ())


def test_search_domains_of_a_file_are_everybodys() -> None:
    block = BlockConfig(
        (".",), autopath=AutopathConfig((".",), ("a.test.", "app.svc.c.test.")), cluster=True, hosts=NOBODY
    )
    step = led("web.a.test.", "192.0.2.9", engine(block))
    assert (
        isinstance(step, Solved) and step.reply.rcode == wire.SERVFAIL
    )  # who is nowhere is no NXDOMAIN here
    cluster = BlockConfig(
        (".",), autopath=AutopathConfig((".",), ("no.svc.c.test.", "app.svc.c.test.")), cluster=True
    )
    assert texts(led("web.no.svc.c.test.", "192.0.2.9", engine(cluster))) == [
        "web.app.svc.c.test.",
        "10.96.0.5",
    ]


@pytest.mark.parametrize(
    ("action", "rcode"), [("block", wire.REFUSED), ("filter", wire.NOERROR), ("drop", wire.SERVFAIL)]
)
def test_who_may_not_ask_for_a_name_may_not_come_to_it_along_search_domains(action: str, rcode: int) -> None:
    search = AutopathConfig((".",), ("no.svc.c.test.", "app.svc.c.test."))
    rules = (AccessRule(("web.app.svc.c.test.",), (AccessPolicy(action, (), ("10.0.0.0/24",)),)),)
    made = engine(BlockConfig((".",), autopath=search, cluster=True, access=rules))
    step = led("web.no.svc.c.test.", "10.0.0.9", made)
    assert isinstance(step, Solved) and (step.reply.rcode, step.reply.answer) == (rcode, ())
    assert not step.dropped and step.until < 0
    assert texts(led("web.no.svc.c.test.", "10.0.1.9", made)) == ["web.app.svc.c.test.", "10.96.0.5"]


def test_names_of_addresses_are_those_of_pods_where_these_are_known() -> None:
    made = engine(BlockConfig((".",), cluster=True), verified=PODS)
    assert texts(solved(made, "10-244-1-5.app.pod.c.test.")) == ["10.244.1.5"]
    for name in ("10-244-1-6.app.pod.c.test.", "10-244-1-7.app.pod.c.test."):
        assert solved(made, name).reply.rcode == wire.NXDOMAIN


NOBODY = HostsConfig((".",), ())

HOSTS = HostsConfig(
    (".",),
    (
        HostNames("10.1.1.1", ("one.test.", "alias.test.")),
        HostNames("10.1.1.2", ("one.test.",)),
        HostNames("fd00::1", ("six.test.",)),
        HostNames("10.1.1.3", ("*.wild.test.",)),
    ),
    fallthrough=("test.",),
    ttl=60,
)


def test_hosts() -> None:
    made = engine(BlockConfig((".",), hosts=HOSTS, forward=(FORWARD,)))
    answer = solved(made, "ONE.test.")
    assert texts(answer) == ["10.1.1.1", "10.1.1.2"] and answer.reply.authoritative
    assert [r.ttl for r in answer.reply.answer] == [60, 60]
    assert texts(solved(made, "six.test.", "AAAA")) == ["fd00::1"]
    assert (texts(solved(made, "one.test.", "AAAA")), solved(made, "one.test.", "TXT").reply.rcode) == ([], 0)
    assert texts(solved(made, "x.wild.test.")) == ["10.1.1.3"]
    assert texts(solved(made, "1.1.1.10.in-addr.arpa.", "PTR")) == ["one.test.", "alias.test."]
    assert isinstance(made.resolve(ask("x.y.wild.test."), 0, 0.0), Forward)
    assert isinstance(made.resolve(ask("other.test."), 0, 0.0), Forward)
    # No SOA to deny with, and nobody else to ask.
    assert solved(made, "example.org.").reply.rcode == wire.SERVFAIL


def test_addresses_of_hosts_are_of_the_family_that_go_reads() -> None:
    lines = (HostNames("::ffff:10.0.0.2", ("mapped.test.",)), HostNames("fe80::1%eth0", ("near.test.",)))
    made = engine(BlockConfig((".",), hosts=HostsConfig((".",), lines)))
    assert texts(solved(made, "mapped.test.")) == ["10.0.0.2"]
    assert texts(solved(made, "mapped.test.", "AAAA")) == []
    assert texts(solved(made, "2.0.0.10.in-addr.arpa.", "PTR")) == ["mapped.test."]
    assert texts(solved(made, "near.test.", "AAAA")) == ["fe80::1"]


def test_a_cache_bounds_what_plugins_below_it_say() -> None:
    """Of an answer all records have the shortest TTL, as they have when it is given again (plugin/cache)."""

    def ttls(limits: CacheLimits, name: str, **more: Any) -> list[int]:
        block = BlockConfig((".",), hosts=HOSTS, cluster=True, caches=True, limits=limits, **more)
        reply = solved(engine(block), name).reply
        return [r.ttl for r in (*reply.answer, *reply.authority)]

    coredns = CacheLimits(30, 5, 20, negative_min=5)  # `cache 30`, and 20 for denials
    assert ttls(coredns, "one.test.") == [30, 30]
    assert ttls(coredns, "web.app.svc.c.test.") == [5]
    assert ttls(CacheLimits(3600, 8, 20), "web.app.svc.c.test.") == [8]
    assert ttls(CacheLimits(3600, 1, 2), "none.app.svc.c.test.") == [2]
    assert ttls(CacheLimits(3600, 60, 1800, negative_min=40), "none.app.svc.c.test.") == [40]
    assert ttls(coredns, "one.test.", cached=("kept.test.",)) == [60, 60]


def test_behind_an_alias_of_the_clusters_nothing_holds_for_longer() -> None:
    """CoreDNS' cache sees the answer to an ExternalName as one, whoever said which record of it."""
    services = {**CLUSTER.services, "app/far": ServiceNames("app", "far", (), alias="www.far.test.")}
    limits = CacheLimits(30, 5, 20)
    made = engine(
        BlockConfig((".",), cluster=True, forward=(FORWARD,), caches=True, limits=limits), services=services
    )
    step = made.resolve(ask("far.app.svc.c.test."), 0, 0.0)
    assert isinstance(step, Forward)
    said = Response(1, wire.QR, 0, None, (record("www.far.test.", "A", "192.0.2.1", 300),))
    answer = made.resume(step, made.cache.put(step.key, said, 0.0, step.limits), 0.0)
    assert isinstance(answer, Solved) and [r.ttl for r in answer.reply.answer] == [5, 5]


IP = TemplateConfig(
    ("ip.test.",),
    "A",
    (r"^(?P<a>\d+)-(\d+)\.ip\.test\.$",),
    ("{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ index .Match 2 }}",),
)


def test_templates() -> None:
    alias = TemplateConfig(("c.org.",), "ANY", answers=("{{ .Name }} IN 5 CNAME web.app.svc.c.test.",))
    never = TemplateConfig(
        ("never.test.",), "ANY", rcode="NXDOMAIN", authority=("{{ .Zone }} 60 SOA a. b. 1 2 3 4 5",)
    )
    made = engine(BlockConfig((".",), templates=(IP, alias, never), cluster=True))
    answer = solved(made, "3-4.IP.test.")
    assert (texts(answer), owners(answer)) == (["10.0.3.4"], ["3-4.ip.test."])
    assert answer.reply.answer[0].ttl == 60 and answer.reply.authoritative
    assert solved(made, "3-400.ip.test.").reply.rcode == wire.SERVFAIL  # no address comes out
    assert (
        solved(made, "x.ip.test.").reply.rcode == wire.SERVFAIL
    )  # no regex finds it, and there is no fallthrough
    assert texts(solved(made, "x.c.org.")) == ["web.app.svc.c.test.", "10.96.0.5"]
    gone = solved(made, "x.never.test.", "MX").reply
    assert gone.rcode == wire.NXDOMAIN and [names.to_text(r.owner) for r in gone.authority] == ["never.test."]


def test_of_an_aliases_target_a_template_takes_the_records_alone() -> None:
    """Whatever becomes of the target, the alias is an answer; other types than addresses are that of themselves."""
    alias = TemplateConfig(("c.org.",), "ANY", answers=("{{ .Name }} 5 CNAME {{ .Zone }}gone.",))
    made = engine(BlockConfig((".",), templates=(alias,), forward=(FORWARD,)))
    step = made.resolve(ask("x.c.org."), 0, 0.0)
    assert isinstance(step, Forward) and names.to_text(step.key.name) == "c.org.gone."
    denied = Response(
        1, wire.QR | wire.NXDOMAIN, 0, None, (), (record("gone.", "SOA", "a. b. 1 2 3 4 5", 9),)
    )
    for said in (made.cache.put(step.key, denied, 0.0, step.limits), None):
        answer = made.resume(step, said, 0.0)
        assert isinstance(answer, Solved)
        assert (answer.reply.rcode, texts(answer), answer.reply.authority) == (0, ["c.org.gone."], ())
    assert texts(solved(made, "x.c.org.", "TXT")) == ["c.org.gone."]


@pytest.mark.parametrize(
    ("line", "data"),
    [
        ("10.{{ parseInt .Group.h 16 8 }}.0.{{ parseInt (index .Match 1) 16 8 }}", "10.200.0.200"),
        ("10.0.0.{{ parseInt .Group.h 10 8 }}", ""),
        ("10.0.0.{{ parseInt .Group.h 16 4 }}", ""),
        ("10.0.0.1{{ index .Match 2 }}", ""),
        ("10.0.0.1{{ .Group.none }}", ""),  # a map says <no value>, which is no address
        ('10.0.0.1{{ index .Group "none" }}', "10.0.0.1"),
    ],
)
def test_what_expressions_find_as_templates_have_it(line: str, data: str) -> None:
    """Where Go's template ends with an error the answer is SERVFAIL."""
    template = TemplateConfig(("h.test.",), "A", (r"^(?P<h>[0-9a-f]+)\.",), (f"{{{{ .Name }}}} 5 A {line}",))
    answer = solved(engine(BlockConfig((".",), templates=(template,))), "c8.h.test.")
    assert (answer.reply.rcode, texts(answer)) == ((0, [data]) if data else (wire.SERVFAIL, []))


def test_a_template_may_let_others_answer() -> None:
    through = TemplateConfig(IP.zones, "A", IP.matches, IP.answers, fallthrough=("ip.test.",))
    last = TemplateConfig(("ip.test.",), "A", rcode="REFUSED")
    assert (
        solved(engine(BlockConfig((".",), templates=(through, last))), "x.ip.test.").reply.rcode
        == wire.REFUSED
    )


def test_a_template_of_one_type_answers_who_asks_for_any() -> None:
    typed = TemplateConfig(("t.test.",), "TXT", answers=('{{ .Name }} 5 IN TXT "{{ .Type }}"',))
    assert texts(solved(engine(BlockConfig((".",), templates=(typed,))), "x.t.test.", "ANY")) == ['"TXT"']


def test_types_that_templates_may_be_of() -> None:
    for name in ASKED_TYPES - {"ANY"}:
        assert rdata.type_number(name)


def test_the_block_of_the_longest_zone_answers() -> None:
    stub = BlockConfig(
        ("corp.test.",), forward=(ForwardConfig("corp.test.", ("10.9.0.1:53",), ("dmz.corp.test.",)),)
    )
    root = BlockConfig((".",), forward=(FORWARD,), caches=True, cluster=True)
    made = engine(root, stub)
    for name, server, keeps in (("a.corp.test.", "10.9.0.1", False), ("corp.org.", "10.0.0.2", True)):
        step = made.resolve(ask(name), 0, 0.0)
        assert isinstance(step, Forward) and step.upstream and step.upstream.servers == ((server, 53),)
        assert step.keeps is keeps
    assert solved(made, "x.dmz.corp.test.").reply.rcode == wire.SERVFAIL
    assert solved(engine(stub), "elsewhere.test.").reply.rcode == wire.REFUSED
    assert solved(engine(stub), "web.app.svc.c.test.").reply.rcode == wire.REFUSED


def test_the_target_of_an_alias_is_another_blocks() -> None:
    stub = BlockConfig(("corp.test.",), forward=(ForwardConfig(".", ("10.9.0.1:53",)),))
    made = engine(stub, BlockConfig((".",), cluster=True))
    step = made.resolve(ask("a.corp.test."), 0, 0.0)
    assert isinstance(step, Forward)
    said = Response(1, wire.QR, 0, None, (record("a.corp.test.", "CNAME", "web.app.svc.c.test."),))
    answer = made.resume(step, made.cache.passed_on(step.key, said, 0.0), 0.0)
    assert isinstance(answer, Solved) and texts(answer) == ["web.app.svc.c.test.", "10.96.0.5"]


def test_options_of_the_clusters_names() -> None:
    block = BlockConfig((".",), cluster=True, forward=(FORWARD,))
    assert solved(engine(block, pods=False), "10-0-0-1.app.pod.c.test.").reply.rcode == wire.NXDOMAIN
    few = engine(block, exposed=("app",))
    assert texts(solved(few, "web.app.svc.c.test.")) == ["10.96.0.5"]
    assert solved(few, "web.hidden.svc.c.test.").reply.rcode == wire.NXDOMAIN
    assert isinstance(few.resolve(ask("6.0.96.10.in-addr.arpa.", "PTR"), 0, 0.0), Forward)
    real = engine(block, ignore_empty=True)
    assert solved(real, "web.app.svc.c.test.").reply.rcode == wire.NXDOMAIN
    assert texts(solved(real, "busy.app.svc.c.test.")) == ["10.96.0.7"]
    through = engine(block, fallthrough=(".",))
    assert isinstance(through.resolve(ask("nobody.app.svc.c.test."), 0, 0.0), Forward)
    alone = engine(block, fallthrough=())
    assert solved(alone, "9.9.9.9.in-addr.arpa.", "PTR").reply.rcode == wire.NXDOMAIN


def test_which_queries_are_logged_and_how() -> None:
    query = ask("Shop.test.")

    def done(rcode: int, answers: bool, denied: bool = True) -> Exchanged:
        asked = ("fd00::1", 5353, 0, 0), False, query, 27
        return Exchanged(*asked, b"\0\1\x84\xb0", rcode, answers, denied, 0.25)

    log = QueryLog(LogRule(("test.",), ("denial", "error")))
    for rcode, answers, denied, wanted in (
        (0, True, False, False),
        (0, False, True, True),
        (0, False, False, False),  # as what is filtered, or only in other families of a hosts file
        (3, False, True, True),
        (3, False, False, True),
        (2, False, False, True),
    ):
        assert bool(log.line(done(rcode, answers, denied))) is wanted
    assert not line([log], (b"org",), done(2, False))
    told = f'{query.id} "A IN shop.test. udp 27 false 512" NOERROR qr,aa,ra,ad,cd 4 0.250000000s'
    whole = QueryLog(LogRule((".",), ("all",)))
    assert line([whole, log], query.name, done(0, True)) == f"[INFO] [fd00::1]:5353 - {told}"
    assert not line([log, QueryLog(LogRule((".",), ("all",)))], query.name, done(0, True)), (
        "the first decides"
    )


def test_lines_have_the_format_that_is_told() -> None:
    said = "{remote} {port} {proto} {type} {>opcode} {/kubernetes/namespace} { {rcode} {nothing} {>do}{>bufsize}}"
    log = QueryLog(LogRule((".",), ("all",), said))
    done = Exchanged(
        ("10.0.0.9", 5353), True, ask("a.test.", "TXT"), 27, b"\0\1\x84\x80", 3, False, True, 0.25
    )
    assert log.line(done) == "[INFO] 10.0.0.9 5353 tcp TXT 0 - { NXDOMAIN {nothing} false65535}"


def test_words_of_errors() -> None:
    query = ask("Shop.test.")
    assert error_line(query, 2, "why") == "[ERROR] plugin/errors: 2 shop.test. A: why"


def test_any_is_answered_with_a_word_and_what_is_sent_is_bounded() -> None:
    """As plugin/any and plugin/bufsize have it."""
    made = engine(BlockConfig((".",), cluster=True, any=True, size=600))
    (record,) = solved(made, "web.app.svc.c.test.", "ANY").reply.answer
    assert (record.rtype, record.ttl, record.data.data) == (13, 8482, b"\x0dANY obsoleted\x0cSee RFC 8482")
    limits = [made.blocks.limit((b"x",), size) for size in (512, 1232)]
    assert limits == [512, 600]


LOCAL = {
    ("localhost.", "A"): (0, ["127.0.0.1"]),
    ("localhost.", "AAAA"): (0, ["::1"]),
    ("localhost.", "NS"): (0, ["localhost."]),
    ("localhost.", "MX"): (0, []),
    ("db.localhost.", "A"): (0, ["127.0.0.1"]),
    ("db.localhost.", "TXT"): (0, []),
    ("127.in-addr.arpa.", "A"): (0, []),
    ("1.0.0.127.in-addr.arpa.", "PTR"): (0, ["localhost."]),
    ("1.0.0.127.in-addr.arpa.", "A"): (0, []),
    ("2.0.0.127.in-addr.arpa.", "PTR"): (3, []),
    ("localhost.corp.test.", "A"): (0, ["127.0.0.1"]),
}


@pytest.mark.parametrize(("asked", "found"), LOCAL.items())
def test_names_of_the_machine_itself(asked: tuple[str, str], found: tuple[int, list[str]]) -> None:
    """As plugin/local has them, before names are rewritten and without a cache's bounds."""
    back = rule("suffix", "localhost", "web.app.svc.c.test")
    made = engine(BlockConfig((".",), (back,), local=True, caches=True, limits=CacheLimits(30)))
    reply = solved(made, *asked).reply
    assert (reply.rcode, [rdata.to_text(one.data) for one in reply.answer]) == found
    assert [one.rtype for one in reply.authority] == ([] if reply.answer else [rdata.SOA])
    assert {one.ttl for one in (*reply.answer, *reply.authority)} == {604800} and not reply.authoritative
    strict = engine(BlockConfig((".",), local=True, localhost_prefix=False, forward=(FORWARD,)))
    assert isinstance(strict.resolve(ask("localhost.corp.test."), 0, 0.0), Forward)


def test_answers_without_records_beside_them() -> None:
    block = BlockConfig((".",), cluster=True, minimal=True)
    busy = engine(block)
    assert solved(busy, "none.app.svc.c.test.").reply.authority, "that there is none is said by whom"
    slices = {
        "app/db/1": SliceNames((NamedEndpoint("a", "10.244.0.9", True),), (NamedPort("sql", "TCP", 5432),))
    }
    headless = {"app/db": ServiceNames("app", "db", (), headless=True)}
    for minimal, more in ((False, 1), (True, 0)):
        made = engine(replace(block, minimal=minimal), services=headless, slices=slices)
        reply = solved(made, "_sql._tcp.db.app.svc.c.test.", "SRV").reply
        assert (len(reply.answer), len(reply.additional)) == (1, more)


@pytest.mark.parametrize(
    ("name", "rtype", "client", "rcode", "error", "dropped"),
    [
        ("web.app.svc.c.test.", "A", "10.0.0.9", wire.NOERROR, None, False),
        ("web.app.svc.c.test.", "A", "10.0.1.9", wire.REFUSED, 15, False),
        ("web.app.svc.c.test.", "A", "fd00::1", wire.REFUSED, 15, False),
        ("web.app.svc.c.test.", "AAAA", "10.0.1.9", wire.NOERROR, 17, False),
        ("web.app.svc.c.test.", "AAAA", "fe80::1%eth0", wire.NOERROR, 17, False),
        ("web.hidden.svc.c.test.", "A", "fd00::1", wire.NOERROR, None, True),
        ("web.hidden.svc.c.test.", "A", "10.0.1.9", wire.NOERROR, None, False),
    ],
)
def test_who_may_ask_for_what(
    name: str, rtype: str, client: str, rcode: int, error: int | None, dropped: bool
) -> None:
    """As plugin/acl has it: the first policy that fits, rule by rule; one client's answer is nobody else's."""
    first = AccessRule(
        ("app.svc.c.test.",),
        (
            AccessPolicy("allow", (), ("10.0.0.0/24",)),
            AccessPolicy("block", ("A",)),
            AccessPolicy("filter"),
        ),
    )
    second = AccessRule((".",), (AccessPolicy("drop", (), ("fd00::/8",)),))
    made = engine(BlockConfig((".",), cluster=True, access=(first, second)))
    done = made.resolve(ask(name, rtype), 0, 0.0, client)
    assert isinstance(done, Solved)
    assert (done.reply.rcode, done.dropped) == (rcode, dropped)
    assert dropped or done.reply.error == error
    assert bool(done.reply.answer) == (rcode == wire.NOERROR and error is None and not dropped)
    assert done.until < 0


def test_the_soa_of_a_template_has_its_numbers_in_parentheses_as_one_pleases() -> None:
    authority = '"invalid. 60 {{ .Class }} SOA ns.invalid. hostmaster.invalid. (1 60 60 60 60)"'.strip('"')
    template = TemplateConfig(("invalid.",), "ANY", authority=(authority,), rcode="NXDOMAIN")
    reply = solved(engine(BlockConfig((".",), templates=(template,))), "a.invalid.").reply
    assert (reply.rcode, reply.authority[0].ttl) == (wire.NXDOMAIN, 60)


def test_names_that_are_not_to_be_kept_are_asked_for_each_time() -> None:
    made = engine(BlockConfig((".",), caches=True, cached=("kept.test.",), forward=(FORWARD,)))
    steps = [made.resolve(ask(name), 0, 0.0) for name in ("a.kept.test.", "a.other.test.")]
    assert [isinstance(step, Forward) and step.keeps for step in steps] == [True, False]
